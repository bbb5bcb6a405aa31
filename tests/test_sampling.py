"""The draw follows its exact distribution, is stable, and is a row's own; the statistics equal float64's."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lite.backends.base import Drawn, Row, Statistics
from lite.errors import BackendError, InvalidRequest
from lite.params import SamplingParams
from lite.random import branch_stream
from lite.sampling import draw, self_certainty, statistics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "self_certainty.json").read_text())
CONTEXT = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 9)
PROMPT_LENGTH = 5


class Unreadable(Sequence):
    """A context that nobody may look at."""

    def __len__(self):
        raise AssertionError("the context was read")

    def __getitem__(self, index):
        raise AssertionError("the context was read")


def row(sample: int = 0, drawn: int = 0, context: Sequence[int] = CONTEXT, **params) -> Row:
    return Row(
        slot=sample,
        position=len(CONTEXT),
        token=0,
        stream=branch_stream(11, sample),
        drawn=drawn,
        params=SamplingParams(**params),
        context=context,
        prompt_length=PROMPT_LENGTH,
        max_new=1,
    )


def rows(count: int, **params) -> list[Row]:
    """Rows of one branch, at successive positions."""
    first = row(**params)
    return [dataclasses.replace(first, drawn=drawn) for drawn in range(count)]


def many_draws(logits: np.ndarray, count: int, forbidden: np.ndarray | None = None, **params) -> np.ndarray:
    """Ids drawn from one row of logits, seen through a read-only view."""
    return draw(np.broadcast_to(logits, (count, len(logits))), rows(count, **params), forbidden=forbidden).ids[:, 0]


def random_logits(vocab_size: int, spread: float, num_rows: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (vocab_size,) if num_rows is None else (num_rows, vocab_size)
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


def exact_probabilities(logits: np.ndarray, params: SamplingParams, forbidden: np.ndarray | None = None) -> np.ndarray:
    """The distribution to draw from, in float64 and with a full sort."""
    z = np.append(logits.astype(np.float64), np.full(max(CONTEXT), -np.inf))  # room for the context's ids
    for token, bias in params.logit_bias:
        z[token] += bias
    for token in set(CONTEXT):
        z[token] = z[token] / params.repetition_penalty if z[token] > 0 else z[token] * params.repetition_penalty
    for token in set(CONTEXT[PROMPT_LENGTH:]):
        z[token] -= params.presence_penalty + params.frequency_penalty * CONTEXT[PROMPT_LENGTH:].count(token)
    z = z[: len(logits)]
    if forbidden is not None:
        z[forbidden] = -np.inf
    p = np.exp((z - z.max()) / params.temperature)
    order = np.argsort(-z, kind="stable")
    if params.top_k:
        p[order[params.top_k :]] = 0
    p /= p.sum()
    before = np.cumsum(p[order]) - p[order]
    if params.top_p < 1:
        p[order[before >= params.top_p]] = 0
    p[p < params.min_p * p.max()] = 0
    return p / p.sum()


def assert_follows(ids: np.ndarray, probabilities: np.ndarray) -> None:
    """Pearson's chi-squared test at p = 3e-5; cells are merged until each expects five."""
    observed = np.bincount(ids, minlength=len(probabilities))
    assert not observed[probabilities == 0].any()
    expected = probabilities * len(ids)
    order = np.argsort(-expected)
    cells = np.maximum.accumulate(np.floor(np.cumsum(expected[order]) / 5)).astype(int)
    cells = np.where(expected[order] >= 5, np.arange(len(order)), len(order) + cells)
    _, cells = np.unique(cells, return_inverse=True)
    observed, expected = np.bincount(cells, observed[order]), np.bincount(cells, expected[order])
    filled = expected > 0
    chi_squared = ((observed - expected)[filled] ** 2 / expected[filled]).sum()
    freedom = max(int(filled.sum()) - 1, 1)
    limit = freedom * (1 - 2 / (9 * freedom) + 4 * math.sqrt(2 / (9 * freedom))) ** 3  # Wilson and Hilferty, 4 sigma
    assert chi_squared < limit


# The draw's distribution


