"""The measurement as a whole, on a small model with random weights."""

from pathlib import Path

import pytest

from lite.evaluate.checking import Checker
from lite.evaluate.items import Item
from lite.evaluate.parts import opened_parts
from lite.evaluate.quantization.report import Work, measure
from lite.evaluate.quantization.samples import Asked, certainties, draw_samples, sample_documents
from lite.evaluate.quantization.tokens import Reader, compare
from lite.params import SamplingParams
from tests.cli.conftest import cache, folders, small_model  # noqa: F401
from tests.evaluate.quantization.test_samples import result

ASKED = Asked(
    items=tuple(Item(id=str(i), question=f"What is {i}?", answer=str(i), index=i) for i in range(3)),
    samples=2,
    params=SamplingParams(max_tokens=6),
    think=None,
)


def test_it_tells_how_far_it_is_until_all_is_done(small_model: Path, tmp_path: Path) -> None:  # noqa: F811
    text = tmp_path / "text.txt"
    text.write_text("hello the world\n\nthe answer is 12\n", "utf-8")
    work = Work(model=small_model, formats=("int8-row", "onnx-q8"), asked=ASKED, text=text, threads=1)
    told = list(measure(work))
    assert [total for _, total in told] == [3 + 2 * (3 + 6 + 2)] * len(told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_what_is_fed_is_told_as_it_was_when_it_was_drawn(small_model: Path) -> None:  # noqa: F811
    settings = {"format": "f32", "num_slots": 4, "context_length": None, "threads": 1}
    with opened_parts(small_model, "onnx", **settings) as parts, Checker(use_math_verify=False) as checker:
        drawn = result(draw_samples(parts, ASKED, checker))
        documents = sample_documents(drawn, parts)
        found = result(compare(Reader(parts.backend, most_kept=1 << 30), Reader(parts.backend), documents))
    means = [found.reference.certainty[found.document == i].mean() for i in range(len(documents))]
    assert means == pytest.approx([one for ballot in drawn.ballots for one in certainties(ballot)], abs=1e-4)
