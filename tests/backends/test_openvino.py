"""OpenVINO: its logits are the model's, and a branch's bits depend on nothing but the branch."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("lite.quant.openvino_runtime", reason="the extra 'openvino' is not installed")

import lite
from lite.backends.base import Row
from lite.backends.cpu import openvino as module
from lite.backends.cpu.openvino import OpenVinoBackend
from lite.errors import BackendError, Interrupted
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.openvino import FORMATS, Format
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
    backend = OpenVinoBackend(file, format="f32", num_slots=2)
    expected = reference.logits(file, WORDS[:40])
    np.testing.assert_allclose(scored(backend, WORDS[:40]), expected, atol=1e-4)
    np.testing.assert_allclose(last_logits(backend, 1, WORDS[:40]), expected[-1], atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("weight_format", PRODUCTS)
def test_integer_logits_are_near_those_of_the_rounded_model(
    tmp_path: Path, architecture: str, weight_format: Format
) -> None:
    """Not nearer, as a row's activations have a scale for each group of them, and keys and values are float16."""
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture, tied=architecture != "qwen2"))
    backend = OpenVinoBackend(file, format=weight_format, num_slots=1)
    error = np.abs(scored(backend, WORDS[:40]) - reference.logits(file, WORDS[:40], PRODUCTS[weight_format]))
    assert np.median(error) < 0.03
    assert error.max() < 0.3


@pytest.mark.parametrize("weight_format", PRODUCTS)
@pytest.mark.parametrize(
    "sizes",
    [{"head_dim": 12}, {"hidden_size": 72, "intermediate_size": 100, "num_heads": 3, "num_kv_heads": 1}],
    ids=["padded-heads", "ragged"],
)
def test_sizes_that_are_no_whole_blocks_are_right_too(
    tmp_path: Path, weight_format: Format, sizes: dict[str, Any]
) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", **sizes))
    backend = OpenVinoBackend(file, format=weight_format, num_slots=17)
    assert backend.spec.batch_invariant
    error = np.abs(scored(backend, WORDS[:40]) - reference.logits(file, WORDS[:40]))
    assert np.median(error) < (0.3 if weight_format == "q4" else 0.03)


# The same bits whatever the company


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_row_has_the_same_bits_alone_and_among_others(wide: GGUFFile, weight_format: Format, threads: int) -> None:
    backend = OpenVinoBackend(wide, format=weight_format, num_slots=40, threads=threads)
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
def test_bits_depend_neither_on_threads_nor_on_chunks_nor_on_forks(wide: GGUFFile, weight_format: Format) -> None:
    ids = WORDS[:301]
    found = []
    for threads in (1, 2):
        backend = OpenVinoBackend(wide, format=weight_format, num_slots=12, threads=threads)
        found.append(last_logits(backend, 0, ids))
        backend.extend(1, 0, WORDS[:650])  # the arrays grow
        found.append(last_logits(backend, 0, ids))
        for borders in ([1, 2, 3, 150], [130, 131, 299]):
            for start, end in zip([0, *borders], [*borders, 300], strict=True):
                backend.extend(2, start, ids[start:end])
            found.append(last_logits(backend, 2, ids, start=300))
        backend.extend(3, 0, WORDS[100:650])  # the longest companion sets max_context_len
        found.append(backend.next_logits([row(3, 550, 7), row(2, 300, ids[300]), row(5, 0, 7)])[1].copy())
        for length in (300, 288, 170, 31):
            backend.fork(2, 6, length)
            backend.fork(6, 7, length)
            backend.next_logits([row(6, length, 7)])
            found.append(last_logits(backend, 7, ids, start=length))
        backend.close()
    assert all(np.array_equal(logits, found[0]) for logits in found)


