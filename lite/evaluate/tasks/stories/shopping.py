"""Shopping: so many of this and that at a price, and the change."""

from __future__ import annotations

from lite.evaluate.tasks.stories.lexicon import Person, draw_objects
from lite.evaluate.tasks.stories.story import Story, Unfit, draw_divisor, draw_factors, draw_number

__all__ = ["shopping_story"]

_PRICED = (
    "{a} {o} for ${p} each",
    "{a} {o} at ${p} each",
    "{a} {o} for {p} dollars each",
    "{a} {o} that cost ${p} each",
    "{a} {o} at a price of ${p} each",
)


def shopping_story(story: Story) -> None:
    random = story.random
    person = story.person()
    spare = random.choice((0, 1)) if story.steps > 1 else 0
    kinds = max(1, (story.steps - spare + 1) // 2)
    extra = story.steps - (2 * kinds - 1)
    objects: list[str] = []
    parts: list[str] = []
    total = 0
    for index in range(kinds):
        count, price = draw_factors(random)
        thing = draw_objects(random)
        objects.append(thing)
        cost = story.work("*", count, price)
        if random.random() < 0.25:
            count, price = price, count
        parts.append(random.choice(_PRICED).format(a=count, p=price, o=thing))
        total = cost if index == 0 else story.work("+", total, cost)
    if len(set(objects)) < kinds:
        raise Unfit
    verb = random.choice(("buys", "orders", "pays for", "buys"))
    if kinds > 1 and random.random() < 0.5:
        sentences = [f"{person.name} {verb} {parts[0]}."]
        sentences += [f"{person.he.capitalize()} also buys {part}." for part in parts[1:]]
        story.sentences += sentences
    else:
        listed = parts[0] if kinds == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        story.sentences.append(f"{person.name} {verb} {listed}.")
    _till(story, person, total, extra)


def _till(story: Story, person: Person, total: int, extra: int) -> None:
    random = story.random
    words: dict[str, object] = {"n": person.name, "s": person.he.capitalize(), "he": person.he}
    if extra >= 2:
        number = draw_number(random, min(999, total - 1))
        if random.random() < 0.5:
            total = story.work("-", total, number)
            story.say("A coupon takes ${b} off.", "The shop takes ${b} off the price.", b=number, **words)
        else:
            total = story.work("+", total, number)
            story.say("Delivery costs ${b} more.", "{s} also pays ${b} for delivery.", b=number, **words)
    if not extra:
        story.ask(
            "dollars to pay",
            "How much does {n} pay in dollars?",
            "How many dollars does {n} spend?",
            "How much does {he} pay in all?",
            "What is the total cost in dollars?",
            "How much is that in all?",
            **words,
        )
        return
    if random.random() < 0.35:
        number = draw_divisor(story, total)
        story.work("/", total, number)
        story.say("The cost is shared equally by {k} people.", "{k} people share the cost equally.", k=number)
        story.ask("dollars for each", "How many dollars does each pay?", "How much does each one pay?", **words)
        return
    units = 10 ** (len(str(total)) - 1)
    purse = random.choice(((total // units + 1) * units, total + draw_number(random), total + draw_number(random)))
    story.work("-", purse, total)
    if random.random() < 0.3:
        story.sentences.insert(0, f"{person.name} has ${purse}.")
    else:
        story.say("{s} pays with ${x}.", "{n} has ${x}.", "{s} gives the seller ${x}.", x=purse, **words)
    story.ask(
        "dollars left",
        "How many dollars are left?",
        "How much change does {he} get?",
        "How much money does {n} have left?",
        "How many dollars does {n} have left?",
        **words,
    )
