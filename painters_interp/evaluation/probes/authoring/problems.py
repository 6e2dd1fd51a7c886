"""Word problems to be solved in writing, GSM8K at the size of a small model.

Three worked examples of the same kind come first, so that a small model knows how an answer is
written; their results differ from the right one, so that there is nothing to copy.
"""

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .item import NAMES, THINGS, Kinded, spread


@dataclass(frozen=True)
class Problem:
    """What is asked, and a worked answer that ends in `#### ` and the result, as in GSM8K."""

    question: str
    answer: str
    result: int


@dataclass(frozen=True)
class Item(Kinded):
    """A problem behind worked examples of its kind."""

    examples: str
    question: str
    answer: str


Draw = Callable[[random.Random], Problem]


def _problem(question: str, worked: str, result: int) -> Problem:
    return Problem(question, f"{worked} #### {result}", result)


def _sum(question: str, worked: str) -> Draw:
    """Two numbers to be added, in words with the places {one} {other} {things} {a} {b}."""

    def draw(rng: random.Random) -> Problem:
        (one, other), things = rng.sample(NAMES, 2), rng.choice(THINGS)
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        told = {"one": one, "other": other, "things": things, "a": a, "b": b}
        return _problem(
            question.format(**told), f"{worked.format(**told)} {a} + {b} = {a + b}.", a + b
        )

    return draw


def _lose(rng: random.Random) -> Problem:
    (one, other), things = rng.sample(NAMES, 2), rng.choice(THINGS)
    a = rng.randint(4, 12)
    b = rng.randint(2, a - 1)
    return _problem(
        f"{one} has {a} {things}. {one} gives {b} {things} to {other}. How many {things} are left?",
        f"{one} has {a} {things} and gives {b} away. {a} - {b} = {a - b}.",
        a - b,
    )


def _boxes(rng: random.Random) -> Problem:
    one, things = rng.choice(NAMES), rng.choice(THINGS)
    a, b = rng.randint(2, 5), rng.randint(2, 9)
    return _problem(
        f"{one} has {a} boxes. Each box holds {b} {things}. How many {things} does {one} have?",
        f"{one} has {a} boxes of {b} {things}. {a} * {b} = {a * b}.",
        a * b,
    )


def _two_steps(rng: random.Random) -> Problem:
    (one, other), things = rng.sample(NAMES, 2), rng.choice(THINGS)
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    c = rng.randint(2, a + b - 1)
    return _problem(
        f"{one} has {a} {things}. {other} gives {one} {b} more {things}. Then {one} loses {c} of "
        f"them. How many {things} does {one} have now?",
        f"{one} has {a} {things} and gets {b} more. {a} + {b} = {a + b}. "
        f"Then {one} loses {c}. {a + b} - {c} = {a + b - c}.",
        a + b - c,
    )


_KINDS: dict[str, tuple[int, Draw]] = {
    "gain": (
        24,
        _sum(
            "{one} has {a} {things}. {other} gives {one} {b} more {things}. "
            "How many {things} does {one} have now?",
            "{one} has {a} {things} and gets {b} more.",
        ),
    ),
    "lose": (24, _lose),
    "together": (
        24,
        _sum(
            "{one} has {a} {things} and {other} has {b} {things}. "
            "How many {things} do they have together?",
            "{one} has {a} {things} and {other} has {b}.",
        ),
    ),
    "more": (
        24,
        _sum(
            "{one} has {a} {things}. {other} has {b} {things} more than {one}. "
            "How many {things} does {other} have?",
            "{one} has {a} {things} and {other} has {b} more.",
        ),
    ),
    "boxes": (24, _boxes),
    "two_steps": (16, _two_steps),
}


def items(seed: int) -> list[Item]:
    """Draw the items; each kind has its own random stream, so a change to one leaves the others."""
    return [
        item for kind, (count, draw) in _KINDS.items() for item in _drawn(kind, count, draw, seed)
    ]


def _drawn(kind: str, count: int, draw: Draw, seed: int) -> list[Item]:
    rng = random.Random(f"problems:{kind}:{seed}")
    found: dict[str, Item] = {}
    while len(found) < count:
        asked = draw(rng)
        examples: list[Problem] = []
        while len(examples) < 3:
            shown = draw(rng)
            if shown.result not in (asked.result, *(example.result for example in examples)):
                examples.append(shown)
        worked = "\n\n".join(f"Question: {e.question}\nAnswer: {e.answer}" for e in examples)
        found.setdefault(asked.question, Item(kind, worked, asked.question, asked.answer))
    return list(found.values())


def jsonl(problems: list[Item], seed: int) -> str:
    """Return the file's text: items spread, so that its beginning stands for all of it."""
    rng = random.Random(f"arrange:{seed}")
    return "".join(json.dumps(asdict(item)) + "\n" for item in spread(problems, rng))
