"""llama.cpp: its logits are the model's, and nothing that comes and goes beside a branch changes its bits."""

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")

import lite
from lite.backends.base import Row
from lite.backends.cpu import llama_cpp as module
from lite.backends.cpu.llama_api import MAX_SEQUENCES, Context
from lite.backends.cpu.llama_cells import Cells
from lite.backends.cpu.llama_cpp import LlamaBackend
from lite.backends.cpu.llama_formats import file_format
from lite.errors import BackendError, Interrupted, ModelError
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from tests import reference
from tests.backends.calls import any_calls, last_logits, row, scored
from tests.gguf_files import bpe_vocabulary, write_gguf

PARAMS = SamplingParams()
WORDS = np.random.default_rng(0).integers(0, 300, 1500).tolist()  # any tokens
CONTROL = 2  # the type of control tokens


def written(path: Path, **sizes: Any) -> GGUFFile:
    """A model whose tokens fill the embedding, as llama.cpp wants them."""
    tokens = bpe_vocabulary()
    extra = -len(tokens) % 32
    tokens |= {f"<|extra_{index}|>": CONTROL for index in range(extra)}
    return open_gguf(write_gguf(path, tokens=tokens, padding_rows=0, **sizes))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GGUFFile]:
    """By type: the matrices are ragged, so that kernels meet the ends of their tiles."""
    sizes: dict[str, Any] = {
        "hidden_size": 160,
        "intermediate_size": 224,
        "num_heads": 6,
        "head_dim": 32,
        "context_length": 1400,
    }
    folder = tmp_path_factory.mktemp("models")
    return {
        kind: written(folder / f"{kind}.gguf", weight_type=kind, **sizes) for kind in ("F32", "F16", "Q8_0", "Q4_0")
    }


# The model's logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_float_logits_are_the_models(tmp_path: Path, architecture: str, tied: bool) -> None:
    file = written(tmp_path / "m.gguf", architecture=architecture, tied=tied)
    backend = LlamaBackend(file, num_slots=2)
    assert backend.spec.format == "f32"
    expected = reference.logits(file, WORDS[:40])
    np.testing.assert_allclose(scored(backend, WORDS[:40]), expected, atol=1e-4)
    np.testing.assert_allclose(last_logits(backend, 1, WORDS[:40]), expected[-1], atol=1e-4)


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
def test_logits_are_those_of_the_rounded_weights(models: dict[str, GGUFFile], kind: str) -> None:
    backend = LlamaBackend(models[kind], num_slots=1)
    assert backend.spec.format == kind
    error = np.abs(scored(backend, WORDS[:40]) - reference.logits(models[kind], WORDS[:40]))
    assert np.median(error) < 0.03
    assert error.max() < 0.4


# The same bits whatever the company


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_row_has_the_same_bits_alone_and_among_others(models: dict[str, GGUFFile], kind: str) -> None:
    """Beside more than 512 cells too, where llama.cpp would take another way for a single row, and at 64 rows."""
    found = []
    for threads in (1, 2):
        backend = LlamaBackend(models[kind], num_slots=70, threads=threads)
        assert backend.spec.batch_invariant
        branches = [WORDS[index : index + 5 + 7 * index % 60] for index in range(64)]
        branches[3] = WORDS[:600]
        alone = [last_logits(backend, 65, ids) for ids in branches]
        found.append(alone)
        for size in (2, 3, 17, 64):
            for slot in range(size):
                backend.extend(slot, 0, branches[slot][:-1])
            rows = [row(slot, len(ids) - 1, ids[-1]) for slot, ids in enumerate(branches[:size])]
            np.testing.assert_array_equal(backend.next_logits(rows), alone[:size])
        backend.close()
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_bits_depend_neither_on_chunks_nor_on_what_is_in_the_cache(models: dict[str, GGUFFile], kind: str) -> None:
    backend = LlamaBackend(models[kind], num_slots=3)
    expected = last_logits(backend, 0, WORDS[:200])
    backend.extend(1, 0, WORDS[500:590])
    for borders in ([1, 2, 9], [100], [130, 131]):
        for start, end in zip([0, *borders], [*borders, 199], strict=True):
            backend.extend(2, start, WORDS[start:end])
        np.testing.assert_array_equal(last_logits(backend, 2, WORDS[:200], start=199), expected)
    drawn = []
    for position in range(200):
        drawn = [backend.next_logits([row(1, position, WORDS[position])])[0].copy()]
    np.testing.assert_array_equal(drawn[0], expected)