@pytest.mark.parametrize(
    ("vocab_size", "spread"), [(2, 1), (50, 2), (64, 0.5), (65, 0.5), (300, 0.0), (300, 0.3), (300, 2), (3000, 0.5)]
)
def test_draws_follow_the_exact_distribution(vocab_size, spread):
    logits = random_logits(vocab_size, spread)
    assert_follows(many_draws(logits, 10_000, context=Unreadable()), exact_probabilities(logits, SamplingParams()))


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.6},
        {"temperature": 1.7},
        {"top_k": 1},
        {"top_k": 20},
        {"top_k": 100},
        {"top_k": 1000},
        {"top_p": 0.9},
        {"top_p": 0.999},
        {"min_p": 0.2},
        {"min_p": 1e-6},
        {"temperature": 0.8, "top_k": 90, "top_p": 0.7},
        {"temperature": 1.3, "top_p": 0.98, "min_p": 0.05},
        {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.01},
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 0.7, "temperature": 0.7},
        {"presence_penalty": 1.0, "frequency_penalty": 0.5, "top_p": 0.9},
        {"presence_penalty": -3.0, "min_p": 0.01},
        {"logit_bias": ((0, 5.0), (7, -math.inf), (299, 4.0), (0, 1.0)), "repetition_penalty": 1.2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("spread", "forbids"), [(0.3, True), (1.5, False)], ids=["flat, some forbidden", "peaked"])
def test_draws_follow_the_exact_distribution_under_every_setting(params, spread, forbids):
    logits = random_logits(300, spread)
    forbidden = None
    if forbids:
        forbidden = np.arange(300) >= 290
        forbidden[[logits.argmax(), 2]] = True
    expected = exact_probabilities(logits, SamplingParams(**params), forbidden)
    assert_follows(many_draws(logits, 3_000, forbidden, **params), expected)


def partial_masses(logits: np.ndarray, top_k: int) -> np.ndarray:
    """What each number of the best tokens holds of the mass of those in top_k."""
    weights = np.sort(np.exp(logits.astype(np.float64)))[::-1][: top_k or None]
    return np.cumsum(weights) / weights.sum()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5]), min_size=1, max_size=12),
    st.integers(0, 13),
    st.floats(0.05, 1),
    st.floats(0, 1),
)
def test_exactly_the_tokens_that_pass_the_filters_are_drawn(levels, top_k, top_p, min_p):
    logits = np.array(levels, dtype=np.float32)
    ratios = np.exp(logits.astype(np.float64) - logits.max())
    assume(top_p == 1 or np.abs(partial_masses(logits, top_k) - top_p).min() > 1e-9)  # else rounding decides
    assume(min_p == 1 or np.abs(ratios - min_p).min() > 1e-9)
    filters = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    expected = exact_probabilities(logits, SamplingParams(**filters))
    assert set(many_draws(logits, 800, **filters)) == set(np.flatnonzero(expected))


def test_a_nucleus_far_wider_than_the_best_tokens_is_exact():
    logits = random_logits(2500, 0.3)
    expected = exact_probabilities(logits, SamplingParams(top_p=0.97))
    assert 2000 < np.count_nonzero(expected) < 2500
    assert_follows(many_draws(logits, 1_000, top_p=0.97), expected)


def test_extreme_temperatures_are_greedy_and_uniform():
    logits = random_logits(100, 1)
    assert set(many_draws(logits, 50, temperature=1e-300)) == {logits.argmax()}
    assert set(many_draws(logits, 50, temperature=1e-300, top_p=0.9)) == {logits.argmax()}
    assert_follows(many_draws(logits, 5_000, temperature=1e300), np.full(100, 0.01))


# Stability


@pytest.mark.parametrize(
    ("spread", "params"),
    [(0.0, {}), (0.3, {}), (2.0, {}), (0.3, {"temperature": 0.6}), (2.0, {"min_p": 0.01}), (2.0, {"top_p": 0.95})],
    ids=str,
)
def test_logits_off_by_a_thousandth_change_few_draws(spread, params):
    logits = random_logits(300, spread, 10_000)
    nearby = logits + random_logits(300, 1e-3, 10_000, seed=1)
    branches = rows(10_000, **params)
    here, there = draw(logits, branches), draw(nearby, branches)
    changed = here.ids != there.ids
    assert changed.mean() <= 0.002
    if not {"min_p", "top_p"} & set(params):  # a token may pass a filter by a hair, whatever the race's margin
        assert here.margin[changed].max() < 0.02


