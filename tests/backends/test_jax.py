"""JAX: its logits are the model's, whatever way a context came into its slot, and a row's draws are its own."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")
pytest.importorskip("flax", reason="the extra 'jax' is not installed")

import jax
import jax.numpy as jnp

from lite.backends.base import Drawn, Row
from lite.backends.jax.backend import JaxBackend
from lite.backends.jax.buckets import CPU, Buckets, Ladder
from lite.backends.jax.contexts import Contexts
from lite.backends.jax.warmup import _draws
from lite.errors import BackendError, Interrupted
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.random import branch_stream
from lite.sampling import draw
from tests import reference
from tests.gguf_files import llama3_rope_freqs, write_gguf

WORDS = np.random.default_rng(0).integers(0, 300, 600).tolist()  # any tokens
NEAR = 1e-4  # nats
TINY = {"hidden_size": 32, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 48, "num_layers": 1}
WINDOW = {"gemma3.attention.sliding_window": 7, "gemma3.attention.sliding_window_pattern": 2}
SMALL = dataclasses.replace(CPU, positions=Ladder(64, 4), writes=Ladder(16, 4), longest_write=64)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    """Compiled programs go where they go with the test's other files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    return open_gguf(write_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf", context_length=1024, **TINY))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_layers": 2}
    return open_gguf(write_gguf(tmp_path_factory.mktemp("models") / "wide.gguf", **sizes))


def backend_of(file: GGUFFile, **settings) -> JaxBackend:
    return JaxBackend(file, **{"num_slots": 4, "tokens_per_step": 4, "format": "f32", "buckets": SMALL} | settings)


def row(slot: int, context: Sequence[int], *, sample: int = 0, drawn: int = 0, max_new: int = 9, **params) -> Row:
    return Row(
        slot=slot,
        position=len(context) - 1,
        token=context[-1],
        stream=branch_stream(7, sample),
        drawn=drawn,
        params=SamplingParams(**params),
        context=context,
        prompt_length=len(context) - drawn,
        max_new=max_new,
    )


def expected_logprobs(file: GGUFFile, ids: Sequence[int]) -> np.ndarray:
    """Of each token after the first, in float64."""
    logits = reference.logits(file, ids)
    total = np.log(np.exp(logits).sum(axis=-1))
    return logits[np.arange(len(ids) - 1), ids[1:]] - total[:-1]


def assert_models_own(file: GGUFFile, drawn: Drawn, index: int, context: Sequence[int]) -> list[int]:
    """What row `index` drew after `context` has the model's log-probabilities; returns the context with it."""
    whole = [*context, *drawn.ids[index, : drawn.counts[index]].tolist()]
    told = drawn.statistics.logprob[index, : drawn.counts[index]]
    np.testing.assert_allclose(told, expected_logprobs(file, whole)[len(context) - 1 :], atol=NEAR)
    return whole


def test_these_tests_run_without_any_promotion() -> None:
    assert (jax.config.jax_numpy_rank_promotion, jax.config.jax_numpy_dtype_promotion) == ("raise", "strict")


# The model


@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        ("llama", {"rope_freqs": llama3_rope_freqs(old=8), "tied": False}),
        ("qwen2", {"head_dim": 12}),
        ("qwen3", {"hidden_size": 72, "num_heads": 3, "num_kv_heads": 1}),
        ("gemma3", {"num_layers": 2, "metadata": WINDOW}),
    ],
)
def test_scores_are_the_models(tmp_path: Path, architecture: str, sizes: dict) -> None:
    sizes = {"num_layers": 1} | sizes
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture, **sizes))
    scores = backend_of(file).extend(0, 0, WORDS[:39], WORDS[1:40])
    assert scores is not None
    np.testing.assert_allclose(scores.logprob, expected_logprobs(file, WORDS[:40]), atol=NEAR)


def test_a_window_reaches_from_a_rows_own_tokens_into_its_prompt(tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture="gemma3", num_layers=2, metadata=WINDOW))
    backend, context = backend_of(file), WORDS[:40]
    backend.extend(0, 0, context[:-1])
    for _ in range(3):
        drawn = backend.step([row(0, context, drawn=len(context) - 40)], frozenset())
        assert drawn.counts.tolist() == [4]
        context = assert_models_own(file, drawn, 0, context)


