"""Word problems of a given number of steps, told by one of several families of stories."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from lite.evaluate.tasks.stories.ages import ages_story
from lite.evaluate.tasks.stories.bare import bare_story
from lite.evaluate.tasks.stories.belongings import belongings_story
from lite.evaluate.tasks.stories.people import people_story
from lite.evaluate.tasks.stories.rates import rates_story
from lite.evaluate.tasks.stories.shopping import shopping_story
from lite.evaluate.tasks.stories.story import Story, Unfit

__all__ = ["tell"]

_FAMILIES: tuple[Callable[[Story], None], ...] = (
    belongings_story,
    people_story,
    shopping_story,
    rates_story,
    ages_story,
    bare_story,
)
_WEIGHTS = (42, 12, 14, 16, 7, 9)


def tell(random: Random, steps: int) -> Story:
    """A story of exactly `steps` operations."""
    while True:
        family = random.choices(_FAMILIES, weights=_WEIGHTS)[0]
        story = Story(random, steps)
        try:
            family(story)
        except Unfit:
            continue
        if story.left == 0 and story.question:
            return story
