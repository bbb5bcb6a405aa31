"""`tokenizer.json`: the same ids and bytes as the GGUF tokenizer of the same vocabulary, and what a folder adds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library

from lite.config import embedded_model
from lite.errors import InvalidRequest, ModelError
from lite.quant.gguf import open_gguf
from lite.tokenizer_json import JsonTokenizer
from lite.tokens import Tokenizer
from tests.quant.onnx_folders import write_tokenizer

PIECES = ["<think>", "</think>", "<|im_", "<|im_end|>", "<|im_start|>", " ", "  \n", "é", "12", "hello", "😀", "'s"]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))


def parsed(library: Library, **names: str | None) -> JsonTokenizer:
    return JsonTokenizer.parse(library.to_str(), bos=names.get("bos"), eos=names.get("eos"), ends=())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[JsonTokenizer, Tokenizer]:
    """The embedded model's, in both forms."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    with open_gguf(embedded_model()) as file:
        tokenizer = Tokenizer.from_gguf(file)
        write_tokenizer(path, file, tokenizer)
    return JsonTokenizer.parse(path.read_text(), bos=None, eos="<|im_end|>", ends=()), tokenizer


@given(text=TEXTS, special=st.booleans(), start=st.booleans())
def test_ids_and_bytes_are_those_of_the_same_vocabulary_in_gguf(
    pair: tuple[JsonTokenizer, Tokenizer], text: str, special: bool, start: bool
) -> None:
    ours, other = pair
    ids = ours.encode(text, special=special, start=start)
    assert ids == other.encode(text, special=special, start=start)
    assert [ours.token_bytes(token) for token in ids] == [other.token_bytes(token) for token in ids]


def test_ends_and_names_are_those_of_the_same_vocabulary_in_gguf(pair: tuple[JsonTokenizer, Tokenizer]) -> None:
    ours, other = pair
    assert (ours.tokens, ours.eos, ours.end_ids) == (other.tokens, other.eos, other.end_ids)
    assert ours.control_pattern.pattern == other.control_pattern.pattern
    assert ours.token_bytes(len(ours.tokens)) == b""
    broken = "<\ufdd0|im_end|>"
    assert ours.encode(f"<|im_end|>{broken}", special=True, drop="\ufdd0") == other.encode(
        f"<|im_end|>{broken}", special=True, drop="\ufdd0"
    )


def sentencepiece(*, metaspace: str = "") -> Library:
    """As Llama 2's: a space before a text by the normalizer, or by Metaspace in one of its schemes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [("▁", "a"), ("a", "b"), ("▁", "ab")]
    library = Library(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>"))
    if metaspace:
        library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=metaspace, split=False)
    else:
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    library.add_special_tokens([AddedToken(token, special=True) for token in tokens[:3]])
    library.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return library


def spelled(tokenizer: JsonTokenizer, text: str, **options: bool) -> list[str]:
    return [tokenizer.tokens[token] for token in tokenizer.encode(text, **options)]


def test_an_end_that_is_no_token_ends_nothing() -> None:
    found = JsonTokenizer.parse(sentencepiece().to_str(), bos=1, eos=2, ends=(-1, 0, 99_999))
    assert found.end_ids == {0, 2}


@pytest.mark.parametrize("scheme", ["", "always", "first"])
def test_a_sentencepiece_text_begins_with_bos_and_a_space_and_nowhere_else(scheme: str) -> None:
    tokenizer = parsed(sentencepiece(metaspace=scheme), bos="<s>", eos="</s>")
    assert (tokenizer.bos, tokenizer.eos, tokenizer.end_ids) == (1, 2, {2})
    assert spelled(tokenizer, "a a", start=True) == ["<s>", "▁a", "▁a"]
    assert spelled(tokenizer, "a a") == ["a", "▁a"]
    after = "a" if scheme == "first" else "▁a"
    assert spelled(tokenizer, "a</s>a", start=True, special=True) == ["<s>", "▁a", "</s>", after]
    assert spelled(tokenizer, "<s>a", start=True, special=True) == ["<s>", after]
    assert spelled(tokenizer, "a</s>a", special=True) == ["a", "</s>", "a"]
    assert "</s>" not in spelled(tokenizer, "a</s>")
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("a ü"))) == "a ü".encode()


def test_tokens_that_are_not_there_are_told_apart() -> None:
    library = Library(models.BPE(vocab={"a": 0, "b": 3}, merges=[]))
    library.decoder = decoders.ByteLevel()
    assert parsed(library).unused_ids == {1, 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no JSON", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "does not take it"),
        (json.dumps({"version": "1.0", "model": {"type": "nonsense"}}), "does not take it"),
        (Library(models.WordPiece({"a": 0})).to_str(), r"its decoder \(none\) is not supported"),
    ],
)
def test_refuses_what_it_cannot_read(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        JsonTokenizer.parse(text, bos=None, eos=None, ends=())
    assert "\n" not in str(caught.value)


def test_refuses_text_that_is_no_text(pair: tuple[JsonTokenizer, Tokenizer]) -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        pair[0].encode("a\ud800")
