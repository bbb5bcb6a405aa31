"""Tokenizers: the published splits, exact round trips, and special tokens only where they are asked for."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.errors import InvalidRequest, ModelError
from lite.pre_tokenizers import PRE_TOKENIZERS
from lite.quant.gguf import open_gguf
from lite.tokens import Tokenizer, TokenType, _merge_by_score, _splitters
from tests.gguf_files import EOS, IM_END, THINK, bpe_vocabulary, byte_characters, spm_vocabulary, write_gguf

KINDS = ("llama-bpe", "qwen2", "smollm", "gpt-2", "spm")


def build(folder: Path, kind: str = "qwen2", **options: object) -> Tokenizer:
    chosen = {"vocabulary": "spm", "architecture": "llama"} if kind == "spm" else {"pre": kind}
    with open_gguf(write_gguf(folder / "m.gguf", num_layers=1, **chosen, **options)) as file:
        return Tokenizer.from_gguf(file)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build(tmp_path_factory.mktemp("tokens"), request.param)


def spelled(tokenizer: Tokenizer, text: str, **options: bool) -> list[str]:
    return [tokenizer.tokens[token] for token in tokenizer.encode(text, **options)]


def joined(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, ids))


# Split by hand, rule by rule, from the regular expressions that the makers published.
SPLITS = {
    "I'LL pay 1234.50 dollars,  ok?\n\n x": {
        "llama-bpe": "I|'LL| pay| |123|4|.|50| dollars|,| | ok|?\n\n| x",
        "qwen2": "I|'LL| pay| |1|2|3|4|.|5|0| dollars|,| | ok|?\n\n| x",
        "smollm": "I|'|LL| pay| |1|2|3|4|.|5|0| dollars|,| | ok|?|\n\n| x",
        "gpt-2": "I|'|LL| pay| 1234|.|50| dollars|,| | ok|?|\n\n| x",
    },
    "it's\u00a0been  ٣² (fun)\r\n  \n\tend ": {
        "llama-bpe": "it|'s|\u00a0been| | |٣²| (|fun|)\r\n|  \n|\tend| ",
        "qwen2": "it|'s|\u00a0been| | |٣|²| (|fun|)\r\n|  \n|\tend| ",
        "smollm": "it|'s|\u00a0|been|  |٣|²| (|fun|)|\r\n  \n|\t|end| ",
        "gpt-2": "it|'s|\u00a0|been| | ٣²| (|fun|)|\r\n  \n|\t|end| ",
    },
    "你好world e\u0301a 😀😀\n": {
        "llama-bpe": "你好world| e|\u0301a| 😀😀\n",
        "qwen2": "你好world| e|\u0301a| 😀😀\n",
        "smollm": "你好world| e|\u0301|a| 😀😀|\n",
        "gpt-2": "你好world| e|\u0301|a| 😀😀|\n",
    },
}


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("text", SPLITS)
def test_cuts_text_where_the_published_rules_do(kind: str, text: str) -> None:
    from tokenizers import pre_tokenizers

    pieces = pre_tokenizers.Sequence(_splitters(PRE_TOKENIZERS[kind])).pre_tokenize_str(text)
    stand_ins = {character: byte for byte, character in enumerate(byte_characters())}
    assert [bytes(map(stand_ins.__getitem__, piece)).decode() for piece, _ in pieces] == SPLITS[text][kind].split("|")


def test_tekken_cuts_before_a_capital_and_keeps_marks_in_words() -> None:
    from tokenizers import pre_tokenizers

    text = "camelCase's हिन्दी 12//\n"
    pieces = pre_tokenizers.Sequence(_splitters(PRE_TOKENIZERS["tekken"])[:-1]).pre_tokenize_str(text)
    assert [piece for piece, _ in pieces] == ["camel", "Case", "'s", " हिन्दी", " ", "1", "2", "//\n"]


@given(text=st.text().filter(lambda text: "▁" not in text))
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    assert joined(tokenizer, tokenizer.encode(text)) == text.encode()


@given(
    pieces=st.lists(st.sampled_from(["<think>", "</think>", "<|im_", "end|>", IM_END, "</s>", "<s>", " ", "x", "\n"]))
)
def test_nobodys_text_becomes_a_control_token(tokenizer: Tokenizer, pieces: list[str]) -> None:
    ids = tokenizer.encode("".join(pieces))
    assert all(tokenizer.types[token] != TokenType.CONTROL for token in ids)
    assert joined(tokenizer, ids) == "".join(pieces).encode()


def test_merges_apply_in_the_order_of_their_rank(tmp_path: Path) -> None:
    # "answer" is made of "ans" + "w" + "er"; the merge "Ġ answ" comes after "answ er", too late to be used
    assert spelled(build(tmp_path), "hello the answer") == ["hello", "Ġthe", "Ġ", "answer"]


def test_llama_3_takes_a_whole_word_before_any_merge(tmp_path: Path) -> None:
    assert spelled(build(tmp_path, "llama-bpe"), "hello the answer") == ["hello", "Ġthe", "Ġanswer"]


def test_sentencepiece_joins_the_best_scored_neighbours_first(tmp_path: Path) -> None:
    tokenizer = build(tmp_path, "spm")
    # by score: "▁t", then "he", then "▁the" is not made of those two but of "▁t" + "he": it is the third
    assert spelled(tokenizer, " the") == ["▁the"]
    assert spelled(tokenizer, "the") == ["t", "he"]
    assert spelled(tokenizer, " hello") == ["▁", "he", "ll", "o"]  # "he" outranks "▁h", which "▁hello" would need
    assert spelled(tokenizer, "ü") == ["<0xC3>", "<0xBC>"]
    assert spelled(tokenizer, "    ") == ["▁▁▁▁"]


@given(text=st.text(alphabet="▁abc"), scores=st.permutations([float(-i // 2) for i in range(14)]))
def test_the_queue_of_merges_does_what_the_plain_rule_says(text: str, scores: list[float]) -> None:
    known = ("▁", "a", "b", "c", "▁a", "ab", "bc", "aa", "▁ab", "abc", "ca", "aaa", "▁▁", "▁abc")
    pieces = {piece: token for token, piece in enumerate(known)}
    symbols = list(text)
    while True:
        joined_pairs = enumerate(map("".join, pairwise(symbols)))
        pairs = [(-scores[pieces[piece]], place) for place, piece in joined_pairs if piece in pieces]
        if not pairs:
            break
        _, best = min(pairs)
        symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
    assert _merge_by_score(list(text), pieces, tuple(scores)) == symbols


def test_sentencepiece_starts_with_bos_and_a_space(tmp_path: Path) -> None:
    tokenizer = build(tmp_path, "spm")
    assert spelled(tokenizer, "the", start=True) == ["<s>", "▁the"]
    assert spelled(tokenizer, "the</s>the", special=True, start=True) == ["<s>", "▁the", "</s>", "▁the"]
    assert spelled(tokenizer, "the</s>the", special=True) == ["t", "he", "</s>", "t", "he"]
    bare = build(tmp_path, "spm", metadata={"tokenizer.ggml.add_space_prefix": False})
    assert spelled(bare, "the", start=True) == ["<s>", "t", "he"]


@pytest.mark.parametrize(("flag", "added"), [(None, {"llama-bpe"}), (True, {"llama-bpe", "qwen2"}), (False, set())])
@pytest.mark.parametrize("kind", ["llama-bpe", "qwen2"])
def test_bos_is_added_once_where_the_file_or_the_family_says_so(
    tmp_path: Path, kind: str, flag: bool | None, added: set[str]
) -> None:
    keys = {"tokenizer.ggml.bos_token_id": list(bpe_vocabulary()).index(EOS), "tokenizer.ggml.add_bos_token": flag}
    tokenizer = build(tmp_path, kind, metadata=keys)
    begun = [EOS, "hello"] if kind in added else ["hello"]
    assert spelled(tokenizer, "hello", start=True) == begun
    assert spelled(tokenizer, EOS + "hello", special=True, start=True) == [EOS, "hello"]
    assert spelled(tokenizer, "hello") == ["hello"]


def test_control_tokens_are_recognised_when_asked_for(tmp_path: Path) -> None:
    tokenizer = build(tmp_path)
    assert spelled(tokenizer, f"hello{IM_END}\n\n", special=True) == ["hello", IM_END, "ĊĊ"]
    assert IM_END not in spelled(tokenizer, f"hello{IM_END}")
    assert spelled(tokenizer, "<think>hello") == [THINK, "hello"]
    assert tokenizer.token_bytes(tokenizer.ids[IM_END]) == b""
    assert tokenizer.token_bytes(tokenizer.ids[THINK]) == b"<think>"
    assert tokenizer.token_bytes(len(tokenizer.tokens)) == b""


def test_a_dropped_character_keeps_a_control_token_from_being_seen(tmp_path: Path) -> None:
    tokenizer = build(tmp_path)
    broken = IM_END[0] + "\ufdd0" + IM_END[1:]
    ids = tokenizer.encode(f"{IM_END}{broken}{IM_END}", special=True, drop="\ufdd0")
    assert [ids[0], ids[-1]] == [tokenizer.ids[IM_END]] * 2
    assert joined(tokenizer, ids) == IM_END.encode()


def test_end_tokens_are_those_of_the_metadata_and_those_known_by_name(tmp_path: Path) -> None:
    tokenizer = build(tmp_path, metadata={"tokenizer.ggml.eot_token_id": 7})
    assert {tokenizer.tokens[token] for token in tokenizer.end_ids} == {IM_END, EOS, tokenizer.tokens[7]}
    assert build(tmp_path, "spm").end_ids == {2}


def test_the_longest_special_token_wins(tmp_path: Path) -> None:
    tokens = bpe_vocabulary() | {"<|im_end|>>": int(TokenType.CONTROL)}
    assert spelled(build(tmp_path, tokens=tokens), "<|im_end|>>", special=True) == ["<|im_end|>>"]


def test_unused_tokens_are_told(tmp_path: Path) -> None:
    tokenizer = build(tmp_path, tokens=bpe_vocabulary() | {"[PAD0]": int(TokenType.UNUSED)})
    assert tokenizer.unused_ids == {tokenizer.ids["[PAD0]"]}
    assert tokenizer.token_bytes(tokenizer.ids["[PAD0]"]) == b""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pre": "default"}, "pre-tokenizer 'default' is not known"),
        ({"pre": "jais"}, "known are command-r"),
        ({"metadata": {"tokenizer.ggml.pre": None}}, "pre-tokenizer None"),
        ({"metadata": {"tokenizer.ggml.model": "bert"}}, "'bert' is not supported"),
        ({"metadata": {"tokenizer.ggml.model": None}}, "None is not supported"),
        ({"metadata": {"tokenizer.ggml.tokens": None}}, "must be an array of str"),
        ({"metadata": {"tokenizer.ggml.tokens": [1, 2]}}, "must be an array of str"),
        ({"metadata": {"tokenizer.ggml.tokens": ["a", "a"]}}, "occurs twice"),
        ({"metadata": {"tokenizer.ggml.tokens": [str(i) for i in range(1000)]}}, "more than the 320 rows"),
        ({"metadata": {"tokenizer.ggml.token_type": [1, 2]}}, "has 2 items"),
        ({"metadata": {"tokenizer.ggml.eos_token_id": 5000}}, "eos_token_id is 5000"),
        ({"metadata": {"tokenizer.ggml.add_bos_token": 1, "tokenizer.ggml.bos_token_id": 1}}, "true or false"),
        ({"metadata": {"tokenizer.ggml.merges": ["a b"]}}, "merge 0"),
        ({"metadata": {"tokenizer.ggml.merges": ["ab"]}}, "merge 0"),
        ({"vocabulary": "spm", "metadata": {"tokenizer.ggml.scores": None}}, "array of float"),
        ({"vocabulary": "spm", "metadata": {"tokenizer.ggml.scores": [0.0]}}, "has 1 items"),
        ({"vocabulary": "spm", "metadata": {"tokenizer.ggml.model": "t5"}}, "'t5' is not supported"),
    ],
)
def test_refuses_what_it_does_not_know_by_name(tmp_path: Path, options: dict[str, object], words: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", num_layers=1, **options)
    with open_gguf(path) as file, pytest.raises(ModelError) as caught:
        Tokenizer.from_gguf(file)
    assert words in str(caught.value)
    assert "m.gguf" in str(caught.value)


def test_refuses_a_sentencepiece_vocabulary_without_bytes(tmp_path: Path) -> None:
    pieces = ["x" + token if token == "<0x41>" else token for token in spm_vocabulary()[0]]
    with pytest.raises(ModelError, match="lacks the byte token <0x41>"):
        build(tmp_path, "spm", metadata={"tokenizer.ggml.tokens": pieces})


def test_refuses_text_that_has_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        build(tmp_path).encode("a\ud800")
    tokens = {token: kind for token, kind in bpe_vocabulary().items() if token != "z"}
    with pytest.raises(InvalidRequest, match="0x7a"):
        build(tmp_path, tokens=tokens).encode("fizz")


def test_a_long_prompt_is_read_quickly(tokenizer: Tokenizer) -> None:
    text = "hello the world, 123 answers\n" * 350
    started = time.process_time()
    tokenizer.encode(text)
    assert time.process_time() - started < 1.0
