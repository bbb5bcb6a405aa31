"""The JAX twins of random.py and sampling.py agree with them draw for draw, filters and penalties included."""

import dataclasses
from collections.abc import Sequence
from functools import cache, partial

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")
pytest.importorskip("flax", reason="needs the extra jax")

from lite.backends.base import Drawn, Row  # noqa: E402
from lite.backends.jax.draw import (  # noqa: E402
    Adjustments,
    Draws,
    Kinds,
    adjustments_of,
    check_sound,
    draw_tokens,
    kinds_of,
    rules_of,
    score_tokens,
)
from lite.backends.jax.random import exponentials as device_exponentials  # noqa: E402
from lite.backends.jax.random import threefry_2x32 as device_threefry  # noqa: E402
from lite.errors import BackendError, InvalidRequest  # noqa: E402
from lite.params import SamplingParams  # noqa: E402
from lite.random import branch_stream, exponentials, threefry_2x32  # noqa: E402
from lite.sampling import draw, statistics  # noqa: E402

CONTEXT = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 9)


def rows(count: int, **params) -> list[Row]:
    settings = SamplingParams(**params)
    return [
        Row(
            slot=index,
            position=len(CONTEXT),
            token=0,
            stream=branch_stream(11, index % 5),
            drawn=index,
            params=settings,
            context=CONTEXT,
            prompt_length=5,
            max_new=1,
        )
        for index in range(count)
    ]


def random_logits(num_rows: int, vocab_size: int, spread: float) -> np.ndarray:
    return np.random.default_rng(vocab_size).normal(0, spread, (num_rows, vocab_size)).astype(np.float32)


@cache
def compiled(kinds: Kinds, top: int):
    return jax.jit(partial(draw_tokens, kinds=kinds, top=top))


def on_device(logits: np.ndarray, asked: Sequence[Row], forbidden: np.ndarray | None = None, top: int = 0) -> Draws:
    barred = np.zeros(logits.shape[1], np.bool_) if forbidden is None else forbidden
    jitted = compiled(kinds_of(asked), top)
    drawn = np.array([row.drawn for row in asked], np.uint32)
    return jax.device_get(jitted(logits, rules_of(asked), drawn, barred, adjustments_of(asked, logits.shape[1])))


def assert_twins(host: Drawn, device: Draws, *, excused: float = 1e-4) -> None:
    """The same tokens, except where the race was nearly a tie, and the same statistics of these."""
    same = host.ids[:, 0] == device.ids
    assert np.all(same | (np.minimum(host.margin[:, 0], device.margin) < excused))
    assert same.mean() > 0.99
    assert not device.fault.any()
    for name in ("logprob", "entropy", "certainty"):
        mine, other = getattr(host.statistics, name)[:, 0], getattr(device.scores, name)
        np.testing.assert_allclose(other[same], mine[same], rtol=2e-6, atol=2e-5)
    finite = same & np.isfinite(device.margin)
    np.testing.assert_allclose(device.margin[finite], host.margin[finite, 0], atol=1e-4, rtol=1e-4)
    assert np.array_equal(np.isinf(host.margin[same, 0]), np.isinf(device.margin[same]))


