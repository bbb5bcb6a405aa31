"""ONNX Runtime: its logits are the model's, and a branch's bits depend on nothing but the branch."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.cpu import onnx as module
from lite.backends.cpu import onnx_session
from lite.backends.cpu.onnx import OnnxBackend
from lite.errors import BackendError, Interrupted
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx import FORMATS, Format
from tests import reference
from tests.backends.calls import ARCHITECTURES, PRODUCTS, any_calls, last_logits, over_sizes, row, scored, write_wide
from tests.gguf_files import write_gguf

PARAMS = SamplingParams()
WORDS = np.random.default_rng(0).integers(0, 300, 700).tolist()  # any tokens


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    return write_wide(tmp_path_factory.mktemp("models"))


# The model's logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@over_sizes
def test_float_logits_are_the_models(tmp_path: Path, architecture: str, tied: bool, sizes: dict[str, Any]) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture, tied=tied, **sizes))
    backend = OnnxBackend(file, format="f32", num_slots=2)
    expected = reference.logits(file, WORDS[:40])
    np.testing.assert_allclose(scored(backend, WORDS[:40]), expected, atol=1e-4)
    np.testing.assert_allclose(last_logits(backend, 1, WORDS[:40]), expected[-1], atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("weight_format", PRODUCTS)
def test_integer_logits_are_those_of_the_rounded_model(
    tmp_path: Path, architecture: str, weight_format: Format
) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture, tied=architecture != "qwen2"))
    backend = OnnxBackend(file, format=weight_format, num_slots=1)
    expected = reference.logits(file, WORDS[:40], PRODUCTS[weight_format])
    error = np.abs(scored(backend, WORDS[:40]) - expected)
    # An activation that lies on the border of two integers may fall to either side; all else is exact.
    assert np.median(error) < 0.02
    assert error.max() < 0.2
    assert error[0].max() < 1e-4


def test_a_file_of_the_same_blocks_loses_nothing_more(tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", weight_type="Q4_0"))
    matrix = file.tensor("blk.0.ffn_up.weight").astype(np.float64)
    np.testing.assert_allclose(reference.dequantised(matrix, 4), matrix, rtol=1e-6)


# The same bits whatever the company


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_row_has_the_same_bits_alone_and_among_others(wide: GGUFFile, weight_format: Format, threads: int) -> None:
    backend = OnnxBackend(wide, format=weight_format, num_slots=40, threads=threads)
    generator = np.random.default_rng(1)
    branches = [generator.integers(0, 300, 5 + 7 * index % 60).tolist() for index in range(32)]
    alone = [last_logits(backend, 39, ids) for ids in branches]
    for size in (1, 2, 3, 4, 5, 16, 17, 32):
        slots = generator.permutation(40)[:size].tolist()
        chosen = generator.permutation(32)[:size].tolist()
        for slot, index in zip(slots, chosen, strict=True):
            backend.extend(slot, 0, branches[index][:-1])
        rows = [row(slot, len(branches[i]) - 1, branches[i][-1]) for slot, i in zip(slots, chosen, strict=True)]
        np.testing.assert_array_equal(backend.next_logits(rows), [alone[index] for index in chosen])
    backend.close()


@pytest.mark.parametrize("weight_format", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_chunks_nor_on_the_arrays_size(
    wide: GGUFFile, weight_format: Format
) -> None:
    ids = WORDS[:301]
    found = []
    for threads in (1, 2):
        backend = OnnxBackend(wide, format=weight_format, num_slots=12, threads=threads)
        found.append(last_logits(backend, 0, ids))
        backend.extend(1, 0, WORDS[:650])  # arrays grow
        found.append(last_logits(backend, 0, ids))
        for borders in ([1, 2, 3, 150], [130, 131, 299]):
            for start, end in zip([0, *borders], [*borders, 300], strict=True):
                backend.extend(2, start, ids[start:end])
            found.append(last_logits(backend, 2, ids, start=300))
        backend.extend(3, 0, WORDS[100:650])  # the longest companion sets total_sequence_length
        found.append(backend.next_logits([row(3, 550, 7), row(2, 300, ids[300]), row(5, 0, 7)])[1].copy())
        backend.close()
    assert all(np.array_equal(logits, found[0]) for logits in found)


def test_a_processor_that_does_not_keep_the_bits_is_found_out(wide: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OnnxBackend(wide, num_slots=2).spec.batch_invariant
    honest = OnnxBackend.next_logits

    def next_logits(backend: OnnxBackend, rows: Sequence[Row]) -> NDArray[np.float32]:
        return np.nextafter(honest(backend, rows), np.float32(len(rows)))

    monkeypatch.setattr(OnnxBackend, "next_logits", next_logits)
    assert OnnxBackend(wide, num_slots=1).spec.batch_invariant
    assert not OnnxBackend(wide, num_slots=3).spec.batch_invariant


def test_unused_memory_is_never_read(wide: GGUFFile) -> None:
    backend = OnnxBackend(wide, format="f32", num_slots=4)
    expected = last_logits(backend, 0, WORDS[:50])
    for array in backend._rows.arrays:
        array[:] = np.nan
    np.testing.assert_array_equal(last_logits(backend, 1, WORDS[:50]), expected)


# Slots


def test_any_sequence_of_calls_leaves_what_a_fresh_start_would(wide: GGUFFile) -> None:
    backend = OnnxBackend(wide, format="f32", num_slots=9)
    fresh = OnnxBackend(wide, format="f32", num_slots=1)
    any_calls(backend, fresh, count=120, longest=20, tolerance=1e-4)


def test_extend_forgets_what_stood_from_its_start_on(wide: GGUFFile) -> None:
    backend = OnnxBackend(wide, format="f32", num_slots=2)
    expected = last_logits(backend, 0, [*WORDS[:10], 5, 6])
    backend.extend(1, 0, WORDS[:200])
    backend.extend(1, 10, ())
    np.testing.assert_array_equal(last_logits(backend, 1, [*WORDS[:10], 5, 6], start=10), expected)


def test_the_whole_context_can_be_used_and_no_more(tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", context_length=64))
    backend = OnnxBackend(file, format="f32", num_slots=1, context_length=50)
    assert backend.spec.context_length == 50
    for end in (49, 50):
        backend.extend(0, 0, WORDS[: end - 1])
        backend.extend(0, end - 1, WORDS[end - 1 : end])
    np.testing.assert_allclose(last_logits(backend, 0, WORDS[:50]), reference.logits(file, WORDS[:50])[-1], atol=1e-4)
    with pytest.raises(BackendError, match="exceed the context of 50"):
        backend.next_logits([row(0, 50, 1)])


# Draws and scores


@pytest.mark.parametrize("weight_format", ["f32", "int8-row"])
def test_scores_are_the_statistics_of_the_draws(wide: GGUFFile, weight_format: Format) -> None:
    backend = OnnxBackend(wide, format=weight_format, num_slots=2, forbidden_ids=range(250, wide.config.vocab_size))
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
    tolerance = 1e-4 if weight_format == "f32" else 0.1
    for name in ("logprob", "entropy", "certainty", "top_logprobs"):
        decoded = np.concatenate([getattr(step, name)[0] for step in steps])
        np.testing.assert_allclose(getattr(scores, name)[8:], decoded, atol=tolerance)


def test_scores_of_a_long_text_are_those_of_its_parts(wide: GGUFFile) -> None:
    backend = OnnxBackend(wide, format="f32", num_slots=2)
    whole = backend.extend(0, 0, WORDS[:300], WORDS[1:301])
    head = backend.extend(1, 0, WORDS[:60], WORDS[1:61])
    tail = backend.extend(1, 60, WORDS[60:300], WORDS[61:301])
    assert whole is not None
    assert head is not None
    assert tail is not None
    np.testing.assert_array_equal(whole.logprob, np.concatenate([head.logprob, tail.logprob]))
    np.testing.assert_array_equal(whole.certainty, np.concatenate([head.certainty, tail.certainty]))


# Failures


def test_logits_that_are_not_numbers_are_an_error(tmp_path: Path) -> None:
    gain = np.full(64, 3e38, np.float32)
    file = open_gguf(write_gguf(tmp_path / "m.gguf", extra_tensors={"output_norm.weight": gain}))
    backend = OnnxBackend(file, format="f32", num_slots=1)
    with pytest.raises(BackendError, match="finite"):
        backend.step([row(0, 0, 1)], frozenset())
    with pytest.raises(BackendError, match="finite"):
        backend.extend(0, 0, [1, 2], [2, 3])


def test_an_error_of_the_runtime_is_one_line(wide: GGUFFile) -> None:
    backend = OnnxBackend(wide, format="f32", num_slots=1)
    with pytest.raises(BackendError, match="a step of the model failed") as caught:
        backend.next_logits([row(0, 0, 10**6)])
    assert "\n" not in str(caught.value)


def test_an_interrupted_call_leaves_a_backend_that_works(wide: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OnnxBackend(wide, num_slots=2)
    expected = last_logits(backend, 0, WORDS[:300])

    @contextmanager
    def at_once(stop: Callable[[], bool], end: Callable[[], None]) -> Iterator[None]:
        if stop():
            end()
        yield

    monkeypatch.setattr(module, "LONG_CALL", 0)
    monkeypatch.setattr(onnx_session, "watched", at_once)
    for looks in (0, 3):  # a look before a chunk and one within it
        left = iter([False] * looks)
        backend.watch(lambda left=left: next(left, True))  # type: ignore[misc]
        with pytest.raises(Interrupted):
            backend.extend(1, 0, WORDS[:299])
    with pytest.raises(Interrupted):
        backend.next_logits([row(0, 300, 1)])
    backend.watch(lambda: False)
    np.testing.assert_array_equal(last_logits(backend, 1, WORDS[:300]), expected)
    np.testing.assert_array_equal(last_logits(backend, 0, WORDS[:300], start=299), expected)


def test_closing_frees_the_memory_and_may_be_repeated(wide: GGUFFile) -> None:
    backend = OnnxBackend(wide, format="f32", num_slots=4)
    backend.extend(0, 0, WORDS[:200])
    backend.close()
    backend.close()
    assert sum(array.nbytes for array in backend._rows.arrays) == 0
    with pytest.raises(BackendError, match="closed"):
        backend.step([row(0, 200, 1)], frozenset())
    with pytest.raises(BackendError, match="closed"):
        backend.extend(0, 0, [1, 2])


def test_a_cached_graph_is_loaded_without_the_onnx_package(wide: GGUFFile) -> None:
    OnnxBackend(wide, format="f32", num_slots=1).close()
    code = (
        "import sys; from lite.quant.gguf import open_gguf; from lite.backends.cpu.onnx import OnnxBackend;"
        f"backend = OnnxBackend(open_gguf({str(wide.path)!r}), format='f32', num_slots=1); backend.extend(0, 0, [1]);"
        "print([name for name in ('onnx', 'gguf', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