def test_a_margin_is_the_size_of_the_change_that_turns_a_draw():
    logits = random_logits(300, 1, 200)
    before = draw(logits, branches := rows(200, top_k=300))
    drawn, margin = before.ids[:, 0], before.margin[:, 0]
    index = np.arange(200)
    for factor, same in ((0.99, True), (1.01, False)):
        lowered = logits.copy()
        lowered[index, drawn] -= factor * margin
        assert (draw(lowered, branches).ids == before.ids).all() == same


def test_a_draw_depends_on_stream_and_position_alone():
    logits = np.broadcast_to(random_logits(1000, 0.1), (64, 1000))
    one = [row(sample=sample, drawn=drawn) for sample in range(8) for drawn in range(8)]
    ids = draw(logits, one).ids
    elsewhere = [dataclasses.replace(each, slot=99, position=7, token=3, context=(), max_new=5) for each in one]
    assert (draw(logits, elsewhere).ids == ids).all()
    assert len(np.unique(ids)) > 50


MIXED = (
    {},
    {"temperature": 0.7},
    {"temperature": 0},
    {"top_p": 0.9},
    {"top_p": 0.5, "top_k": 200, "top_logprobs": 3},
    {"min_p": 0.1},
    {"repetition_penalty": 1.3},
    {"logit_bias": ((4, 9.0),), "top_p": 0.95},
    {"temperature": 0, "presence_penalty": 2.0},
)


def bits(drawn: Drawn, index: int, top: int) -> tuple:
    found = drawn.statistics
    arrays = [drawn.ids, drawn.counts, drawn.margin, found.logprob, found.entropy, found.certainty]
    tops = [found.top_ids[index, 0, :top], found.top_logprobs[index, 0, :top]]
    return tuple(array[index].tobytes() for array in arrays) + tuple(array.tobytes() for array in tops)


@pytest.mark.parametrize(("vocab_size", "spread"), [(20, 1), (519, 2), (1000, 0.2), (40_000, 2), (151_936, 3)])
@pytest.mark.parametrize("forbids", [False, True], ids=["all", "some forbidden"])
def test_a_row_has_the_same_bits_alone_and_in_any_company(vocab_size, spread, forbids):
    logits = random_logits(vocab_size, spread, len(MIXED))
    branches = [row(sample=index, drawn=index, **params) for index, params in enumerate(MIXED)]
    forbidden = np.arange(vocab_size) % 17 == 16 if forbids else None
    together, turned = (
        draw(logits, branches, forbidden=forbidden),
        draw(logits[::-1], branches[::-1], forbidden=forbidden),
    )
    for index, branch in enumerate(branches):
        alone = draw(logits[index : index + 1], [branch], forbidden=forbidden)
        top = branch.params.top_logprobs
        assert bits(alone, 0, top) == bits(together, index, top) == bits(turned, len(branches) - 1 - index, top)


# Greedy


def test_greedy_takes_the_likeliest_and_of_equals_the_lower_id():
    logits = np.array([[1, 3, 3, 2], [0, 0, 0, 0], [-1, -3, -1, -0.5]], dtype=np.float32)
    drawn = draw(logits, rows(3, temperature=0, top_k=2, top_p=0.1, context=Unreadable()))
    assert drawn.ids.tolist() == [[1], [0], [3]]
    assert drawn.margin.tolist() == [[0], [0], [0.5]]


def test_greedy_heeds_bias_penalties_and_bans():
    logits = np.array([[0, 5, 4, 3, 2, 1]], dtype=np.float32)
    forbidden = np.arange(6) == 1
    assert draw(logits, [row(temperature=0)], forbidden=forbidden).ids == 2
    assert draw(logits, [row(temperature=0, logit_bias=((0, 6.0),))], forbidden=forbidden).ids == 0
    context = (2, 1, 3, 3)
    seen = {"temperature": 0, "context": context}
    assert draw(logits, [dataclasses.replace(row(**seen, repetition_penalty=6), prompt_length=2)]).ids == 4
    assert draw(logits, [dataclasses.replace(row(**seen, presence_penalty=9), prompt_length=1)]).ids == 2
    assert draw(logits, [dataclasses.replace(row(**seen, frequency_penalty=9), prompt_length=4)]).ids == 1
    counted = dataclasses.replace(row(**seen, frequency_penalty=2), prompt_length=0)
    assert draw(logits, [counted]).ids == 1


# Who is never drawn, and what is refused