@pytest.mark.parametrize(("weight_format", "error"), [("bf16", 0.1), ("int8", 0.1)])
def test_shorter_formats_are_near(tiny: GGUFFile, weight_format: str, error: float) -> None:
    backend = backend_of(tiny, format=weight_format)
    scores = backend.extend(0, 0, WORDS[:39], WORDS[1:40])
    assert scores is not None
    difference = np.abs(scores.logprob - expected_logprobs(tiny, WORDS[:40]))
    assert 1e-5 < difference.max() < error
    if weight_format == "bf16":
        drawn = backend.step([row(0, WORDS[:40])], frozenset())
        ids = [*WORDS[:40], *drawn.ids[0].tolist()]
        again = backend.extend(1, 0, ids[:-1], ids[1:])
        assert again is not None
        np.testing.assert_allclose(again.logprob[39:], drawn.statistics.logprob[0], atol=error)


# Contexts that come about in any way


def test_any_order_of_writes_forks_and_draws_gives_the_models_tokens(tiny: GGUFFile) -> None:
    generator, backend = np.random.default_rng(2), backend_of(tiny)
    contexts: dict[int, list[int]] = {}
    longest = 0
    for _ in range(80):
        slot = int(generator.integers(4))
        match ("write", "fork", "draw", "draw", "draw", "forget")[generator.integers(6)]:
            case "write":
                start = int(generator.integers(len(contexts.get(slot, [])) + 1))
                start = min(start, max(0, len(contexts.get(slot, [])) - 1))
                ids = generator.integers(0, 300, generator.choice([1, 5, 40])).tolist()
                backend.extend(slot, start, ids)
                contexts[slot] = [*contexts.get(slot, [])[:start], *ids, int(generator.integers(300))]
            case "fork" if contexts:
                source = int(generator.choice(list(contexts)))
                length = int(generator.integers(len(contexts[source])))
                backend.fork(source, slot, length)
                contexts[slot] = [*contexts[source][:length], int(generator.integers(300))]
            case "draw" if contexts:
                chosen = [name for name in contexts if len(contexts[name]) < 150 and generator.random() < 0.6]
                rows = [row(name, contexts[name], sample=name, max_new=1 + name) for name in chosen]
                if rows:
                    drawn = backend.step(rows, frozenset())
                    for index, name in enumerate(chosen):
                        assert drawn.counts[index] == min(4, 1 + name)
                        contexts[name] = assert_models_own(tiny, drawn, index, contexts[name])
            case "forget":
                backend.release(slot)
                contexts.pop(slot, None)
        longest = max(longest, *map(len, contexts.values()), 0)
    assert longest > 64  # beyond the first bucket


def test_a_row_ends_with_an_end_token_and_the_others_go_on(tiny: GGUFFile) -> None:
    backend = backend_of(tiny)
    backend.extend(0, 0, WORDS[:9])
    backend.fork(0, 1, 9)
    plain = backend.step([row(slot, WORDS[:10], sample=slot) for slot in (0, 1)], frozenset())
    backend.extend(0, 9, ())
    backend.extend(1, 9, ())
    end = int(plain.ids[0, 1])
    assert end not in plain.ids[1]
    ended = backend.step([row(slot, WORDS[:10], sample=slot) for slot in (0, 1)], frozenset([end]))
    assert ended.counts.tolist() == [2, 4]
    np.testing.assert_array_equal(ended.ids[1], plain.ids[1])
    np.testing.assert_array_equal(ended.ids[0, :2], plain.ids[0, :2])


def test_penalties_and_bias_follow_what_is_drawn_within_a_step(tiny: GGUFFile) -> None:
    """One step of four tokens draws as four steps of the reference do."""
    params = {"frequency_penalty": 2.0, "repetition_penalty": 1.4, "logit_bias": ((5, 4.0),)}
    backend, context = backend_of(tiny), WORDS[:10]
    backend.extend(0, 0, WORDS[:9])
    found = backend.step([row(0, context, **params)], frozenset())
    for drawn in range(4):
        logits = reference.logits(tiny, context)[-1:].astype(np.float32)
        expected = draw(logits, [row(0, context, drawn=drawn, **params)])
        context = [*context, int(expected.ids[0, 0])]
    assert context[10:] == found.ids[0].tolist()


