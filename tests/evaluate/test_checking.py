"""What is right: our own matcher, then math-verify, which cannot hang or bring down a run."""

import sys
import time

import pytest

from lite.evaluate.checking import Checker, MathWorker
from lite.evaluate.items import Item


def item(answer: str, *choices: str) -> Item:
    return Item(id="0", question="?", answer=answer, choices=choices)


def test_our_own_matcher_comes_first_and_needs_no_process() -> None:
    with Checker(use_math_verify=False) as checker:
        assert checker.is_right("1,000", item("1000"))
        assert checker.is_right("0.5", item(r"\frac{1}{2}"))
        assert not checker.is_right("7", item("8"))
        assert not checker.is_right(None, item("8"))
        assert checker.name == "lite"


def test_math_verify_knows_algebra() -> None:
    pytest.importorskip("math_verify")
    with Checker(seconds=60) as checker:
        assert checker.is_right("x(x+1)", item("x^2 + x"))
        assert not checker.is_right("x^2 - x", item("x^2 + x"))
        assert "math-verify" in checker.name


class _Odd(MathWorker):
    def __init__(self, body: str, seconds: float) -> None:
        super().__init__(seconds)
        self.command = (sys.executable, "-c", "import sys, time, os\nprint('ready', flush=True)\n" + body)


def test_a_comparison_that_hangs_is_killed_and_wrong_and_the_next_one_works() -> None:
    worker = _Odd("for line in sys.stdin:\n  time.sleep(60 if 'hang' in line else 0); print('true', flush=True)", 1.0)
    begun = time.monotonic()
    assert not worker.verify("hang", "1")
    assert time.monotonic() - begun < 30
    worker._seconds = 30
    assert worker.verify("x", "y")
    worker.close()
    worker.close()


@pytest.mark.parametrize("body", ["os._exit(9)", "sys.stdin.readline(); os._exit(9)", "print('nonsense', flush=True)"])
def test_a_process_that_dies_or_talks_nonsense_makes_the_answer_wrong(body: str) -> None:
    worker = _Odd(body, 20.0)
    assert not worker.verify("x", "y")
    worker.close()


def test_a_process_that_never_starts_makes_the_answer_wrong() -> None:
    worker = MathWorker(1.0)
    worker.command = (sys.executable, "-c", "raise SystemExit(1)")
    assert not worker.verify("x", "y")