@pytest.mark.parametrize("params", [{}, {"temperature": 0}, {"top_p": 0.99}, {"top_k": 250}], ids=str)
def test_padding_is_never_drawn(params):
    logits = random_logits(300, 0.5)
    logits[280:] += 60
    padding = np.arange(300) >= 280
    assert many_draws(logits, 2_000, padding, **params).max() < 280


@pytest.mark.parametrize("mask", [-np.inf, np.finfo(np.float32).min])
def test_what_the_model_masks_is_neither_drawn_nor_part_of_the_statistics(mask):
    bare = random_logits(300, 1)
    logits = np.insert(bare, [0, 100, 300], mask).astype(np.float32)
    found = statistics(logits[None], np.array([5]), 0)
    expected = statistics(bare[None], np.array([4]), 0)
    for name in ("logprob", "entropy", "certainty"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-5)
    for params in ({}, {"temperature": 1e300}, {"temperature": 2.0, "top_p": 0.999}):
        assert not set(many_draws(logits, 1_000, **params)) & {0, 101, 302}


def test_reported_tokens_end_where_the_model_masks():
    logits = np.array([[-np.inf, 2, -np.inf, 3]], dtype=np.float32)
    found = statistics(logits, np.array([1]), 3)
    assert found.top_ids.tolist() == [[3, 1, -1]]
    assert found.top_logprobs[0, 2] == -np.inf


@pytest.mark.parametrize("params", [{}, {"temperature": 0}, {"top_p": 0.5}, {"min_p": 0.5}], ids=str)
def test_the_last_token_left_is_drawn_without_a_rival(params):
    only = np.arange(300) != 123
    drawn = draw(random_logits(300, 1, 2), rows(2, **params), forbidden=only)
    assert drawn.ids.tolist() == [[123], [123]]
    assert drawn.margin.tolist() == [[np.inf], [np.inf]]


@pytest.mark.parametrize("params", [{}, {"temperature": 0}, {"top_p": 0.5}], ids=str)
def test_nothing_left_to_draw_is_refused(params):
    logits = random_logits(3, 1, 1)
    with pytest.raises(InvalidRequest, match="nothing is left to draw in slot 4"):
        draw(logits, [row(sample=4, **params)], forbidden=np.ones(3, dtype=bool))
    with pytest.raises(InvalidRequest, match="nothing is left to draw in slot 0"):
        draw(logits, [row(logit_bias=tuple((token, -math.inf) for token in range(3)), **params)])
    with pytest.raises(InvalidRequest, match="leave inf as the largest logit"):
        draw(logits, [row(logit_bias=((1, 1e300),), **params)])


def test_a_bias_for_a_token_that_is_not_there_is_refused():
    with pytest.raises(InvalidRequest, match="logit_bias names token 3, but the model's ids end at 2"):
        draw(random_logits(3, 1, 1), [row(logit_bias=((3, 1.0),))])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("vocab_size", [5, 2000])
