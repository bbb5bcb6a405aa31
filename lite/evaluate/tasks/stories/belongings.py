"""Belongings: a number of things that grows, shrinks, is shared, compared and sold."""

from __future__ import annotations

from lite.evaluate.tasks.stories.lexicon import CHILDREN, connected, draw_containers, draw_objects
from lite.evaluate.tasks.stories.people import Owner, compare, join
from lite.evaluate.tasks.stories.story import Story, Unfit, draw_divisor, draw_factors, draw_number

__all__ = ["belongings_story"]


def belongings_story(story: Story) -> None:
    random = story.random
    owner = _begin(story)
    ending = (
        random.choice(("", "", "share", "pack", "sell")) if story.steps > 1 else random.choice(("", "share", "pack"))
    )
    reserve = 1 if ending else 0
    compares = 0
    while story.left > reserve:
        if story.left > reserve + 1 and random.random() < 0.12:
            other, owner = owner, compare(story, owner)
            compares += 1
            if random.random() < 0.6:
                owner = join(story, owner, other, last=story.left == 1 and not ending, alone=compares == 1)
            continue
        _event(story, owner)
    if story.question:
        return
    if ending == "share":
        _share(story, owner)
    elif ending == "pack":
        _pack(story, owner)
    elif ending == "sell":
        _sell(story, owner)
    else:
        _ask_count(story, owner)


def _begin(story: Story) -> Owner:
    random = story.random
    person, objects = story.person(), draw_objects(random)
    words = {"n": person.name, "o": objects, "his": person.his, "c": draw_containers(random)}
    chance = random.random()
    if chance < 0.35 and story.left:
        a, b = draw_factors(random)
        value = story.work("*", a, b)
        story.say(
            "{n} has {a} {c} of {b} {o}.",
            "{n} buys {a} {c} with {b} {o} each.",
            "{n} fills {a} {c}, each with {b} {o}.",
            "There are {a} {c} in {n}'s shop, and each holds {b} {o}.",
            "{n} puts {o} into {a} {c}. Every one of them holds {b} {o}.",
            "{n} lays out {a} rows of {b} {o}.",
            "{n} gets {a} {c} of {o}. There are {b} {o} in each.",
            a=a,
            b=b,
            **words,
        )
    elif chance < 0.5 and story.left:
        a, b = draw_number(random), draw_number(random)
        value = story.work("+", a, b)
        second = draw_objects(random).split()[-1]
        if second == objects.split()[-1] or " " in objects:
            raise Unfit
        story.say(
            "{n} has {a} {o} and {b} {p}, which {he} keeps in one bag.",
            "{n} puts {a} {o} and {b} {p} into one big box.",
            "In {his} shop {n} has {a} {o} and {b} {p}.",
            a=a,
            b=b,
            p=second,
            he=person.he,
            **words,
        )
        objects = "things"
    else:
        value = draw_number(random)
        story.say(
            "{n} has {v} {o}.",
            "{n} has {v} {o}.",
            "{n} starts with {v} {o}.",
            "{n} owns {v} {o}.",
            "{n} collected {v} {o}.",
            "There are {v} {o} in {n}'s room.",
            "{n} had {v} {o} at first.",
            "{n} keeps {v} {o} in {his} house.",
            v=value,
            **words,
        )
    return Owner(person, objects, value)


def _event(story: Story, owner: Owner) -> None:
    random = story.random
    kinds = ["gain"] * 5 + ["lose"] * 5
    if owner.value < 1000:
        kinds += ["times"] * 5
    if owner.value % 2 == 0 and owner.value:
        kinds += ["half"] * 2
    if owner.value > 99:
        kinds += ["boxes"] * 2
    kind = random.choice(kinds)
    other = story.person()
    words = {"s": owner.subject(random), "m": other.name, "o": owner.objects, "his": owner.person.his}
    words |= {"n": owner.person.name, "c": draw_containers(random)}
    before = len(story.sentences)
    if kind == "gain":
        number = draw_number(random)
        owner.value = story.work("+", owner.value, number)
        story.say(*_GAINS, b=number, **words)
    elif kind == "lose":
        number = draw_number(random, owner.value)
        owner.value = story.work("-", owner.value, number)
        story.say(*_LOSSES, b=number, **words)
    elif kind == "half":
        owner.value = story.work("/", owner.value, 2)
        story.say(*_HALVES, **words)
    elif kind == "boxes" and story.left > 1:
        a, b = draw_factors(random)
        bought = story.work("*", a, b)
        owner.value = story.work("+", owner.value, bought)
        story.say(
            "{s} buys {a} {c} of {b} {o} more.",
            "{m} brings {a} {c} with {b} {o} each.",
            "{s} gets another {a} {c}, each with {b} {o}.",
            a=a,
            b=b,
            **words,
        )
    elif kind == "times":
        _multiply(story, owner, words)
    else:
        raise Unfit
    story.sentences[before:] = [connected(random, sentence) for sentence in story.sentences[before:]]


