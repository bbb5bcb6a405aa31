"""Questions from files: the formats that people have, and one line for what cannot be read."""

import json
from pathlib import Path

import pytest

from lite.errors import UsageError
from lite.evaluate.items import load_suite, shard_of


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return path


def test_gsm8k_is_accepted_as_it_is(tmp_path: Path) -> None:
    line = {"question": "How much?", "answer": "She has 9 * 2 = $<<9*2=18>>18 every day.\n#### 18"}
    suite = load_suite(str(written(tmp_path / "gsm8k.jsonl", line)))
    assert (suite.name, suite.items[0].question, suite.items[0].answer) == ("gsm8k", "How much?", "18")


@pytest.mark.parametrize("answer", ["blue", "B", "(b)", 1])
def test_the_answer_to_a_choice_may_be_its_text_its_letter_or_its_number(tmp_path: Path, answer: object) -> None:
    line = {"question": "Which?", "choices": ["red", "blue"], "answer": answer}
    (item,) = load_suite(str(written(tmp_path / "task.jsonl", line))).items
    assert item.answer == "blue"
    assert item.asked == "Which?\n(A) red\n(B) blue"


def test_arc_choices_have_labels_of_their_own(tmp_path: Path) -> None:
    line = {"question": "Which?", "choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answer": "2"}
    (item,) = load_suite(str(written(tmp_path / "task.jsonl", line))).items
    assert item.answer == "blue"


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    written(tmp_path / "b.jsonl", {"question": "2?", "answer": 2})
    written(tmp_path / "a.jsonl", {"question": "1?", "answer": 1}, {"question": "1.5?", "answer": 1.5})
    suite = load_suite(str(tmp_path))
    assert [(item.id, item.answer, item.index) for item in suite.items] == [
        ("a/0", "1", 0),
        ("a/1", "1.5", 1),
        ("b/0", "2", 2),
    ]
    assert len(load_suite(str(tmp_path), limit=2).items) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting"),
        ("[]", "no JSON object"),
        ('{"question": "?"}', "it has no 'answer'"),
        ('{"question": "", "answer": "1"}', "must be text"),
        ('{"question": "?", "answer": null}', "text or a number"),
        ('{"question": "?", "answer": "#### "}', "empty"),
        ('{"question": "?", "answer": "C", "choices": ["x", "y"]}', "none of the choices"),
        ('{"question": "?", "answer": "C", "choices": "xy"}', "choices are a list"),
    ],
)
def test_a_bad_line_is_named_in_one_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text('{"question": "?", "answer": "1"}\n' + line)
    with pytest.raises(UsageError, match=words) as caught:
        load_suite(str(path))
    assert f"{path}, line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="word-problems"):
        load_suite("word-problem")
    with pytest.raises(UsageError, match=r"no \.jsonl"):
        load_suite(str(tmp_path))
    with pytest.raises(UsageError, match="at least 1"):
        load_suite("lists", limit=0)


def test_shards_are_all_questions_and_share_none() -> None:
    items = load_suite("arithmetic", limit=11).items
    shards = [shard_of(items, (i, 4)) for i in range(4)]
    assert sorted(item.index for shard in shards for item in shard) == list(range(11))
    with pytest.raises(UsageError, match="I from 0"):
        shard_of(items, (4, 4))
