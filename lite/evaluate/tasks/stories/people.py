"""People whose counts are told by one another's."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from lite.evaluate.tasks.stories.lexicon import Person, draw_objects
from lite.evaluate.tasks.stories.story import Story, draw_number

__all__ = ["Owner", "compare", "join", "people_story"]


@dataclass(slots=True)
class Owner:
    person: Person
    objects: str
    value: int

    def subject(self, random: Random) -> str:
        if random.random() < 0.55:
            return self.person.he.capitalize()
        return self.person.name


def compare(story: Story, owner: Owner) -> Owner:
    """Somebody else, whose count is told by the owner's."""
    person = story.person()
    value = relation(story, person, owner.person, owner.value, f" {owner.objects}")
    return Owner(person, owner.objects, value)


def relation(story: Story, person: Person, than: Person, base: int, objects: str) -> int:
    random = story.random
    words = {"m": person.name, "n": than.name, "o": objects}
    kind = random.choice(("more", "more", "fewer", "times", "times", "half"))
    if kind == "more":
        number = draw_number(random)
        story.say("{m} has {b} more{o} than {n}.", "{m} has {b}{o} more than {n}.", b=number, **words)
        return story.work("+", base, number)
    if kind == "fewer":
        number = draw_number(random, base - 1)
        story.say("{m} has {b} fewer{o} than {n}.", "{m} has {b}{o} less than {n}.", b=number, **words)
        return story.work("-", base, number)
    if kind == "half":
        story.say("{m} has half as many{o} as {n}.", "{m} has only half as many{o} as {n} has.", **words)
        return story.work("/", base, 2)
    factor = random.randint(2, 9)
    if factor == 2 and random.random() < 0.6:
        story.say("{m} has twice as many{o} as {n}.", **words)
    else:
        story.say("{m} has {k} times as many{o} as {n}.", "{m} has {k} times what {n} has.", k=factor, **words)
    return story.work("*", base, factor)


def join(story: Story, owner: Owner, other: Owner, *, last: bool, alone: bool) -> Owner:
    """Two people put their things together, or are compared by the question; `alone` if nobody else has any."""
    words = {"m": owner.person.name, "n": other.person.name, "o": owner.objects}
    if last and story.random.random() < 0.4 and owner.value != other.value:
        high, low = (owner, other) if owner.value > other.value else (other, owner)
        story.work("-", high.value, low.value)
        words |= {"m": high.person.name, "n": low.person.name}
        story.ask(
            "how many more {o} {m} has",
            "How many more {o} does {m} have than {n}?",
            "How many {o} does {m} have more than {n}?",
            "How many fewer {o} does {n} have than {m}?",
            **words,
        )
        return owner
    value = story.work("+", owner.value, other.value)
    if last:
        story.ask(
            "{o} together",
            "How many {o} do {n} and {m} have together?",
            "What is the total number of {o} that {m} and {n} have?",
            *(("How many {o} do they have together?", "How many {o} do the two of them have in all?") if alone else ()),
            **words,
        )
        return owner
    story.say(
        "{n} gives {m} all of {his} {o}.",
        "{n} hands all {his} {o} over to {m}.",
        his=other.person.his,
        **words,
    )
    return Owner(owner.person, owner.objects, value)


def people_story(story: Story) -> None:
    random = story.random
    objects, person = draw_objects(random), story.person()
    start = draw_number(random)
    values, people = [start], [person]
    story.say("{n} has {v} {o}.", "{n} owns {v} {o}.", n=person.name, v=start, o=objects)
    chain = max(1, story.left - random.choice((0, 1, 1, 2)))
    while len(values) <= chain:
        other = story.person()
        word = random.choice(("", f" {objects}"))
        values.append(relation(story, other, people[-1], values[-1], word))
        people.append(other)
    words = {"o": objects, "n": people[-1].name, "m": people[-2].name}
    if story.left == 0:
        story.ask("{o} of {n}", "How many {o} does {n} have?", "How many {o} has {n} got?", **words)
    elif story.left == len(values) - 1 and len(values) > 2:
        total = story.work("+", values[0], values[1])
        for value in values[2:]:
            total = story.work("+", total, value)
        story.ask(
            "{o} of all",
            "How many {o} do they all have together?",
            "How many {o} do they have in all?",
            "What is the total number of {o}?",
            **words,
        )
    elif story.left == 1:
        last, before = Owner(people[-1], objects, values[-1]), Owner(people[-2], objects, values[-2])
        join(story, last, before, last=True, alone=len(people) == 2)
