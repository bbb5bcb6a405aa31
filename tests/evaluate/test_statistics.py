"""Calibration and significance: against values known by hand or by other means."""

from itertools import product

import pytest

from lite.evaluate.calibration import auroc, expected_calibration_error, risk_coverage
from lite.evaluate.significance import mcnemar, paired_bootstrap, wilson


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    scores, right = [0.1, 0.4, 0.4, 0.8, 0.9], [False, True, False, False, True]
    pairs = [(a, b) for (a, x), (b, y) in product(zip(scores, right, strict=True), repeat=2) if x and not y]
    assert auroc(scores, right) == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    assert auroc([0.5], [True]) is None


def test_calibration_error_weighs_each_bins_gap() -> None:
    confidences, right = [0.95, 0.95, 0.15, 1.0], [True, False, False, True]
    assert expected_calibration_error(confidences, right) == pytest.approx((abs(2.9 - 2) + 0.15) / 4)
    assert expected_calibration_error([], []) is None


def test_risk_grows_with_coverage_and_ties_are_shared() -> None:
    assert risk_coverage([3.0, 2.0, 1.0], [True, True, False]) == pytest.approx([0, 0, 1 / 3])
    assert risk_coverage([1.0, 1.0], [True, False]) == risk_coverage([1.0, 1.0], [False, True]) == [0.5, 0.5]


def test_wilson_is_the_textbooks() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(0, 20)[0] == 0
    assert wilson(20, 20)[1] == 1


def test_mcnemar_is_a_binomial_test_of_the_differing_questions() -> None:
    first = [True] * 6 + [False] * 1 + [True] * 5
    second = [False] * 6 + [True] * 1 + [True] * 5
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(first, first) == 1.0


def test_the_paired_bootstrap_holds_the_difference_and_is_repeatable() -> None:
    first, second = [True] * 60 + [False] * 40, [True] * 50 + [False] * 10 + [True] * 5 + [False] * 35
    low, high = paired_bootstrap(first, second)
    assert -0.03 < low < 0.05 < high < 0.14
    assert (low, high) == paired_bootstrap(first, second)