def test_the_likeliest_tokens_are_those_that_were_asked_for(tiny: GGUFFile) -> None:
    backend = backend_of(tiny)
    scores = backend.extend(0, 0, WORDS[:9], WORDS[1:10], 3)
    assert scores is not None
    logits = reference.logits(tiny, WORDS[:9])
    np.testing.assert_array_equal(scores.top_ids, np.argsort(-logits, axis=-1)[:, :3])
    drawn = backend.step([row(0, WORDS[:10], top_logprobs=2)], frozenset())
    assert drawn.statistics.top_ids.shape == (1, 4, 2)
    assert drawn.statistics.top_logprobs[0, 0, 0] >= drawn.statistics.top_logprobs[0, 0, 1]


# A row is its own


def test_bits_depend_neither_on_slot_nor_on_company(tiny: GGUFFile) -> None:
    found = []
    for slots, others in (((0, 1, 2, 3), 40), ((3, 0, 2, 1), 90)):
        backend = backend_of(tiny, num_slots=4)
        for number, slot in enumerate(slots):
            ids = WORDS[:30] if number == 0 else WORDS[others + number : others + number + 20 + number]
            backend.extend(slot, 0, ids)
        contexts = [WORDS[:31], *(WORDS[others + n : others + n + 21 + n] for n in (1, 2, 3))]
        placed = enumerate(zip(slots, contexts, strict=True))
        rows = [row(slot, context, sample=number) for number, (slot, context) in placed]
        drawn = backend.step(rows, frozenset())
        found.append([drawn.ids[0], drawn.margin[0], drawn.statistics.logprob[0], drawn.statistics.certainty[0]])
    np.testing.assert_array_equal(found[0], found[1])


def long_draws(file: GGUFFile, buckets: Buckets, at_once: int, tokens_per_step: int) -> np.ndarray:
    """256 tokens of 64 rows that share two prompts, `at_once` rows a step."""
    backend = JaxBackend(file, format="f32", num_slots=64, tokens_per_step=tokens_per_step, buckets=buckets)
    ids = np.zeros((64, 256), np.int32)
    for first in range(0, 64, at_once):
        members = range(first, first + at_once)
        contexts = {member: WORDS[: 50 + member % 2] for member in members}
        for member in members:
            backend.extend(member, 0, contexts[member][:-1])
        while len(contexts[first]) < 256 + 50:
            rows = [
                row(member, contexts[member], sample=member, drawn=len(contexts[member]) - 50 - member % 2, max_new=256)
                for member in members
            ]
            drawn = backend.step(rows, frozenset())
            for index, member in enumerate(members):
                contexts[member] = [*contexts[member], *drawn.ids[index].tolist()]
        for member in members:
            ids[member] = contexts[member][50 + member % 2 :][:256]
            backend.release(member)
    return ids


def test_tokens_depend_on_no_bucket_and_no_batch(tiny: GGUFFile) -> None:
    """64 rows of 256 tokens each."""
    plain = long_draws(tiny, dataclasses.replace(CPU, positions=Ladder(320, 2)), 64, 32)
    other = Buckets(
        rows=Ladder(2, 2), groups=Ladder(3, 2), positions=Ladder(160, 2), writes=Ladder(8, 3), longest_write=24
    )
    np.testing.assert_array_equal(long_draws(tiny, other, 32, 64), plain)


# What is compiled


