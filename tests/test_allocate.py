"""One budget for many questions: what is easy costs little, and nothing is drawn twice."""

import pytest

from lite.allocate import allocate
from lite.backends.scripted import ScriptedSampler, prompt_text
from lite.params import Chat
from lite.sampler import Answer, Question, Request
from lite.strategies import Greedy, Majority

VALUES = {"easy": "4", "hard": "45674444", "harder": "456789"}


class Counting(ScriptedSampler):
    """Answers each question with its own values, and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(self._text)
        self.asked: list[tuple[str, int]] = []

    def start(self, requests):  # type: ignore[no-untyped-def]
        self.asked += [(prompt_text(one.prompt).split()[-1], one.sample) for one in requests]
        super().start(requests)

    @staticmethod
    def _text(request: Request) -> str:
        values = VALUES[prompt_text(request.prompt).split()[-1]]
        return f"It is {values[request.sample % len(values)]}."


QUESTIONS = [Question(prompt=Chat.ask(name)) for name in ("easy", "hard", "easy", "harder")]


def allocated(total: int, **settings: float) -> tuple[list[Answer], Counting]:
    sampler = Counting()
    return allocate(Majority(), QUESTIONS, {"local": sampler}, total=total, **settings), sampler  # type: ignore[arg-type]


@pytest.mark.parametrize("total", [16, 17, 20, 32, 60])
def test_the_total_is_kept_and_the_hard_ones_get_what_is_left(total: int) -> None:
    answers, sampler = allocated(total)
    counts = [len(answer.candidates) for answer in answers]
    assert counts[0] == counts[2] == 4
    assert sum(counts) == total
    assert len(sampler.asked) == total
    assert sum(answer.cost.branches for answer in answers) == total
    assert [answer.value for answer in answers] == ["4"] * 4


def test_no_sample_of_a_question_is_drawn_twice() -> None:
    _, sampler = allocated(40)
    for name in ("hard", "harder"):
        own = [sample for asked, sample in sampler.asked if asked == name]
        assert own == list(range(len(own)))


def test_it_ends_when_all_are_sure_or_have_their_most() -> None:
    answers, _ = allocated(1000, most=12)
    assert [len(answer.candidates) for answer in answers] == [4, 12, 4, 12]


def test_the_same_is_allocated_every_time() -> None:
    assert [answer.confidence for answer in allocated(30)[0]] == [answer.confidence for answer in allocated(30)[0]]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="4 questions with 4 samples each"):
        allocated(15)
    with pytest.raises(ValueError, match="wave"):
        allocated(40, wave=0)
    with pytest.raises(ValueError, match="Greedy"):
        allocate(Greedy(), QUESTIONS, {"local": Counting()}, total=40)
    assert allocate(Majority(), [], {"local": Counting()}, total=0) == []
