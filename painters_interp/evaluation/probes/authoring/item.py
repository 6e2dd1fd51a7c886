"""A multiple-choice item, and how a set of them becomes a file."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

NAMES = "Tom Anna Ben Mary Sam Lucy Jack Emma Paul Kate Omar Rosa".split()
THINGS = "apples coins books eggs pens cups cards balls bells stones".split()
NUMBERS = (  # from one to twenty
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()


@dataclass(frozen=True)
class Kinded:
    """An item; `kind` says what it is about."""

    kind: str


AnyItem = TypeVar("AnyItem", bound=Kinded)


@dataclass(frozen=True)
class Item(Kinded):
    """One question. An empty one: the choices stand alone."""

    question: str
    right: str
    wrong: tuple[str, ...]

    def __post_init__(self) -> None:
        if len({self.right, *self.wrong}) != 1 + len(self.wrong):
            raise ValueError(f"choices repeat in {self}")


def distractors(rng: random.Random, right: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """Draw three different wrong answers."""
    pool = list(dict.fromkeys(c for c in candidates if c != right))
    return tuple(rng.sample(pool, 3))


def spread(items: Sequence[AnyItem], rng: random.Random) -> list[AnyItem]:
    """Shuffle so that every beginning of the list has each kind in about its overall share.

    ``--limit 32`` takes the first items of a file, and those should stand for all of it.
    """
    shuffled = rng.sample(items, len(items))
    totals = Counter(item.kind for item in shuffled)
    offsets = {kind: rng.random() for kind in sorted(totals)}
    seen: Counter[str] = Counter()
    places = []
    for item in shuffled:
        places.append((seen[item.kind] + offsets[item.kind]) / totals[item.kind])
        seen[item.kind] += 1
    return [shuffled[i] for i in sorted(range(len(items)), key=places.__getitem__)]


def jsonl(items: Sequence[Item], kind: str, seed: int) -> str:
    """Return the file's text: items spread, choices shuffled, each place right equally often.

    ``kind`` is the name of the column that holds an item's kind.
    """
    rng = random.Random(f"arrange:{seed}")
    golds: list[int] = []
    lines = []
    for item in spread(items, rng):
        if not golds:
            golds = rng.sample(range(1 + len(item.wrong)), 1 + len(item.wrong))
        gold = golds.pop()
        choices = rng.sample(item.wrong, len(item.wrong))
        choices.insert(gold, item.right)
        row: dict[str, object] = {kind: item.kind}
        if item.question:
            row["question"] = item.question
        lines.append(json.dumps(row | {"choices": choices, "gold": gold}, ensure_ascii=False))
    return "\n".join(lines) + "\n"