@pytest.mark.parametrize("kind", ["Q8_0", "F32"])
def test_any_sequence_of_calls_leaves_what_a_fresh_start_would(
    models: dict[str, GGUFFile], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With so few cells and sequences that the cache is compacted and grows all the time."""
    monkeypatch.setattr(module, "_FIRST_CELLS", 256)
    monkeypatch.setattr(module, "_COPY", 1)
    monkeypatch.setattr(module, "_LEAST_SEQUENCES", 11)
    monkeypatch.setattr(module, "_SEQUENCES_A_SLOT", 1)
    backend = LlamaBackend(models[kind], num_slots=9)
    fresh = LlamaBackend(models[kind], num_slots=1)
    tolerance = 0.0 if kind == "Q8_0" else 1e-4
    any_calls(backend, fresh, count=150, longest=40, tolerance=tolerance)
    assert backend._context.settings.num_cells > 256


def test_only_types_that_keep_it_promise_the_same_bits(models: dict[str, GGUFFile]) -> None:
    assert not LlamaBackend(models["F32"], num_slots=1).spec.batch_invariant
    assert not LlamaBackend(models["F16"], num_slots=1).spec.batch_invariant
    assert file_format({"Q4_0": 5, "F32": 1}).batch_invariant
    assert file_format({"Q8_0": 5, "Q4_0": 9, "F32": 1}).batch_invariant
    assert not file_format({"Q4_0": 5, "Q6_K": 2, "F32": 1}).batch_invariant
    assert file_format({"Q4_0": 5, "Q6_K": 2, "F32": 1}).name == "Q4_0"


def test_a_processor_that_does_not_keep_the_bits_is_found_out(
    models: dict[str, GGUFFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LlamaBackend.next_logits

    def next_logits(backend: LlamaBackend, rows: Sequence[Row]) -> NDArray[np.float32]:
        return np.nextafter(honest(backend, rows), np.float32(len(rows)))

    monkeypatch.setattr(LlamaBackend, "next_logits", next_logits)
    assert LlamaBackend(models["Q8_0"], num_slots=1).spec.batch_invariant
    assert not LlamaBackend(models["Q8_0"], num_slots=3).spec.batch_invariant


# Slots and cells


def test_extend_forgets_what_stood_from_its_start_on(models: dict[str, GGUFFile]) -> None:
    backend = LlamaBackend(models["Q8_0"], num_slots=2)
    expected = last_logits(backend, 0, [*WORDS[:10], 5, 6])
    backend.extend(1, 0, WORDS[:200])
    backend.extend(1, 10, ())
    np.testing.assert_array_equal(last_logits(backend, 1, [*WORDS[:10], 5, 6], start=10), expected)


def test_the_whole_context_of_every_slot_can_be_used_and_no_more(models: dict[str, GGUFFile]) -> None:
    backend = LlamaBackend(models["Q8_0"], num_slots=3, context_length=500)
    expected = last_logits(backend, 0, WORDS[:500])
    for slot in (1, 2, 0):
        np.testing.assert_array_equal(last_logits(backend, slot, WORDS[:500]), expected)
    with pytest.raises(BackendError, match="exceed the context of 500"):
        backend.next_logits([row(0, 500, 1)])
    with pytest.raises(BackendError, match="exceed the context of 500"):
        backend.extend(0, 0, WORDS[:501])


def test_as_many_slots_as_there_can_be(models: dict[str, GGUFFile]) -> None:
    most = MAX_SEQUENCES - 1
    backend = LlamaBackend(models["Q8_0"], num_slots=most, context_length=8)
    for position in range(3):
        logits = backend.next_logits([row(slot, position, slot) for slot in range(most)])
        assert logits.shape == (most, backend.spec.vocab_size)
    backend.fork(0, 1, 2)
    backend.fork(2, 1, 2)
    np.testing.assert_array_equal(*backend.next_logits([row(1, 2, 7), row(2, 3, 7)])[[0, 0]])
    with pytest.raises(BackendError, match=f"{most} samples at once"):
        LlamaBackend(models["Q8_0"], num_slots=MAX_SEQUENCES)


def test_cells_are_given_out_in_order_and_put_together() -> None:
    cells = Cells(num_sequences=4)
    first = cells.take(0)
    cells.append(0, 3)
    second = cells.take(1, source=0, length=2)
    cells.append(1)
    cells.append(0)
    assert (first, second) == (0, 1)
    assert (cells.length(0), cells.length(1), cells.num_taken, cells.num_live) == (4, 3, 5, 5)
    cells.leave(0)
    assert (cells.left, cells.num_live, cells.num_unused) == ([0], 3, 2)
    cells.compact()
    assert (cells.left, cells.num_taken, cells.num_unused, cells.length(1)) == ([], 3, 3, 3)
    assert cells.take(0) == 0
    cells.append(0)
    assert (cells.num_taken, cells.num_live) == (4, 4)


def test_a_compaction_pays_once_tokens_passed_over_enough_dead_cells() -> None:
    cells = Cells(num_sequences=3)
    cells.take(0)
    cells.append(0, 10)
    cells.take(1, source=0, length=6)
    cells.append(1, 2)
    assert not cells.pays(1)
    cells.leave(0)  # of its ten cells four are dead
    for _ in range(4):
        assert not cells.pays(2)
        cells.append(1, 2)
    assert cells.num_live == 16
    assert not cells.pays(2)  # eight tokens passed over four cells
    cells.append(1)
    assert cells.pays(2)
    cells.compact()
    assert not cells.pays(0)
    cells.leave(1)
    cells.take(2)
    cells.append(2, 1)
    assert cells.pays(2)


# Draws and scores


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_scores_are_the_statistics_of_the_draws(models: dict[str, GGUFFile], kind: str) -> None:
    file = models[kind]
    backend = LlamaBackend(file, num_slots=2, forbidden_ids=range(250, file.config.vocab_size))
    ids = WORDS[:9]
    backend.extend(0, 0, ids[:-1])
    steps = []
    for position in range(8, 20):
        drawn = backend.step([row(0, position, ids[-1], SamplingParams(top_logprobs=3))], frozenset())
        steps.append(drawn.statistics)
        ids = [*ids, int(drawn.ids[0, 0])]
        assert ids[-1] < 250
    scores = backend.extend(1, 0, ids[:-1], ids[1:], top=3)
    assert scores is not None
    assert scores.logprob.shape == (len(ids) - 1,)
    for name in ("logprob", "entropy", "certainty", "top_logprobs"):
        decoded = np.concatenate([getattr(step, name)[0] for step in steps])
        np.testing.assert_allclose(getattr(scores, name)[8:], decoded, atol=1e-4 if kind == "F32" else 0)


# Failures


def test_logits_that_are_not_numbers_are_an_error(tmp_path: Path) -> None:
    gain = np.full(64, 3e38, np.float32)
    backend = LlamaBackend(written(tmp_path / "m.gguf", extra_tensors={"output_norm.weight": gain}), num_slots=1)
    with pytest.raises(BackendError, match="finite"):
        backend.step([row(0, 0, 1)], frozenset())


def test_what_llama_cpp_would_not_survive_is_refused(models: dict[str, GGUFFile]) -> None:
    backend = LlamaBackend(models["F32"], num_slots=1)
    with pytest.raises(BackendError, match="token 1000000 is none"):
        backend.next_logits([row(0, 0, 10**6)])
    with pytest.raises(BackendError, match="token -1 is none"):
        backend.extend(0, 0, [1, -1])
    expected = reference.logits(models["F32"], WORDS[:9])[-1]
    np.testing.assert_allclose(last_logits(backend, 0, WORDS[:9]), expected, atol=1e-4)
    context = backend._context
    with pytest.raises(BackendError, match="sequence 300 is none"):
        context.copy(0, 300, 1)
    with pytest.raises(BackendError, match="200 tokens at once"):
        context.decode(WORDS[:200], range(200), [0] * 200)
    with pytest.raises(BackendError, match="code -1"):
        context.decode([1], [7], [0])


@pytest.mark.parametrize("looks", [1, 40])
def test_an_interrupted_call_leaves_a_backend_that_works(
    models: dict[str, GGUFFile], monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    monkeypatch.setattr(module, "LONG_CALL", 0)
    backend = LlamaBackend(models["Q8_0"], num_slots=2)
    expected = last_logits(backend, 0, WORDS[:300])
    left = iter([False] * looks)
    backend.watch(lambda: next(left, True))
    with pytest.raises(Interrupted):
        backend.extend(1, 0, WORDS[:299])
    with pytest.raises(Interrupted):
        backend.next_logits([row(0, 300, 1)])
    backend.watch(lambda: False)
    np.testing.assert_array_equal(last_logits(backend, 1, WORDS[:300]), expected)
    backend.extend(1, 0, ())


def test_a_key_pressed_while_llama_cpp_computes_is_not_lost(models: dict[str, GGUFFile]) -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    backend = LlamaBackend(models["Q8_0"], num_slots=1)
    context = Context(backend._model, backend._context.settings, interrupted)
    with pytest.raises(KeyboardInterrupt):
        context.decode(WORDS[:50], range(50), [0] * 50, interruptible=True)
    context.close()


def test_a_full_cache_is_an_error_and_changes_nothing(models: dict[str, GGUFFile]) -> None:
    backend = LlamaBackend(models["Q8_0"], num_slots=1)
    context = Context(backend._model, replace(backend._context.settings, num_cells=256), lambda: False)
    context.decode(WORDS[:128], range(128), [0] * 128)
    context.decode(WORDS[:128], range(128), [1] * 128)
    with pytest.raises(BackendError, match="the cache of 256 tokens is full"):
        context.decode(WORDS[:1], [128], [0])
    context.remove(1)
    context.decode(WORDS[:1], [128], [0])


def test_a_vocabulary_that_does_not_fill_the_embedding_is_refused_by_name(tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf"))
    with pytest.raises(ModelError, match="as many tokens as the embedding has rows"):
        LlamaBackend(file)


def test_what_llama_cpp_says_of_a_file_it_refuses_is_in_the_error(tmp_path: Path) -> None:
    file = written(tmp_path / "m.gguf", pre="no-such-thing")
    with pytest.raises(BackendError, match="no-such-thing") as caught:
        LlamaBackend(file)
    assert "\n" not in str(caught.value)


def test_closing_may_be_repeated(models: dict[str, GGUFFile]) -> None:
    backend = LlamaBackend(models["Q8_0"], num_slots=4)
    backend.extend(0, 0, WORDS[:20])
    backend.close()
    backend.close()
    backend.release(0)
    with pytest.raises(BackendError, match="closed"):
        backend.step([row(0, 20, 1)], frozenset())
    with pytest.raises(BackendError, match="closed"):
        backend.extend(0, 0, [1, 2])


def test_a_backend_that_is_not_closed_frees_itself(models: dict[str, GGUFFile]) -> None:
    backend = LlamaBackend(models["Q8_0"], num_slots=1)
    backend.extend(0, 0, WORDS[:20])
    context, model = backend._context.close, backend._model.close
    del backend
    gc.collect()
    gc.collect()  # the model is free to go when the context has gone
    assert not context.alive
    assert not model.alive


# The library


def test_it_is_opened_by_name_in_the_files_own_format(models: dict[str, GGUFFile]) -> None:
    with lite.load(models["Q4_0"].path, "llama", samples=2, context=64) as model:
        assert (model.engine, model.format) == ("llama", "Q4_0")
    with pytest.raises(lite.UsageError, match="unknown format of llama 'int8-row': there is Q4_0"):
        lite.load(models["Q4_0"].path, "llama", format="int8-row")


def test_the_library_logs_through_logging_alone(
    models: dict[str, GGUFFile], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="lite.backends.cpu.llama_api"):
        LlamaBackend(models["Q8_0"], num_slots=1).close()
    assert "KV buffer size" in caplog.text
    assert max(record.levelno for record in caplog.records) <= logging.INFO
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("chosen", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_waiting_threads_spin_a_bounded_time_unless_the_user_says_otherwise(
    chosen: dict[str, str], expected: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | chosen
    code = "import lite.backends.cpu.llama_api, os; print(os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == expected, done.stderr


def test_a_context_that_does_not_fit_is_an_error(models: dict[str, GGUFFile], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LlamaBackend(models["F32"], num_slots=1)
    expected = last_logits(backend, 0, WORDS[:900])
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_init_from_model", lambda *_: None)
    with pytest.raises(BackendError, match="no memory for 1792 tokens"):
        backend.extend(0, 900, WORDS[900:1100])
    monkeypatch.undo()
    np.testing.assert_allclose(last_logits(backend, 0, WORDS[:900], start=899), expected, atol=1e-4)
