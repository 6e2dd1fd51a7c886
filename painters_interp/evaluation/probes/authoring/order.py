"""Sequences to continue, repeat or look back at: another order of the words, another answer."""

import random
from collections.abc import Callable, Sequence
from string import ascii_uppercase

from .item import NAMES, NUMBERS, Item, distractors

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
_NOUNS = (
    "apple river candle horse window spoon tiger garden pencil bread castle button lemon "
    "bridge violin basket mirror rabbit hammer pillow ladder carrot bottle wagon"
).split()
_FOODS = "tea milk cake soup rice fish bread honey cheese pasta".split()
_CITIES = "Paris London Rome Berlin Madrid Vienna Athens Cairo Tokyo Moscow".split()
_ANIMALS = "lion bear wolf fox deer goat horse tiger camel rabbit".split()

# Sequences that people know, hand-written: shown | next | wrong answers, one or two of them shown.
_KNOWN = """
breakfast, lunch,|dinner|breakfast|lunch|bread
spring, summer, autumn,|winter|spring|summer|rain
past, present,|future|past|present|history
yesterday, today,|tomorrow|yesterday|today|never
second, minute, hour,|day|second|minute|clock
hour, day, week,|month|day|hour|minute
Mercury, Venus, Earth,|Mars|Venus|Mercury|Sun
one, ten, hundred,|thousand|ten|one|five
small, medium,|large|small|medium|tiny
bronze, silver,|gold|bronze|silver|iron
red, orange, yellow,|green|orange|red|pink
beginning, middle,|end|beginning|middle|start
bad, worse,|worst|bad|worse|better
alpha, beta,|gamma|alpha|beta|omega
low, medium,|high|low|medium|small
baby, child, teenager,|adult|baby|child|infant
inch, foot, yard,|mile|foot|inch|hand
north, east, south,|west|south|north|east
eat, ate,|eaten|eat|ate|eating
sing, sang,|sung|sing|sang|song
single, double,|triple|single|double|half
birth, life,|death|birth|life|child
solid, liquid,|gas|solid|liquid|ice
dawn, noon, dusk,|night|dawn|noon|dusk
"""

Draw = Callable[[random.Random], Item]


def _continue(kind: str, words: Sequence[str], *, step: int, shown: int, cyclic: bool) -> Draw:
    """Continue a stretch of a known sequence; wrong answers are other members of it."""
    reach = abs(step) * shown

    def draw(rng: random.Random) -> Item:
        if cyclic:
            start = rng.randrange(len(words))
        else:
            start = rng.randrange(len(words) - reach) + (0 if step > 0 else reach)
        *seen, right = (words[(start + step * i) % len(words)] for i in range(shown + 1))
        near = [w for w in words if abs(words.index(w) - words.index(right)) <= 7]
        return Item(kind, ", ".join(seen) + ",", right, distractors(rng, right, near))

    return draw


def _copy(rng: random.Random) -> Item:
    words = rng.sample(_NOUNS, 4)
    at = rng.randint(2, 3)
    question = f"{', '.join(words)}; {', '.join(words[:at])},"
    return Item("copy", question, words[at], distractors(rng, words[at], words))


def _pattern(rng: random.Random) -> Item:
    *cycle, other = rng.sample(_NOUNS, 4)
    length = rng.randint(6, 8)
    shown = ", ".join(cycle[i % 3] for i in range(length)) + ","
    right = cycle[length % 3]
    return Item("pattern", shown, right, distractors(rng, right, [*cycle, other]))


def _story(rng: random.Random) -> Item:
    name = rng.choice(NAMES)
    opening, words, thing = rng.choice(
        [
            (f"First {name} had", _FOODS, "thing"),
            (f"First {name} went to", _CITIES, "city"),
            (f"First {name} saw a", _ANIMALS, "animal"),
        ]
    )
    told = rng.sample(words, 4)
    which, right = rng.choice([("first", told[0]), ("last", told[-1])])
    then = ", then a " if thing == "animal" else ", then "
    the = " the" if thing == "animal" or (thing, which) == ("thing", "last") else ""
    question = f"{opening} {then.join(told)}. The {which} {thing} was{the}"
    return Item(f"story_{which}", question, right, distractors(rng, right, told))


_KINDS: list[tuple[int, Draw]] = [
    (7, _continue("calendar", _DAYS, step=1, shown=3, cyclic=True)),
    (9, _continue("calendar", _MONTHS, step=1, shown=3, cyclic=True)),
    (7, _continue("calendar_skip", _DAYS, step=2, shown=3, cyclic=True)),
    (11, _continue("calendar_skip", _MONTHS, step=2, shown=4, cyclic=True)),
    (8, _continue("letters", ascii_uppercase, step=1, shown=4, cyclic=False)),
    (8, _continue("letters_skip", ascii_uppercase, step=2, shown=4, cyclic=False)),
    (8, _continue("number_words", NUMBERS, step=2, shown=4, cyclic=False)),
    (8, _continue("number_words_down", NUMBERS, step=-1, shown=4, cyclic=False)),
    (5, _continue("ordinals", _ORDINALS, step=1, shown=3, cyclic=False)),
    (18, _copy),
    (15, _pattern),
    (16, _story),
]


def items(seed: int) -> list[Item]:
    """Draw the items; each row of the table has its own random stream."""
    drawn: dict[str, Item] = {}
    for row, (count, draw) in enumerate(_KINDS):
        rng = random.Random(f"order:{row}:{seed}")
        target = len(drawn) + count
        while len(drawn) < target:
            item = draw(rng)
            drawn.setdefault(item.question, item)
    known = (line.split("|") for line in _KNOWN.split("\n") if line)
    return [*drawn.values(), *(Item("known", q, right, tuple(wrong)) for q, right, *wrong in known)]
