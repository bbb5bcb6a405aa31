"""Token ids against llama.cpp: its pairs of texts and ids, and the library itself on texts that nobody wrote.

The vocabularies are those of the source distribution of llama-cpp-python, which LITE_LLAMA_SOURCE names (a .tar.gz);
without it they are not looked at.
"""

import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.errors import ModelError
from lite.models import ModelFile
from lite.pre_tokenizers import PRE_TOKENIZERS
from lite.quant.gguf import open_gguf
from lite.quant.gguf_header import parse_header
from lite.tokens import Tokenizer

SOURCE = os.environ.get("LITE_LLAMA_SOURCE", "")
pytestmark = pytest.mark.skipif(not SOURCE, reason="LITE_LLAMA_SOURCE names no source distribution")

SUPPORTED = (
    *("command-r", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-bpe", "llama-spm", "mpt", "phi-3"),
    *("qwen2", "qwen35", "refact", "starcoder"),
)
REFUSED = {"bert-bge": "'bert' is not supported", "gemma-4": "'gemma4' is not supported"}
SEPARATOR = "\n__ggml_vocab_test__\n"
OF_ITS_OWN = frozenset({"tekken"})  # families in which llama.cpp departs from the makers' rules
PIECES = (
    *("'s", "'LL", "'re", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "\x00", "a", "B", "hello"),
    *("HTTPServer", "1", "12345", "٣", "²", "½", "é", "e\u0301", "ß", "Ж", "中", "文字", "かな", "한국", "हिन्दी", "😀"),
    *("!", "...", "//", "$", "+", "<|", "|>", "-", "～", "“", "。", "«", "`", "\u200b", "ʰ", "ǅ", "ⅳ", "𝐀", "ა", "№"),
)
TEXTS = st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabularies")
    with tarfile.open(SOURCE) as archive:
        for member in archive:
            if "/models/ggml-vocab-" in member.name:
                member.name = Path(member.name).name
                archive.extract(member, folder, filter="data")
    return folder


def read(path: Path) -> Tokenizer:
    """The tokenizer of a file without weights, which is no model."""
    metadata = parse_header(path.read_bytes()).metadata
    config = SimpleNamespace(vocab_size=len(cast(tuple[str, ...], metadata["tokenizer.ggml.tokens"])))
    return Tokenizer.from_gguf(cast(ModelFile, SimpleNamespace(path=path, metadata=metadata, config=config)))


def pairs(path: Path) -> list[tuple[str, list[int]]]:
    texts = path.with_name(f"{path.name}.inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(f"{path.name}.out").read_text().split("\n")[: len(texts)]
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines, strict=True)]


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """As at the start of a text, but without BOS."""
    return tokenizer.encode(text, start=True)[int(tokenizer.add_bos) :]


@pytest.mark.parametrize("name", SUPPORTED)
def test_ids_are_those_of_every_pair(folder: Path, name: str) -> None:
    path = folder / f"ggml-vocab-{name}.gguf"
    tokenizer, known = read(path), pairs(path)
    assert len(known) > 40
    assert {text: plain_ids(tokenizer, text) for text, _ in known} == dict(known)


def test_a_pair_that_is_not_supported_is_refused_by_name(folder: Path) -> None:
    names = {path.name.removeprefix("ggml-vocab-").removesuffix(".gguf.inp") for path in folder.glob("*.inp")}
    assert names == {*SUPPORTED, *REFUSED}
    for name, words in REFUSED.items():
        with pytest.raises(ModelError, match=words):
            read(folder / f"ggml-vocab-{name}.gguf")


def test_a_vocabulary_without_weights_is_no_model(folder: Path) -> None:
    paths = sorted(folder.glob("*.gguf"))
    assert paths
    for path in paths:
        with pytest.raises(ModelError) as caught:
            open_gguf(path)
        assert "\n" not in str(caught.value)
        assert "without weights" in str(caught.value) or "is not supported" in str(caught.value)


@pytest.fixture(scope="module", params=[*sorted(PRE_TOKENIZERS.keys() - OF_ITS_OWN), "llama-spm", "phi-3"])
def both(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Tokenizer, Callable[[str, bool], list[int]]]]:
    """A family's tokenizer and llama.cpp's; where there is no vocabulary for the family it is tried on GPT-2's."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    import lite.backends.cpu.llama_api  # noqa: F401  # what the library says goes through logging from here on

    path = folder / f"ggml-vocab-{request.param}.gguf"
    if not path.exists():
        path = renamed(folder / "ggml-vocab-gpt-2.gguf", request.param)
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    vocabulary = llama_cpp.llama_model_get_vocab(model)

    def encode(text: str, special: bool) -> list[int]:
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), ids, len(ids), True, special)
        return list(ids[:count])

    yield read(path), encode
    llama_cpp.llama_model_free(model)


def renamed(path: Path, family: str) -> Path:
    """The same vocabulary under the name of another family, which has the file's next string: its length, its bytes."""
    data, key = path.read_bytes(), b"tokenizer.ggml.pre"
    place = data.index(key) + len(key) + 4
    (length,) = struct.unpack_from("<Q", data, place)
    name = struct.pack("<Q", len(family)) + family.encode()
    written = path.with_name(f"{family}.gguf")
    written.write_bytes(data[:place] + name + data[place + 8 + length :])
    return written


@settings(deadline=None, max_examples=100)
@given(text=TEXTS, special=st.booleans())
def test_ids_are_those_of_the_library(
    both: tuple[Tokenizer, Callable[[str, bool], list[int]]], text: str, special: bool
) -> None:
    ours, theirs = both
    assert ours.encode(text, special=special, start=True) == theirs(text, special)
