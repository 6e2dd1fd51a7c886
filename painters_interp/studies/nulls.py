"""What a search finds where there is nothing to find: as many random plans of the same cost."""

import random
from collections.abc import Iterable
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from ..plans import Plan, Step
from .claims import Claim, Quantity, Sampled


def scattered(n: int, searched: Iterable[tuple[int, str]], seed: int = 0) -> pd.DataFrame:
    """A plan for every one searched: as many layers, anywhere, each repeated where it stands.

    Args:
        n: Number of layers.
        searched: How many layers each plan repeats, and how: "*2", "@0.5*3".
        seed: Of the layers that are drawn.

    Returns:
        Labelled plans ("random"), of as many layer calls; the intact model is not among them.
    """
    draw = random.Random(seed)
    rows = []
    for count, how in searched:
        chosen = {*draw.sample(range(n), count)}
        text = " ".join(f"{i}{how}" if i in chosen else str(i) for i in range(n))
        rows.append({"variant": "random", "affected": count, "plan": str(Plan.parse(text, n))})
    return pd.DataFrame(rows).assign(n_layers=n).drop_duplicates("plan", ignore_index=True)


def thinned(n: int, count: int, most: int, seed: int = 0) -> list[Plan]:
    """Different plans without `count` of `n` layers, drawn by chance; all where there are fewer."""
    draw = random.Random(seed)
    if comb(n, count) <= most:
        drawn = [*combinations(range(n), count)]
    else:
        sets: dict[tuple[int, ...], None] = {}
        while len(sets) < most:
            sets[tuple(sorted(draw.sample(range(n), count)))] = None
        drawn = [*sets]
    return [Plan(map(Step.of, np.setdiff1d(range(n), gone).tolist()), n) for gone in drawn]


def beaten(best: Quantity, null: Sampled, chosen: int, told: str) -> Claim:
    """That the best of a search saves more on fresh texts than the best of the random plans.

    `null` is what the random plans save on fresh texts; `chosen` the one that saved most before.
    """
    tried = len(null.values)
    return Claim(
        f"{told} saves more on fresh texts than the best of {tried} random repeats of the same "
        f"cost, {null.rows['plan'].iloc[chosen]}: difference",
        "no null reported",
        best - null.at([chosen]).mean(),
        above=0,
        tried=2 * tried,
    )