def test_the_words_are_the_same_bits():
    words = np.random.default_rng(0).integers(0, 1 << 32, (4, 4096), dtype=np.uint32)
    mine = threefry_2x32((words[0], words[1]), (words[2], words[3]))
    other = jax.jit(device_threefry)((words[0], words[1]), (words[2], words[3]))
    for first, second in zip(mine, other, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_variates_differ_in_the_last_bits_of_the_logarithm_at_most():
    streams = np.random.default_rng(1).integers(0, 1 << 32, (8, 2), dtype=np.uint32)
    positions = np.arange(8, dtype=np.uint32)
    ids = np.arange(1 << 14, dtype=np.uint32)[None]
    mine = exponentials(streams, positions, np.broadcast_to(ids, (8, 1 << 14)))
    other = np.asarray(jax.jit(device_exponentials)(streams, positions, ids))
    np.testing.assert_allclose(other, mine, rtol=4e-7)


@pytest.mark.parametrize(("vocab_size", "spread"), [(2, 1.0), (20, 1.0), (519, 2.0), (1024, 0.2), (40_000, 2.0)])
@pytest.mark.parametrize("forbids", [False, True], ids=["all", "some forbidden"])
def test_unfiltered_draws_agree(vocab_size, spread, forbids):
    asked = rows(256)
    logits = random_logits(256, vocab_size, spread)
    forbidden = np.zeros(vocab_size, np.bool_)
    if forbids:
        forbidden[1 :: 1 + vocab_size // 7] = True
    host = draw(logits, asked, forbidden=forbidden)
    device = on_device(logits, asked, forbidden)
    assert_twins(host, device)
    assert not forbidden[device.ids].any()


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0},
        {"temperature": 0.6, "top_k": 20, "top_p": 0.95},
        {"top_k": 3},
        {"top_k": 100},  # beyond the 64 best
        {"top_p": 0.5},
        {"top_p": 0.999},  # most of a flat vocabulary
        {"min_p": 0.05},
        {"min_p": 1e-6, "top_p": 0.9999},
        {"temperature": 1e-30, "top_p": 0.9},
        {"temperature": 1e30},
        {"temperature": 1e-30},
        {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.25},
        {"temperature": 0, "repetition_penalty": 1.3, "logit_bias": ((7, 3.0), (9, -np.inf))},
        {"top_k": 5, "logit_bias": ((700, 4.0), (700, 1.0))},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_draws_agree_under_every_setting(params, spread):
    asked = rows(256, **params)
    logits = random_logits(256, 1500, spread)
    forbidden = np.zeros(1500, np.bool_)
    forbidden[[2, 1499]] = True
    assert_twins(draw(logits, asked, forbidden=forbidden), on_device(logits, asked, forbidden))


def test_rows_of_every_kind_share_a_batch():
    settings = ({}, {"temperature": 0}, {"top_p": 0.9}, {"top_k": 200}, {"presence_penalty": 1.0})
    asked = [dataclasses.replace(row, slot=slot) for params in settings for slot, row in enumerate(rows(3, **params))]
    logits = random_logits(len(asked), 3000, 1.5)
    device = on_device(logits, asked)
    assert_twins(draw(logits, asked), device)
    for index, row in list(enumerate(asked))[::3]:
        assert on_device(logits[index : index + 1], [row]).ids[0] == device.ids[index]


def test_penalties_count_the_tokens_drawn_on_the_device():
    asked = rows(4, repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=2.0)
    before = adjustments_of(asked, 40)
    live = np.array([True, True, False, True])
    after = jax.jit(Adjustments.after)(before, np.array([9, 30, 30, 5], np.int32), live)
    grown = [dataclasses.replace(asked[i], context=(*CONTEXT, token)) for i, token in ((0, 9), (1, 30), (3, 5))]
    expected = adjustments_of(grown, 40)
    for name in ("seen", "counts"):
        np.testing.assert_array_equal(np.asarray(getattr(after, name))[live], getattr(expected, name))
        np.testing.assert_array_equal(np.asarray(getattr(after, name))[2], np.asarray(getattr(before, name))[2])


@pytest.mark.parametrize("mask", [-np.inf, np.finfo(np.float32).min])
def test_what_the_model_masks_is_neither_drawn_nor_part_of_the_statistics(mask):
    logits = random_logits(64, 900, 1.0)
    logits[:, 5::3] = mask
    for params in ({}, {"top_p": 0.9}, {"temperature": 0}):
        host = draw(logits, rows(64, top_logprobs=4, **params))
        device = on_device(logits, rows(64, **params), top=4)
        assert_twins(host, device)
        np.testing.assert_array_equal(device.scores.top_ids, host.statistics.top_ids[:, 0])
        np.testing.assert_allclose(device.scores.top_logprobs, host.statistics.top_logprobs[:, 0], atol=2e-5)


def test_reported_tokens_end_where_the_model_masks():
    logits = np.full((1, 6), -np.inf, np.float32)
    logits[0, [1, 4]] = (0.5, 2.0)
    scores = on_device(logits, rows(1), top=4).scores
    assert scores.top_ids.tolist() == [[4, 1, -1, -1]]
    assert np.isneginf(scores.top_logprobs[0, 2:]).all()


@pytest.mark.parametrize("vocab_size", [2, 519, 151_936])
@pytest.mark.parametrize(("spread", "offset"), [(0.1, 0.0), (3.0, 40.0), (10.0, -30.0)])
def test_scores_equal_the_hosts(vocab_size, spread, offset):
    logits = random_logits(3, vocab_size, spread) + np.float32(offset)
    targets = np.array([0, 1, vocab_size - 1], np.int32)
    host = statistics(logits, targets, 2)
    device = jax.jit(partial(score_tokens, top=2))(logits, targets)
    for name in ("logprob", "entropy", "certainty", "top_logprobs"):
        np.testing.assert_allclose(getattr(device, name), getattr(host, name), rtol=2e-6, atol=2e-5)
    np.testing.assert_array_equal(device.top_ids, host.top_ids)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    logits = random_logits(3, 700, 1.0)
    logits[1, 3] = bad
    asked = rows(3)
    with pytest.raises(BackendError, match="slot 1"):
        check_sound(on_device(logits, asked).fault, asked)


def test_nothing_left_to_draw_is_refused():
    asked = rows(2, logit_bias=((0, -np.inf), (1, -np.inf)))
    with pytest.raises(InvalidRequest, match="slot 0"):
        check_sound(on_device(random_logits(2, 2, 1.0), asked).fault, asked)


def test_a_bias_for_a_token_that_is_not_there_is_refused():
    with pytest.raises(InvalidRequest, match="700"):
        adjustments_of(rows(1, logit_bias=((700, 1.0),)), 700)
