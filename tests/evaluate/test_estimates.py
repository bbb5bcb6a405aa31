"""Figures for fewer samples, from all of them: against every subset counted one by one."""

from itertools import combinations
from statistics import fmean

import pytest

from lite.evaluate.estimates import Samples, best_of_k, pass_at_k, vote_at_k

RIGHT = [True, False, False, True, False, True, False]
ANSWERS = ["4", "5", "5", "4", None, "4", "6"]
SCORES = [1.0, 3.0, 2.5, 0.5, 9.0, 4.0, 2.0]
SAMPLES = Samples(RIGHT, ANSWERS, SCORES, "seed")


@pytest.mark.parametrize("k", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(k: int) -> None:
    subsets = list(combinations(range(7), k))
    assert pass_at_k(7, 3, k) == pytest.approx(fmean(any(RIGHT[i] for i in subset) for subset in subsets))


@pytest.mark.parametrize("k", range(1, 8))
def test_best_of_k_is_the_share_of_subsets_whose_best_is_right(k: int) -> None:
    def best(subset: tuple[int, ...]) -> bool:
        return RIGHT[max(subset, key=lambda i: (ANSWERS[i] is not None, SCORES[i], -i))]

    assert best_of_k(SAMPLES, k) == pytest.approx(fmean(map(best, combinations(range(7), k))))


def test_votes_begin_with_one_sample_and_end_with_the_real_vote() -> None:
    plain, weighted = vote_at_k(SAMPLES, weighted=False), vote_at_k(SAMPLES, weighted=True)
    assert len(plain) == 7
    assert plain[0] == pytest.approx(3 / 7, abs=0.15)
    assert plain[-1] == 1.0  # 4, 5, 5, 4, 4: 4 leads
    assert weighted[-1] == 1.0  # 4 weighs 5.5, and 5 as much: the earlier wins
    assert vote_at_k(SAMPLES, weighted=True) == weighted


def test_k_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be from 1 to the 7 samples"):
        pass_at_k(7, 3, 8)
