"""The words that stories are made of."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["CHILDREN", "CONTAINERS", "OBJECTS", "Person", "connected", "draw_containers", "draw_objects", "draw_person"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SHE = _words(
    "Anna Emma Maria Lucy Sara Julia Nina Eva Clara Rosa Alice Grace Mia Lily Zoe Ella Amy Kate Jane Nora Ruth Lena "
    "Iris Aisha Fatima Mei Yuki Priya Leila Olga Ines Carmen Sofia Hannah Betty Susan Linda"
)
HE = _words(
    "Tom Ben Max Paul Peter John Jack Sam Leo Noah Adam David Mark Luke Oscar Felix Hugo Karl Omar Ali Ravi Ken Wei "
    "Ivan Carlos Diego Liam Finn Eric Henry James Bob Tim Dan Joe Alex Robert Michael"
)
OBJECTS = _words(
    "apples pears oranges plums lemons cherries bananas nuts eggs cookies cakes muffins sweets candies chocolates "
    "marbles coins stamps cards stickers books pens pencils crayons beads buttons shells stones balloons flowers "
    "roses tulips balls toys dolls cups plates bottles candles tickets photos postcards badges bricks tiles nails "
    "screws seeds plants tomatoes potatoes carrots peaches melons magazines notebooks erasers ribbons shirts hats "
    "socks keys lamps chairs fish chickens sheep ducks"
)
CONTAINERS = _words("boxes bags packs baskets jars crates bins trays cases sacks")
CHILDREN = _words(
    "friends children classmates cousins neighbors students people kids teams families players workers guests"
)
_ONSETS = _words("b bl br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh sk st t tr v w y z")
_VOWELS = _words("a e i o u ai ea oo ou")
_CODAS = _words("b ck d g k l m n nd p r rt s t x")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a story, and the pronoun that stands for them."""

    name: str
    he: str

    @property
    def his(self) -> str:
        """The possessive."""
        return "his" if self.he == "he" else "her"


def _invented(random: Random) -> str:
    syllables = random.choice((1, 2, 2))
    return "".join(random.choice(_ONSETS) + random.choice(_VOWELS) for _ in range(syllables)) + random.choice(_CODAS)


def draw_person(random: Random, *others: Person | None) -> Person:
    """A person whose name is none of the `others`' (a made-up one now and then)."""
    while True:
        he = random.choice(("he", "she"))
        name = random.choice(HE if he == "he" else SHE)
        if random.random() < 0.05:
            name = _invented(random).capitalize()
        if all(other is None or other.name != name for other in others):
            return Person(name, he)


def draw_objects(random: Random) -> str:
    """The plural of something countable, now and then with an adjective or made up."""
    chance = random.random()
    if chance < 0.04:
        return _invented(random) + "s"
    objects = random.choice(OBJECTS)
    return f"{random.choice(('red', 'blue', 'green', 'old', 'small', 'big'))} {objects}" if chance < 0.12 else objects


def draw_containers(random: Random) -> str:
    """The plural of something that holds things."""
    return random.choice(CONTAINERS)


def connected(random: Random, sentence: str) -> str:
    """The sentence, perhaps led in by a word of time."""
    if random.random() < 0.65:
        return sentence
    lead = random.choice(
        ("Then", "Then", "Later,", "After that,", "Next,", "The next day,", "On Monday,", "On Sunday,")
    )
    first = sentence.split(" ", 1)[0]
    lower = first in {"He", "She", "They", "Half", "The", "Each", "Someone", "Another", "A"}
    return f"{lead} {sentence[0].lower() + sentence[1:] if lower else sentence}"
