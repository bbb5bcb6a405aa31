"""A story in the making, and the numbers it is told with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random

from lite.evaluate.tasks.stories.lexicon import Person, draw_person
from lite.evaluate.tasks.word_traces import Operation

__all__ = ["DIVISORS", "LARGEST", "NUMBER_WORDS", "Story", "Unfit", "draw_divisor", "draw_factors", "draw_number"]

LARGEST = 9999
DIVISORS = tuple(range(2, 13))
NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_SMALL = re.compile(r"(?<![\d$*/+-])(?<!\. )(?<!^)(?<![*/+-] )\b([2-9]|1[0-2])\b(?! ?[\d*/+-])")


class Unfit(Exception):
    """No story of this family fits what was drawn; draw again."""


@dataclass(slots=True)
class Story:
    """A problem in the making: its sentences, its operations in order, and what is sought."""

    random: Random
    steps: int
    sentences: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    question: str = ""
    target: str = ""

    @property
    def left(self) -> int:
        """How many steps are still to be told."""
        return self.steps - len(self.operations)

    def work(self, sign: str, a: int, b: int) -> int:
        """Add one operation and return its result; products are put with the smaller factor first."""
        if sign == "*" and a > b:
            a, b = b, a
        fits = {"+": a + b <= LARGEST, "-": b <= a, "*": _multipliable(a, b), "/": b > 1 and a % b == 0}[sign]
        if not fits or self.left < 1:
            raise Unfit
        self.operations.append(Operation(sign, a, b))
        return self.operations[-1].result

    def person(self) -> Person:
        """Somebody new to the story."""
        self.people.append(draw_person(self.random, *self.people))
        return self.people[-1]

    def say(self, *phrasings: str, **words: object) -> None:
        """Add one of the phrasings."""
        self.sentences.append(self.random.choice(phrasings).format(**words))

    def ask(self, target: str, *phrasings: str, **words: object) -> None:
        """End with one of the phrasings."""
        self.question = self.random.choice(phrasings).format(**words)
        self.target = target.format(**words)

    @property
    def alone(self) -> bool:
        """Whether nobody has been compared with the first person, so that a pronoun means that one."""
        return not any(" than " in sentence or " as many" in sentence for sentence in self.sentences)

    def text(self) -> str:
        """The whole problem; now and then with sentences joined, the question first, or small numbers as words."""
        sentences = self._joined() if self.alone and self.random.random() < 0.3 else self.sentences
        first = bool(sentences) and self.random.random() < 0.06
        text = " ".join([self.question, *sentences] if first else [*sentences, self.question])
        if sentences and self.random.random() < 0.12:
            return _SMALL.sub(lambda found: NUMBER_WORDS[int(found[0])], text)
        return text

    def _joined(self) -> list[str]:
        """The sentences, some that go on about the first person ("He buys ...") joined to the one before by "and"."""
        name, joined = f"{self.people[0].name} " if self.people else "?", self.sentences[:1]
        for sentence in self.sentences[1:]:
            same = joined[-1].startswith(name) and sentence.startswith(("He ", "She ", name))
            if same and ". " not in joined[-1] and " and " not in joined[-1] and self.random.random() < 0.6:
                joined[-1] = f"{joined[-1][:-1]} and {sentence.split(' ', 1)[1]}"
            else:
                joined.append(sentence)
        return joined


def _multipliable(a: int, b: int) -> bool:
    return a >= 2 and a * b <= LARGEST and ((a < 10 and b < 1000) or b < 100)


def draw_number(random: Random, largest: int = 999) -> int:
    """An addend of one, two or three digits, at most `largest`."""
    digits = random.choices((1, 2, 3), weights=(18, 42, 40))[0]
    low, high = ((2, 9), (10, 99), (100, 999))[digits - 1]
    if low > largest:
        low = 1
    if largest < low:
        raise Unfit
    return random.randint(low, min(high, largest))


def draw_factors(random: Random) -> tuple[int, int]:
    """A count and a size whose product is a step."""
    kind = random.random()
    if kind < 0.2:
        return random.randint(2, 9), random.randint(2, 12)
    if kind < 0.45:
        return random.randint(3, 9), random.randint(11, 99)
    if kind < 0.72:
        return random.randint(3, 9), random.randint(101, 999)
    return random.randint(11, 60), random.randint(11, 99)


def draw_divisor(story: Story, value: int) -> int:
    possible = [divisor for divisor in DIVISORS if value % divisor == 0 and value > divisor]
    if not possible:
        raise Unfit
    return story.random.choice(possible)