def test_a_processor_that_does_not_keep_the_bits_is_found_out(wide: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenVinoBackend(wide, num_slots=2).spec.batch_invariant
    honest = OpenVinoBackend.next_logits

    def next_logits(backend: OpenVinoBackend, rows: Sequence[Row]) -> NDArray[np.float32]:
        return np.nextafter(honest(backend, rows), np.float32(len(rows)))

    monkeypatch.setattr(OpenVinoBackend, "next_logits", next_logits)
    assert OpenVinoBackend(wide, num_slots=1).spec.batch_invariant
    assert not OpenVinoBackend(wide, num_slots=3).spec.batch_invariant


@pytest.mark.parametrize("weight_format", ["f32", "int8-row"])
def test_unused_memory_is_never_read(wide: GGUFFile, weight_format: Format) -> None:
    backend = OpenVinoBackend(wide, format=weight_format, num_slots=4)
    expected = last_logits(backend, 0, WORDS[:50])
    for array in backend._blocks.arrays:
        array[:] = np.nan
    np.testing.assert_array_equal(last_logits(backend, 1, WORDS[:50]), expected)


# Slots


def test_any_sequence_of_calls_leaves_what_a_fresh_start_would(wide: GGUFFile) -> None:
    backend = OpenVinoBackend(wide, format="f32", num_slots=9)
    fresh = OpenVinoBackend(wide, format="f32", num_slots=1)
    used = backend._blocks.num_used
    held = any_calls(backend, fresh, count=120, longest=80, tolerance=1e-4)
    for slot in held:
        backend.release(slot)
    assert backend._blocks.num_used == used


def test_extend_forgets_what_stood_from_its_start_on(wide: GGUFFile) -> None:
    backend = OpenVinoBackend(wide, format="f32", num_slots=2)
    expected = last_logits(backend, 0, [*WORDS[:10], 5, 6])
    backend.extend(1, 0, WORDS[:200])
    backend.extend(1, 10, ())
    np.testing.assert_array_equal(last_logits(backend, 1, [*WORDS[:10], 5, 6], start=10), expected)


@pytest.mark.parametrize("weight_format", ["f32", "q4"])
def test_a_slot_goes_through_a_file_with_its_bits(wide: GGUFFile, weight_format: Format) -> None:
    backend = OpenVinoBackend(wide, format=weight_format, num_slots=3)
    expected = last_logits(backend, 0, WORDS[:300])
    backend.extend(0, 0, WORDS[:299])
    state = np.frombuffer(backend.save(0).tobytes(), np.uint8)
    other = OpenVinoBackend(wide, format=weight_format, num_slots=1)
    assert other.state_kind == backend.state_kind
    other.restore(0, 299, state)
    np.testing.assert_array_equal(last_logits(other, 0, WORDS[:300], start=299), expected)


def test_a_prompt_is_stored_once_however_many_branches_read_it(wide: GGUFFile) -> None:
    backend = OpenVinoBackend(wide, num_slots=16)
    blocks, size = backend._blocks, backend._blocks.shape[1]
    before = blocks.num_used
    backend.extend(0, 0, WORDS[: 10 * size + 1])
    assert blocks.num_used == before + 11
    for slot in range(1, 16):
        backend.fork(0, slot, 10 * size + 1)
    assert blocks.num_used == before + 11
    backend.next_logits([row(slot, 10 * size + 1, slot) for slot in range(16)])
    assert blocks.num_used == before + 10 + 16


@pytest.mark.parametrize("weight_format", ["f32", "int8-row"])
def test_the_whole_context_of_every_slot_can_be_used_and_no_more(tmp_path: Path, weight_format: Format) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", context_length=64))
    backend = OpenVinoBackend(file, format=weight_format, num_slots=3, context_length=64)
    expected = last_logits(backend, 0, WORDS[:64])
    for slot in (1, 2, 0):
        for end in (63, 64):
            backend.extend(slot, 0, WORDS[: end - 1])
            backend.extend(slot, end - 1, WORDS[end - 1 : end])
        np.testing.assert_array_equal(last_logits(backend, slot, WORDS[:64]), expected)
    with pytest.raises(BackendError, match="65 tokens exceed the context of 64"):
        backend.next_logits([row(0, 64, 1)])
    with pytest.raises(BackendError, match="65 tokens exceed the context of 64"):
        backend.extend(0, 0, WORDS[:65])
    np.testing.assert_array_equal(last_logits(backend, 1, WORDS[:64]), expected)
    assert OpenVinoBackend(file, num_slots=1, context_length=50).spec.context_length == 50


# Draws and scores


@pytest.mark.parametrize("weight_format", ["f32", "int8-row"])
def test_scores_are_the_statistics_of_the_draws(wide: GGUFFile, weight_format: Format) -> None:
    backend = OpenVinoBackend(wide, format=weight_format, num_slots=2, forbidden_ids=range(250, wide.config.vocab_size))
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
    backend = OpenVinoBackend(wide, num_slots=2)
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
    backend = OpenVinoBackend(file, format="f32", num_slots=1)
    with pytest.raises(BackendError, match="finite"):
        backend.step([row(0, 0, 1)], frozenset())
    with pytest.raises(BackendError, match="finite"):
        backend.extend(0, 0, [1, 2], [2, 3])


def test_what_openvino_would_not_survive_is_refused(wide: GGUFFile) -> None:
    backend = OpenVinoBackend(wide, format="f32", num_slots=2)
    expected = last_logits(backend, 0, WORDS[:9])
    for token in (10**6, wide.config.vocab_size, -1):
        with pytest.raises(BackendError, match=f"token {token} is none of the model's"):
            backend.next_logits([row(0, 9, 5), row(1, 0, token)])
        with pytest.raises(BackendError, match=f"token {token} is none of the model's"):
            backend.extend(1, 0, [1, token])
    with pytest.raises(BackendError, match="slot 0 holds 9 tokens, not 700"):
        backend.next_logits([row(0, 700, 1)])
    with pytest.raises(BackendError, match="slot 0 holds 9 tokens, not 10"):
        backend.fork(0, 1, 10)
    with pytest.raises(BackendError, match="2000 tokens exceed the context of 1000"):
        backend.restore(1, 2000, np.zeros(2000, np.uint8))
    np.testing.assert_array_equal(last_logits(backend, 0, WORDS[:9]), expected)


def test_an_interrupted_call_leaves_a_backend_that_works(wide: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OpenVinoBackend(wide, num_slots=2)
    expected = last_logits(backend, 0, WORDS[:300])
    monkeypatch.setattr(module, "LONG_CALL", 0)
    monkeypatch.setattr(module, "_LOOK", 0)
    for looks in (0, 3):
        left = iter([False] * looks)
        backend.watch(lambda left=left: next(left, True))  # type: ignore[misc]
        with pytest.raises(Interrupted):
            backend.extend(1, 0, WORDS[:299])
    backend.watch(lambda: False)
    np.testing.assert_array_equal(last_logits(backend, 1, WORDS[:300]), expected)
    np.testing.assert_array_equal(last_logits(backend, 0, WORDS[:300], start=299), expected)


@pytest.mark.parametrize("length", [1, 40])
def test_a_call_after_one_that_was_cut_off_has_its_bits(
    wide: GGUFFile, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Of the shapes that the last whole call had, which OpenVINO would not infer again."""
    backend = OpenVinoBackend(wide, num_slots=3, threads=2)
    monkeypatch.setattr(module, "LONG_CALL", 0)
    monkeypatch.setattr(module, "_LOOK", 0)

    def whole() -> NDArray[np.float32]:
        backend.watch(lambda: False)
        return scored(backend, WORDS[:40]) if length > 1 else backend.next_logits([row(1, 9, 5)])[0].copy()

    backend.extend(1, 0, WORDS[:9])
    expected, num_cut = whole(), 0
    for looks in range(0, 60, 2):
        left = iter([False] * looks)
        backend.watch(lambda left=left: next(left, True))  # type: ignore[misc]
        with suppress(Interrupted):
            backend.extend(2, 0, WORDS[100:200])
            num_cut -= 1
        num_cut += 1
        np.testing.assert_array_equal(whole(), expected)
    assert num_cut


def test_closing_frees_the_memory_and_may_be_repeated(wide: GGUFFile) -> None:
    backend = OpenVinoBackend(wide, format="f32", num_slots=4)
    backend.extend(0, 0, WORDS[:200])
    backend.close()
    backend.close()
    backend.release(0)
    assert sum(array.nbytes for array in backend._blocks.arrays) == 0
    with pytest.raises(BackendError, match="closed"):
        backend.step([row(0, 200, 1)], frozenset())
    with pytest.raises(BackendError, match="closed"):
        backend.extend(0, 0, [1, 2])


def test_keys_beyond_float16_are_an_error(tmp_path: Path) -> None:
    gain = np.full(16, 1e5, np.float32)
    tensors = {f"blk.{layer}.attn_k_norm.weight": gain for layer in range(2)}
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture="qwen3", extra_tensors=tensors))
    backend = OpenVinoBackend(file, num_slots=1)
    backend.extend(0, 0, WORDS[:9])
    with pytest.raises(BackendError, match="finite"):
        backend.step([row(0, 9, 1)], frozenset())


def test_nothing_is_told_to_anybody(tmp_path: Path) -> None:
    """OpenVINO's converters would, as soon as they are imported, and leave an identifier in the home folder."""
    code = (
        "import lite.backends.cpu.openvino, sys; print([name for name in sys.modules if 'telemetry' in name]);"
        "import openvino; print(openvino.__version__ != '', 'openvino.tools.ovc' in sys.modules)"
    )
    home = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\nTrue False\n", "")
    assert list(tmp_path.iterdir()) == []


def test_it_is_opened_by_name(wide: GGUFFile) -> None:
    with lite.load(wide.path, "openvino", samples=2, context=64) as model:
        assert (model.engine, model.format) == ("openvino", "int8-row")
    with pytest.raises(lite.UsageError, match="unknown format of openvino 'q5': there is int8-row, f32, q8, q4"):
        lite.load(wide.path, "openvino", format="q5")