def _multiply(story: Story, owner: Owner, words: dict[str, str]) -> None:
    random = story.random
    if owner.value < 100 and random.random() < 0.3:
        factor = random.randint(11, 40)
    else:
        factor = random.choice((2, 2, 3, 3, 4, 5, 6, 7, 8, 9))
    owner.value = story.work("*", owner.value, factor)
    if factor <= 3 and random.random() < 0.7:
        verb = "double" if factor == 2 else "triple"
        story.say(
            "{s} {v}s the number of {o}.",
            "The number of {o} {v}s.",
            "{s} works hard and {v}s {his} {o}.",
            v=verb,
            **words,
        )
    else:
        story.say(
            "The number of {o} grows to {k} times as many.",
            "{s} trades them so well that {n} has {k} times as many {o}.",
            "{s} now has {k} times as many {o}.",
            "{s} multiplies the number of {o} by {k}.",
            k=factor,
            **words,
        )


_GAINS = (
    "{s} finds {b} more.",
    "{s} finds {b} more {o}.",
    "{s} buys {b} more {o}.",
    "{s} gets {b} more {o} from {m}.",
    "{m} gives {n} {b} more {o}.",
    "{m} gives {n} {b} {o}.",
    "{s} picks up another {b} {o}.",
    "{s} wins {b} more {o} in a game.",
    "{s} adds {b} {o}.",
    "Another {b} {o} arrive for {n}.",
    "{s} receives {b} {o} as a gift.",
    "{s} makes {b} more.",
)
_LOSSES = (
    "{s} loses {b} of them.",
    "{s} loses {b} {o}.",
    "{s} gives {b} {o} to {m}.",
    "{s} gives {b} of them to {m}.",
    "{s} sells {b} of the {o}.",
    "{s} sells {b} {o} to {m}.",
    "{m} takes {b} {o} away.",
    "{s} throws away {b} {o}.",
    "{s} uses {b} of the {o}.",
    "Someone steals {b} of them.",
    "{s} sends {b} {o} to {his} friend {m}.",
    "{s} drops {b} {o} on the way.",
)
_HALVES = (
    "{s} gives half of them to {m}.",
    "{s} loses half of the {o}.",
    "Half of the {o} are sold.",
    "{s} sells half of {his} {o}.",
    "{s} gives away half of the {o}.",
    "{m} takes half of them.",
)


def _share(story: Story, owner: Owner) -> None:
    number = draw_divisor(story, owner.value)
    story.work("/", owner.value, number)
    words = {"s": owner.subject(story.random), "o": owner.objects, "k": number}
    words["f"] = story.random.choice(CHILDREN)
    story.say(
        "{s} shares them equally among {k} {f}.",
        "{s} divides all the {o} equally among {k} {f}.",
        "{s} splits the {o} evenly between {k} {f}.",
        "All of the {o} go to {k} {f} in equal parts.",
        **words,
    )
    story.ask(
        "{o} for each",
        "How many {o} does each get?",
        "How many {o} does each of them get?",
        "How many {o} does each one receive?",
        "How many are there for each?",
        **words,
    )


def _pack(story: Story, owner: Owner) -> None:
    number = draw_divisor(story, owner.value)
    story.work("/", owner.value, number)
    words = {"s": owner.subject(story.random), "o": owner.objects, "k": number, "c": draw_containers(story.random)}
    words |= {"n": owner.person.name}
    story.say(
        "{s} packs them into {c} of {k}.",
        "{s} puts all the {o} into {c} that hold {k} each.",
        "Each of the {c} holds {k} {o}.",
        "{s} packs the {o}, {k} to each of the {c}.",
        **words,
    )
    story.ask(
        "number of {c}",
        "How many {c} does {n} need?",
        "How many {c} are needed?",
        "How many {c} does {n} fill?",
        "How many {c} are there?",
        **words,
    )


def _sell(story: Story, owner: Owner) -> None:
    price = story.random.randint(2, 9) if owner.value > 99 else story.random.randint(2, 40)
    story.work("*", owner.value, price)
    words = {"s": owner.subject(story.random), "o": owner.objects, "k": price, "n": owner.person.name}
    story.say(
        "{s} sells all of them for ${k} each.",
        "{s} sells the {o} at ${k} each.",
        "All the {o} are sold at a price of ${k} each.",
        **words,
    )
    story.ask(
        "dollars in all",
        "How many dollars does {n} get?",
        "How much money does {n} make?",
        "How much does {n} earn in dollars?",
        **words,
    )


def _ask_count(story: Story, owner: Owner) -> None:
    words = {"n": owner.person.name, "o": owner.objects, "he": owner.person.he}
    phrasings = [
        "How many {o} does {n} have now?",
        "How many {o} does {n} have in the end?",
        "How many {o} does {n} have?",
        "What is the number of {o} that {n} has now?",
        "So how many {o} has {n} got?",
    ]
    if story.alone:
        phrasings += ["How many {o} does {he} have now?", "How many {o} does {he} have?", "How many {o} are there now?"]
    if story.operations[-1].sign == "-":
        phrasings += ["How many {o} are left?", "How many {o} does {n} have left?", "How many {o} remain?"] * 2
    if story.operations[-1].sign == "+":
        phrasings += ["How many {o} does {n} have in all?", "How many {o} does {n} have altogether?"]
    story.ask("{o} of {n}", *phrasings, **words)