def test_logits_that_are_not_finite_are_refused(bad, vocab_size):
    logits = random_logits(vocab_size, 1, 4)
    logits[2, vocab_size // 2] = bad
    with pytest.raises(BackendError, match=f"the largest of a row is {bad}"):
        draw(logits, [row(temperature=index % 2) for index in range(4)])
    with pytest.raises(BackendError, match=f"the largest of a row is {bad}"):
        statistics(logits, np.zeros(4, dtype=np.int64), 0)


def test_a_row_without_any_logit_is_refused():
    with pytest.raises(BackendError, match="the largest of a row is -inf"):
        draw(np.array([[0, 1], [-np.inf, -np.inf]], dtype=np.float32), rows(2))


def test_logits_are_left_untouched():
    logits = random_logits(300, 1, len(MIXED))
    before = logits.copy()
    draw(logits, [row(**params) for params in MIXED], forbidden=np.arange(300) < 5)
    statistics(logits, np.zeros(len(MIXED), dtype=np.int64), 5)
    assert (logits == before).all()


def test_no_rows_give_no_draws():
    drawn = draw(np.empty((0, 50), dtype=np.float32), [])
    assert drawn.ids.shape == drawn.margin.shape == drawn.statistics.entropy.shape == (0, 1)
    assert drawn.statistics.top_ids.shape == (0, 1, 0)


# Statistics


def exact_statistics(logits: np.ndarray, target: int) -> tuple[float, float, float]:
    z = logits.astype(np.float64)
    log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
    return log_p[target], -(np.exp(log_p) * log_p).sum(), -log_p.mean() - np.log(len(z))


def assert_exact(found: Statistics, logits: np.ndarray, targets: Sequence[int]) -> None:
    for index, (z, target) in enumerate(zip(logits, targets, strict=True)):
        measured = [float(getattr(found, name)[index]) for name in ("logprob", "entropy", "certainty")]
        assert measured == pytest.approx(exact_statistics(z, target), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("vocab_size", [2, 519, 32_000, 151_936])
@pytest.mark.parametrize(("spread", "offset"), [(0.0, 0), (0.1, 0), (3, 0), (3, 40), (10, -30)])
def test_statistics_equal_float64(vocab_size, spread, offset):
    logits = random_logits(vocab_size, spread, 2) + np.float32(offset)
    logits[1, 1] += 25
    assert_exact(statistics(logits, np.array([0, 1]), 0), logits, [0, 1])


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.float32, st.integers(1, 400), elements=st.floats(-100, 100, width=32)))
def test_statistics_equal_float64_for_any_logits(logits):
    found = statistics(logits[None], np.array([len(logits) // 2]), 0)
    assert_exact(found, logits[None], [len(logits) // 2])
    assert found.entropy >= -1e-5
    assert found.certainty >= -1e-5


@pytest.mark.parametrize("vocab_size", [1000, 40_000])
def test_a_draw_reports_the_statistics_of_scoring_bit_for_bit(vocab_size):
    logits = random_logits(vocab_size, 2, len(MIXED))
    drawn = draw(logits, [row(sample=index, **params) for index, params in enumerate(MIXED)])
    scored = statistics(logits, drawn.ids[:, 0], 3)
    assert drawn.counts.tolist() == [1] * len(MIXED)
    for field in dataclasses.fields(scored):
        one, other = getattr(drawn.statistics, field.name), getattr(scored, field.name)
        assert one.dtype == other.dtype
        assert one[:, 0].tobytes() == other.tobytes()


def test_statistics_are_those_of_the_raw_logits():
    logits = random_logits(300, 1, 1)
    plain = draw(logits, [row(temperature=0)])
    for params in MIXED:
        found = draw(logits, [row(**params)], forbidden=np.arange(300) > 250).statistics
        assert found.entropy == plain.statistics.entropy
        assert found.certainty == plain.statistics.certainty


def test_the_likeliest_tokens_are_reported_best_first():
    logits = random_logits(1000, 2, 3)
    logits[0, [7, 5, 900]] = 30
    found = statistics(logits, np.zeros(3, dtype=np.int64), 5)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert found.top_ids.tolist() == expected.tolist()
    for z, ids, logprobs in zip(logits, found.top_ids, found.top_logprobs, strict=True):
        assert logprobs.tolist() == pytest.approx([exact_statistics(z, token)[0] for token in ids], abs=1e-5)


def test_no_more_tokens_are_reported_than_there_are():
    assert statistics(random_logits(3, 1, 2), np.zeros(2, dtype=np.int64), 5).top_ids.shape == (2, 3)


# Self-certainty


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"V={case['V']} n={case['n']}")
def test_self_certainty_equals_the_published_definition_in_both_alignments(case):
    per_token = case["per_token_all"]
    assert self_certainty(per_token, case["prompt_len"]) == pytest.approx(case["paper"], abs=1e-9)
    reference = self_certainty(per_token, case["prompt_len"], alignment="reference")
    assert reference == pytest.approx(case["authors_code"], abs=1e-9)


@pytest.mark.parametrize("case", [case for case in GOLDEN if case["logits"]], ids=lambda case: f"V={case['V']}")
def test_certainty_of_logits_equals_the_published_values(case):
    logits = np.array(case["logits"], dtype=np.float32)
    found = statistics(logits, np.zeros(len(logits), dtype=np.int64), 0)
    assert found.certainty.tolist() == pytest.approx(case["per_token_all"], abs=1e-5)


@pytest.mark.parametrize("prompt_length", [0, 3])
def test_self_certainty_needs_a_prompt_and_a_completion(prompt_length):
    with pytest.raises(ValueError, match=r"prompt_length must be in \[1, 2\]"):
        self_certainty([1.0, 2.0, 3.0], prompt_length)
