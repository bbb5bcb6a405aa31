"""Rates: so much an hour, for so many hours."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from lite.evaluate.tasks.stories.lexicon import Person
from lite.evaluate.tasks.stories.story import Story, draw_divisor, draw_factors, draw_number

__all__ = ["rates_story"]


@dataclass(frozen=True, slots=True)
class _Rate:
    legs: tuple[str, ...]
    more: tuple[str, ...]
    unit: str
    ask: tuple[str, ...]
    goal: tuple[str, ...]
    rest: tuple[str, ...]
    share: tuple[str, ...]
    each: tuple[str, ...]


_RATES = (
    _Rate(
        (
            "{n} drives at {a} km per hour for {b} hours.",
            "{n} drives {a} km an hour for {b} hours.",
            "For {b} hours {n} rides at {a} km per hour.",
            "{n} travels for {b} hours at a speed of {a} km per hour.",
        ),
        ("{n} goes another {x} km by train.", "{n} walks {x} km more.", "{n} adds a trip of {x} km."),
        "km",
        ("How many km does {n} travel?", "How far does {n} go in km?", "What is the distance in km?"),
        ("The whole way is {x} km long.", "{n} wants to travel {x} km."),
        ("How many km are left?", "How many km does {n} still have to go?"),
        ("The way is split into {k} equal parts.", "{n} does this in {k} equal days."),
        ("How many km are in each?", "How long is each in km?"),
    ),
    _Rate(
        (
            "{n} reads {a} pages a day for {b} days.",
            "For {b} days {n} reads {a} pages each day.",
            "{n} reads for {b} days, {a} pages a day.",
        ),
        ("{n} reads another {x} pages.", "{n} reads {x} more pages on the last day."),
        "pages",
        ("How many pages does {n} read?", "How many pages does {n} read in all?"),
        ("The book has {x} pages.", "{n} has a book with {x} pages."),
        ("How many pages are left?", "How many pages does {n} still have to read?"),
        ("These pages are from {k} books of the same length.", "The pages form {k} equal parts."),
        ("How many pages does each have?", "How many pages are in each?"),
    ),
    _Rate(
        (
            "{n} earns ${a} an hour and works {b} hours.",
            "{n} works for {b} hours at ${a} an hour.",
            "{n} saves ${a} a week for {b} weeks.",
            "{n} earns ${a} a day for {b} days.",
        ),
        ("{n} gets ${x} more as a gift.", "{n} finds another ${x}.", "{n} is paid ${x} extra."),
        "dollars",
        ("How many dollars does {n} have?", "How much money is that in all?", "How much does {n} get in dollars?"),
        ("{n} wants to buy a bike for ${x}.", "{n} needs ${x} in all."),
        ("How many dollars are still missing?", "How much more money does {n} need?"),
        ("The money is shared equally by {k} people.", "{n} splits the money evenly among {k} children."),
        ("How many dollars does each get?", "How much does each get?"),
    ),
    _Rate(
        (
            "{n} bakes {a} cakes a day for {b} days.",
            "{n} makes {a} cakes each hour for {b} hours.",
            "For {b} days {n} bakes {a} cakes a day.",
        ),
        ("{n} bakes {x} more cakes.", "{n} makes another {x} cakes."),
        "cakes",
        ("How many cakes are there?", "How many cakes does {n} make in all?"),
        ("{n} has to make {x} cakes.", "{x} cakes were ordered from {n}."),
        ("How many cakes are left to make?", "How many cakes does {n} still have to make?"),
        ("The cakes are put on {k} tables, the same number on each.", "The cakes go to {k} shops in equal parts."),
        ("How many cakes does each get?", "How many cakes are on each?"),
    ),
)


def rates_story(story: Story) -> None:
    random = story.random
    rate, person = random.choice(_RATES), story.person()
    legs = min(3, random.randint(1, (story.steps + 1) // 2))
    total = 0
    for index in range(legs):
        a, b = draw_factors(random)
        product = story.work("*", a, b)
        if a < 13 and random.random() < 0.8:
            a, b = b, a
        subject = person.name if index == 0 or random.random() < 0.4 else person.he.capitalize()
        sentence = random.choice(rate.legs).format(n=subject if index == 0 else "{n}", a=a, b=b)
        if index:
            sentence = _again(random, sentence, person)
        story.sentences.append(sentence)
        total = product if index == 0 else story.work("+", total, product)
    ending = random.choice(("goal", "share", "")) if story.left else ""
    while story.left > bool(ending):
        number = draw_number(random)
        total = story.work("+", total, number)
        story.say(*rate.more, n=person.he.capitalize(), x=number)
    _rate_question(story, rate, person, total, ending)


def _again(random: Random, sentence: str, person: Person) -> str:
    subject = person.name if random.random() < 0.5 else person.he
    if not sentence.startswith("{n}"):
        return sentence.format(n=subject)
    lead = random.choice(("Then ", "After that, ", "Later, ", ""))
    return sentence.format(n=lead + subject if lead else subject.capitalize())


def _rate_question(story: Story, rate: _Rate, person: Person, total: int, ending: str) -> None:
    if ending == "goal":
        goal = total + draw_number(story.random)
        story.work("-", goal, total)
        told = story.random.choice(rate.goal).format(n=person.name, x=goal)
        story.sentences.insert(story.random.choice((0, len(story.sentences))), told)
        story.ask(rate.unit + " left", *rate.rest, n=person.name)
    elif ending == "share":
        number = draw_divisor(story, total)
        story.work("/", total, number)
        story.say(*rate.share, k=number, n=person.name)
        story.ask(rate.unit + " in each", *rate.each)
    else:
        story.ask(rate.unit + " in all", *rate.ask, n=person.name)