def test_a_second_prompt_of_another_length_compiles_nothing(tiny: GGUFFile) -> None:
    backend, compiled = backend_of(tiny, tokens_per_step=5), []  # a program that no other test has

    def note(event: str, seconds: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def ask(length: int) -> None:
        backend.extend(0, 0, WORDS[: length - 1])
        backend.fork(0, 1, length - 1)
        backend.step([row(slot, WORDS[:length], sample=slot) for slot in (0, 1)], frozenset())
        backend.release(0)
        backend.release(1)

    ask(20)
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        ask(37)
        assert not compiled
        ask(90)  # beyond the bucket
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_what_is_compiled_ahead_is_not_compiled_again(tiny: GGUFFile) -> None:
    def ask(tokens_per_step: int) -> None:
        backend = backend_of(tiny, tokens_per_step=tokens_per_step)
        backend.extend(0, 0, WORDS[:13])
        for slot in (1, 2, 3):
            backend.fork(0, slot, 13)
        backend.step([row(slot, WORDS[:14], sample=slot) for slot in range(4)], frozenset())

    def note(event: str, **_: object) -> None:
        events.append(event)

    ask(4)  # what moves rows about is compiled with it
    events: list[str] = []
    count = backend_of(tiny, tokens_per_step=3).compile_ahead(frozenset(), prompt_length=13, max_tokens=9)
    assert count == 3
    jax.clear_caches()  # as in another process: what is on the disk is left
    jax.monitoring.register_event_listener(note)
    try:
        ask(3)
    finally:
        jax.monitoring.unregister_event_listener(note)
    assert "/jax/compilation_cache/cache_hits" in events
    assert "/jax/compilation_cache/cache_misses" not in events


@pytest.mark.parametrize("weight_format", ["f32", "int8"])
def test_no_step_copies_a_matrix(wide: GGUFFile, weight_format: str) -> None:
    """A step's temporary memory is less than one layer's weights, as they are stored: with int8, less than a quarter
    of what they would be in float32, which is what they are multiplied in on a CPU."""
    backend = backend_of(wide, format=weight_format)
    assert backend._model is not None
    batch = {"num_samples": 4, "prompt_length": 13, "max_tokens": 9}
    compiled = next(_draws(backend._model, backend._end_mask(frozenset()), **batch))().compile()
    layer = backend._model.weights.layers[0]
    assert compiled.memory_analysis().temp_size_in_bytes < sum(leaf.nbytes for leaf in jax.tree.leaves(layer))


# Failures


def test_an_interrupted_write_keeps_what_was_written(tiny: GGUFFile) -> None:
    backend = backend_of(tiny)
    answers = iter([False, True])
    backend.watch(lambda: next(answers))
    with pytest.raises(Interrupted):
        backend.extend(0, 0, WORDS[:300])
    backend.watch(lambda: False)
    backend.extend(0, 100, WORDS[100:150])
    assert_models_own(tiny, backend.step([row(0, WORDS[:151])], frozenset()), 0, WORDS[:151])


def test_broken_weights_are_an_error_and_never_a_token(tiny: GGUFFile) -> None:
    backend = backend_of(tiny)
    assert backend._model is not None
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, backend._model.weights)
    backend._model = dataclasses.replace(backend._model, weights=broken)
    backend._contexts = Contexts(backend._model)
    with pytest.raises(BackendError, match="non-finite logits"):
        backend.extend(0, 0, WORDS[:9], WORDS[1:10])
    backend.extend(0, 0, WORDS[:9])
    with pytest.raises(BackendError, match="non-finite logits in slot 0"):
        backend.step([row(0, WORDS[:10])], frozenset())


def test_what_a_failure_took_is_told_and_written_anew(tiny: GGUFFile) -> None:
    backend = backend_of(tiny)
    backend.extend(0, 0, WORDS[:9])
    with pytest.raises(BackendError, match="exceed the context of 1024"):
        backend.extend(1, 1000, WORDS[:30])
    with pytest.raises(BackendError, match="slot 1 holds 0 positions of 5"):
        backend.fork(1, 2, 5)
    with pytest.raises(BackendError, match="slot 0 holds 0 positions of 9"):
        backend.step([row(0, WORDS[:10])], frozenset())
    backend.extend(0, 0, WORDS[:9])
    assert_models_own(tiny, backend.step([row(0, WORDS[:10])], frozenset()), 0, WORDS[:10])
    backend.close()
    backend.close()
    backend.release(0)
    with pytest.raises(BackendError, match="closed"):
        backend.extend(0, 0, WORDS[:9])
