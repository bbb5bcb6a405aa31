"""What is scored, and that nothing of it was calibrated on."""

from pathlib import Path

import pytest

from lite.backends.table_codec import ByteCodec
from lite.errors import UsageError
from lite.evaluate.quantization.documents import Text, check_apart, read_texts, text_documents

LONG = "The quick brown fox jumps over the lazy dog, twice a day."


def written(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def test_a_text_is_paragraphs_and_jsonl_is_lines(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path / "a.txt", "one\ntwo\n\n\n\nthree\n")) == [Text("one\ntwo"), Text("three\n")]
    lines = '{"text": "one"}\n\n{"prompt": "why?", "text": "so\\n\\nit is"}\n'
    assert read_texts(written(tmp_path / "a.jsonl", lines)) == [Text("one"), Text("so\n\nit is", "why?")]


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '"text"', '{"words": "x"}', '{"text": 3}', '{"text": "x", "prompt": 1}']
)
def test_a_line_without_a_text_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="line 2 is no object"):
        read_texts(written(tmp_path / "a.jsonl", f'{{"text": "fine"}}\n{line}\n'))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_texts(tmp_path / "binary.txt")
    with pytest.raises(UsageError, match="holds no text"):
        read_texts(written(tmp_path / "empty.txt", "\n\n"))
    with pytest.raises(UsageError, match="cannot read"):
        read_texts(tmp_path / "missing.txt")


def test_a_long_text_is_cut_and_every_token_but_the_pieces_first_is_scored() -> None:
    documents = text_documents([Text("abcdefghij"), Text("k"), Text("lm")], ByteCodec(), longest=4)
    assert [(bytes(one.context), bytes(one.ids)) for one in documents] == [
        (b"a", b"bcd"),
        (b"e", b"fgh"),
        (b"i", b"j"),
        (b"l", b"m"),
    ]
    assert len({one.cluster for one in documents}) == 4


def test_of_a_text_after_a_prompt_the_prompt_is_not_scored() -> None:
    (document,) = text_documents([Text("answer", "question")], ByteCodec(), longest=12)
    assert (bytes(document.context), bytes(document.ids)) == (b"question", b"answ")
    assert not text_documents([Text("answer", "question")], ByteCodec(), longest=8)


def test_calibration_and_measurement_share_no_file_text_or_question(tmp_path: Path) -> None:
    text = written(tmp_path / "text.txt", f"{LONG}\n\nYes.")
    copy = written(tmp_path / "copy.txt", f"{LONG}\n\nYes.")
    with pytest.raises(UsageError, match="both --imatrix and --text"):
        check_apart(copy, text, [])
    around = written(tmp_path / "around.txt", f"Before.\n{LONG.replace(' ', '  ')} After.")
    with pytest.raises(UsageError, match="quick brown fox"):
        check_apart(around, text, [])
    with pytest.raises(UsageError, match="quick brown fox"):
        check_apart(around, None, [LONG])


def test_other_texts_and_short_ones_may_be_calibrated_on(tmp_path: Path) -> None:
    text = written(tmp_path / "text.txt", f"{LONG}\n\nYes.")
    check_apart(written(tmp_path / "other.txt", "Yes. Something else altogether."), text, ["How many?"])


def test_finished_measurements_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "matrix.gguf").write_bytes(b"GGUF\0\0\0\xff")
    check_apart(tmp_path / "matrix.gguf", None, [LONG])
