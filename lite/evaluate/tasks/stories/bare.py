"""Bare arithmetic: one expression, or a number that is worked on."""

from __future__ import annotations

from random import Random

from lite.evaluate.tasks.stories.story import DIVISORS, Story, Unfit, draw_factors, draw_number

__all__ = ["bare_story"]


def bare_story(story: Story) -> None:
    random = story.random
    if story.steps == 1:
        sign, a, b = _bare_step(random, None)
        if sign == "*" and random.random() < 0.5:
            a, b = b, a
        told = random.choice((f"{a}{sign}{b}", f"{a} {sign} {b}", f"{a} {_SPOKEN[sign]} {b}"))
        story.work(sign, a, b)
        story.ask("the value", "What is {e}?", "Compute {e}.", "Calculate {e}.", "How much is {e}?", e=told)
        return
    value = draw_number(random)
    story.say("Start with {v}.", "Take the number {v}.", "Begin with {v}.", "I think of the number {v}.", v=value)
    while story.left:
        sign, _, b = _bare_step(random, value)
        value = story.work(sign, value, b)
        story.say(*_BARE[sign], b=b)
    story.ask("the result", "What is the result?", "What do you get?", "Which number is it now?", "What is it now?")


_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_BARE = {
    "+": ("Add {b}.", "Then add {b}.", "Increase it by {b}."),
    "-": ("Subtract {b}.", "Take away {b}.", "Then subtract {b}."),
    "*": ("Multiply by {b}.", "Then multiply it by {b}.", "Multiply the result by {b}."),
    "/": ("Divide by {b}.", "Then divide it by {b}.", "Divide the result by {b}."),
}


def _bare_step(random: Random, value: int | None) -> tuple[str, int, int]:
    sign = random.choice("+-*/" if value is None else "+-*/*")
    if sign == "*":
        if value is None:
            return (sign, *draw_factors(random))
        return sign, value, random.randint(11, 40) if value < 100 and random.random() < 0.4 else random.randint(2, 9)
    if sign == "/":
        if value is None:
            b, quotient = random.randint(2, 12), draw_number(random)
            return sign, b * quotient, b
        possible = [divisor for divisor in DIVISORS if value % divisor == 0]
        if not possible:
            raise Unfit
        return sign, value, random.choice(possible)
    a = draw_number(random) if value is None else value
    return sign, a, draw_number(random) if sign == "+" else draw_number(random, a)
