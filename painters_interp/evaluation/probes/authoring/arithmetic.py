"""Small sums and number sequences: what the right answer is depends on the order of the tokens.

Most items show one worked example first, so that a small model knows what is asked.
"""

import random
from collections.abc import Callable, Sequence

from .item import NUMBERS, THINGS, Item, distractors

_WORDS = ["zero", *NUMBERS]

Draw = Callable[[random.Random], Item]


def _numbers(rng: random.Random, kind: str, question: str, right: int, near: Sequence[int]) -> Item:
    candidates = [str(n) for n in near if n >= 0]
    return Item(kind, question, str(right), distractors(rng, str(right), candidates))


def _sum(kind: str, template: str, sign: int) -> Draw:
    """``template`` has the places {a} {b} {r}; what follows {r} separates example and question."""
    stem, end = template.split("{r}")

    def pair(rng: random.Random) -> tuple[int, int]:
        a = rng.randint(3, 9)
        return a, rng.randint(1, 9) if sign > 0 else rng.randint(1, a - 1)

    def draw(rng: random.Random) -> Item:
        shown, asked = pair(rng), pair(rng)
        while shown[0] + sign * shown[1] == asked[0] + sign * asked[1]:  # nothing to copy
            asked = pair(rng)
        (c, d), (a, b) = shown, asked
        r = a + sign * b
        question = stem.format(a=c, b=d) + str(c + sign * d) + end + stem.format(a=a, b=b).rstrip()
        return _numbers(rng, kind, question, r, [r - 2, r - 1, r + 1, r + 2, a, b])

    return draw


def _tens(rng: random.Random) -> Item:
    (c, a), (d, b) = rng.sample(range(1, 9), 2), rng.sample(range(1, 10), 2)
    r = 10 * a + b
    question = f"{10 * c} + {d} = {10 * c + d}, {10 * a} + {b} ="
    return _numbers(rng, "tens", question, r, [r + 10, r - 10, 10 * a, 10 * b + a, 10 * c + b])


def _one_more(rng: random.Random) -> Item:
    a, b = rng.sample(range(2, 20), 2)
    question = f"One more than {a} is {a + 1}. One more than {b} is"
    return _numbers(rng, "one_more", question, b + 1, [b - 1, b, b + 2, b + 3, a + 1])


def _things(rng: random.Random) -> Item:
    thing, a, b = rng.choice(THINGS), rng.randint(1, 6), rng.randint(2, 6)
    r = a + b
    noun = thing if a > 1 else thing.removesuffix("s")
    question = (
        "One dog and two dogs make three dogs. "
        f"{_WORDS[a].capitalize()} {noun} and {_WORDS[b]} {thing} make"
    )
    near = [_WORDS[n] for n in (r - 2, r - 1, r + 1, r + 2, a, b)]
    return Item("things", question, _WORDS[r], distractors(rng, _WORDS[r], near))


def _sequence(kind: str, steps: Sequence[int]) -> Draw:
    def draw(rng: random.Random) -> Item:
        step = rng.choice(steps)
        start = rng.randint(1, 12) + (0 if step > 0 else -4 * step)
        shown, r = [start + step * i for i in range(4)], start + step * 4
        near = [r - 2, r - 1, r + 1, r + 2, r + step, shown[-1], shown[-2]]
        return _numbers(rng, kind, ", ".join(map(str, shown)) + ",", r, near)

    return draw


_KINDS: dict[str, tuple[int, Draw]] = {
    "add": (24, _sum("add", "{a} + {b} = {r}, ", +1)),
    "subtract": (24, _sum("subtract", "{a} - {b} = {r}, ", -1)),
    "plus": (10, _sum("plus", "{a} plus {b} is {r}. ", +1)),
    "minus": (10, _sum("minus", "{a} minus {b} is {r}. ", -1)),
    "tens": (12, _tens),
    "one_more": (8, _one_more),
    "things": (8, _things),
    "count_up": (22, _sequence("count_up", (2, 3, 4, 10))),
    "count_down": (14, _sequence("count_down", (-1, -2, -3))),
}


def items(seed: int) -> list[Item]:
    """Draw the items; each kind has its own random stream, so a change to one leaves the others."""
    drawn: dict[str, Item] = {}
    for kind, (count, draw) in _KINDS.items():
        rng = random.Random(f"arithmetic:{kind}:{seed}")
        target = len(drawn) + count
        while len(drawn) < target:
            item = draw(rng)
            drawn.setdefault(item.question, item)
    return list(drawn.values())
