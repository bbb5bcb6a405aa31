"""Ages: one person is older than another."""

from __future__ import annotations

from lite.evaluate.tasks.stories.lexicon import Person
from lite.evaluate.tasks.stories.story import Story, Unfit

__all__ = ["ages_story"]


def ages_story(story: Story) -> None:
    random = story.random
    people = [story.person()]
    ages = [random.randint(3, 60)]
    story.say("{n} is {v} years old.", "{n} is {v}.", "{n} is now {v} years old.", n=people[0].name, v=ages[0])
    ending = random.choice(("", "later", "together", "ago")) if story.steps > 1 else random.choice(("", "later", "ago"))
    for _ in range(story.left - bool(ending)):
        person = story.person()
        ages.append(_older(story, person, people[-1], ages[-1]))
        people.append(person)
    words: dict[str, object] = {"n": people[-1].name, "m": people[-2].name if len(people) > 1 else ""}
    if ending == "together":
        story.work("+", ages[-1], ages[-2])
        story.ask(
            "sum of the ages",
            "What is the sum of the ages of {m} and {n}?",
            "How old are {m} and {n} together?",
            **words,
        )
    elif ending:
        number = random.randint(2, min(40, ages[-1])) if ages[-1] > 2 else 2
        story.work("+" if ending == "later" else "-", ages[-1], number)
        later = ("How old will {n} be in {b} years?", "What will be the age of {n} in {b} years?")
        ago = ("How old was {n} {b} years ago?", "What was the age of {n} {b} years ago?")
        story.ask("age of {n}", *(later if ending == "later" else ago), b=number, **words)
    else:
        story.ask("age of {n}", "How old is {n}?", "What is the age of {n}?", **words)


def _older(story: Story, person: Person, than: Person, age: int) -> int:
    random = story.random
    words: dict[str, object] = {"m": person.name, "n": than.name}
    kind = random.choice(("older", "older", "younger", "times", "half"))
    if kind == "older":
        number = random.randint(2, 40)
        story.say("{m} is {b} years older than {n}.", b=number, **words)
        return story.work("+", age, number)
    if kind == "younger":
        if age < 6:
            raise Unfit
        number = random.randint(2, age - 2)
        story.say("{m} is {b} years younger than {n}.", b=number, **words)
        return story.work("-", age, number)
    if kind == "half":
        story.say("{m} is half as old as {n}.", "{m} is half the age of {n}.", **words)
        return story.work("/", age, 2)
    factor = random.randint(2, 5)
    if factor * age > 150:
        raise Unfit
    twice = "twice" if factor == 2 else f"{factor} times"
    story.say("{m} is {k} as old as {n}.", k=twice, **words)
    return story.work("*", age, factor)
