"""Folders that others exported: their logits are the model's, whatever the layout, the lengths and the company."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.cpu import onnx_folder as module
from lite.backends.cpu import onnx_session
from lite.backends.cpu.onnx_folder import OnnxFolderBackend
from lite.errors import BackendError, Interrupted
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx_folder import open_onnx_folder
from tests import reference
from tests.gguf_files import write_gguf
from tests.quant.onnx_folders import Export, write_folder

EXPORTS = {
    "plain": Export(),
    "plain, positions by the cache": Export(positions=False),
    "plain, logits as asked": Export(single_logits=True),
    "plain, f16": Export(half=True),
    "fused": Export(fused=True, positions=False),
    "fused, positions": Export(fused=True),
    "fused, f16": Export(fused=True, half=True),
}
HALF = 0.05  # of logits, in float16
WORDS = np.random.default_rng(0).integers(0, 300, 400).tolist()  # any tokens
LENGTHS = (5, 70, 17, 1, 33, 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    return open_gguf(write_gguf(tmp_path_factory.mktemp("models") / "m.gguf"))


@pytest.fixture(scope="module")
def folders(file: GGUFFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {name: write_folder(root / name, file, export) for name, export in EXPORTS.items()}


def opened(folders: dict[str, Path], name: str, slots: int = 8, context: int = 200) -> OnnxFolderBackend:
    return OnnxFolderBackend(open_onnx_folder(folders[name]), num_slots=slots, context_length=context)


def row(slot: int, context: Sequence[int]) -> Row:
    return Row(slot, len(context) - 1, context[-1], (0, 0), 0, SamplingParams(), (), 0, 1)


def expect(file: GGUFFile, name: str, logits: NDArray[np.float32], context: Sequence[int]) -> None:
    np.testing.assert_allclose(logits, reference.logits(file, context)[-1], atol=HALF if "f16" in name else 2e-5)


@pytest.mark.parametrize("name", EXPORTS)
def test_branches_of_any_lengths_have_the_models_logits_in_any_company(
    file: GGUFFile, folders: dict[str, Path], name: str
) -> None:
    backend = opened(folders, name)
    contexts = [WORDS[start : start + length] for start, length in enumerate(LENGTHS)]
    for slot, context in enumerate(contexts):
        backend.extend(slot, 0, context[:-1])
    companies = [range(6), range(6), (4, 1, 2), (0, 1, 2, 3, 4, 5), (5,), (5, 0), range(6)]
    for step, company in enumerate(companies):
        logits = backend.next_logits([row(slot, contexts[slot]) for slot in company])
        for place, slot in enumerate(company):
            expect(file, name, logits[place], contexts[slot])
            contexts[slot] = [*contexts[slot], WORDS[100 + step]]


@pytest.mark.parametrize("name", EXPORTS)
def test_a_fork_and_a_text_cut_back_go_on_from_what_is_left(
    file: GGUFFile, folders: dict[str, Path], name: str
) -> None:
    backend = opened(folders, name)
    prompt = WORDS[:40]
    backend.extend(0, 0, prompt)
    for slot in (1, 2):
        backend.fork(0, slot, 20 * slot)
    contexts = {0: [*prompt, 7], 1: [*prompt[:20], 8], 2: [*prompt, 9]}
    for _ in range(2):
        logits = backend.next_logits([row(slot, context) for slot, context in contexts.items()])
        for place, context in enumerate(contexts.values()):
            expect(file, name, logits[place], context)
            context.append(11)
    backend.fork(1, 3, 15)  # of a slot that is stepping
    backend.extend(2, 10, WORDS[50:60])  # a slot that was stepping, from its middle
    again = {3: [*prompt[:15], 3], 1: contexts[1], 2: [*prompt[:10], *WORDS[50:60], 4]}
    backend.release(0)
    logits = backend.next_logits([row(slot, context) for slot, context in again.items()])
    for place, context in enumerate(again.values()):
        expect(file, name, logits[place], context)


@pytest.mark.parametrize("name", EXPORTS)
def test_scores_are_those_of_the_whole_text_however_it_is_cut(
    file: GGUFFile, folders: dict[str, Path], name: str
) -> None:
    backend = opened(folders, name)
    expected = reference.logits(file, WORDS[:60])
    backend.extend(0, 0, WORDS[:23])
    rest = backend.write(0, 23, WORDS[23:60], scored=True)
    assert rest is not None
    np.testing.assert_allclose(rest, expected[23:], atol=HALF if "f16" in name else 2e-5)


def test_steps_beyond_the_memory_of_a_step_go_on(file: GGUFFile, folders: dict[str, Path]) -> None:
    for name in ("plain", "fused"):
        backend = opened(folders, name)
        contexts = [WORDS[:3], WORDS[5:15]]
        for slot, context in enumerate(contexts):
            backend.extend(slot, 0, context[:-1])
        for step in range(100):
            logits = backend.next_logits([row(slot, context) for slot, context in enumerate(contexts)]).copy()
            contexts = [[*context, WORDS[step]] for context in contexts]
        for slot, context in enumerate(contexts):
            expect(file, name, logits[slot], context[:-1])


def test_lengths_are_kept_apart_where_the_graph_mixes_them_up(folders: dict[str, Path]) -> None:
    assert opened(folders, "plain")._mixes_lengths
    assert opened(folders, "fused")._mixes_lengths
    assert not opened(folders, "plain, positions by the cache")._mixes_lengths


def test_fused_attention_in_floating_point_keeps_a_rows_bits_in_any_company(folders: dict[str, Path]) -> None:
    for name in ("fused", "fused, positions", "fused, f16"):
        assert opened(folders, name, slots=17).spec.batch_invariant


def test_one_scale_for_all_activations_of_a_call_makes_a_row_depend_on_its_companions(
    file: GGUFFile, tmp_path: Path
) -> None:
    folder = open_onnx_folder(write_folder(tmp_path, file, Export(weights="int8")))
    assert not OnnxFolderBackend(folder).spec.batch_invariant


@pytest.mark.parametrize("name", ["plain", "fused"])
def test_an_interrupted_call_leaves_a_backend_that_works(
    folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened(folders, name)
    backend.extend(0, 0, WORDS[:50])
    backend.extend(1, 0, WORDS[:150])
    rows = [row(0, WORDS[:51]), row(1, WORDS[:151])]
    expected = backend.next_logits(rows).copy()

    @contextmanager
    def at_once(stop: Callable[[], bool], end: Callable[[], None]) -> Iterator[None]:
        if stop():
            end()
        yield

    monkeypatch.setattr(module, "LONG_CALL", 0)
    monkeypatch.setattr(onnx_session, "watched", at_once)
    for looks in range(3):  # within a chunk, before the second one and within it
        left = iter([False] * looks)
        backend.watch(lambda left=left: next(left, True))  # type: ignore[misc]
        with pytest.raises(Interrupted):
            backend.extend(2, 0, WORDS[:190])
    with pytest.raises(Interrupted):
        backend.next_logits(rows)
    backend.watch(lambda: False)
    np.testing.assert_array_equal(backend.next_logits(rows), expected)


@pytest.mark.parametrize("export", [None, Export()])
def test_onnxruntime_genai_draws_the_same_from_the_same_folder(
    file: GGUFFile, tmp_path: Path, export: Export | None
) -> None:
    genai = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed")
    path = write_folder(tmp_path / "model", file, export, genai=True)
    model = genai.Model(str(path))
    settings = genai.GeneratorParams(model)
    settings.set_search_options(max_length=40)
    generator = genai.Generator(model, settings)
    generator.append_tokens(np.array([WORDS[:9]], np.int32))
    backend = OnnxFolderBackend(open_onnx_folder(path), num_slots=1)
    backend.extend(0, 0, WORDS[:8])
    context = WORDS[:9]
    for _ in range(6):
        ours = backend.next_logits([row(0, context)])[0]
        np.testing.assert_allclose(ours, np.array(generator.get_logits()).reshape(-1), atol=2e-5)
        generator.generate_next_token()
        context = [*context, int(ours.argmax())]
    assert list(generator.get_sequence(0)) == context


def test_refuses_what_is_too_long_and_what_comes_after_the_end(folders: dict[str, Path]) -> None:
    backend = opened(folders, "fused", context=30)
    with pytest.raises(BackendError, match="31 tokens exceed the context of 30"):
        backend.extend(0, 0, WORDS[:31])
    with pytest.raises(BackendError) as caught:
        backend.next_logits([row(0, [10**6])])
    assert "\n" not in str(caught.value)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.extend(0, 0, WORDS[:3])
