"""Greedy search and beam search over plans: rounds of edits, the best of which go on.

First down to the budget, by edits that save calls; then within it, by all that do not exceed it,
as long as they help.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ..arguments import counting
from ..errors import PlanError
from ..notices import NOT_FINITE
from ..plans import Plan
from .edits import edited

# What plans cost, less is better; NaN where that is not known.
Cost = Callable[[Sequence[Plan]], Float[np.ndarray, " plan"]]
COLUMNS = ("round", "edit", "parent", "plan", "calls", "depth", "cost", "kept")


@dataclass(frozen=True, eq=False)
class Rounds:
    """What was tried, in order: round, edit, parent, plan, calls, depth, cost, kept."""

    trace: pd.DataFrame
    best: Plan
    cost: float

    @property
    def winners(self) -> pd.DataFrame:
        """The best plan of every round that kept one."""
        kept = self.trace[self.trace["kept"].to_numpy(dtype=bool)]
        return kept.sort_values(["round", "cost"], kind="stable").drop_duplicates("round")


@counting(calls=1, width=1, rounds=0)
def explored(
    start: Plan,
    calls: int,
    edits: Sequence[str],
    cost: Cost,
    width: int = 1,
    rounds: int | None = None,
) -> Rounds:
    """Search from `start` for a cheap plan of at most `calls` layer calls.

    Args:
        start: where it begins.
        calls: the budget.
        edits: names out of `edits.EDITS`.
        cost: scores all candidates of a round together, so that they share their beginnings.
        width: how many plans of a round go on; 1 is greedy.
        rounds: how many more there may be once the budget is met; as many as help, if None.

    Returns:
        The best plan within the budget, its cost, and the trace.

    Raises:
        PlanError: where no edit leads into the budget, or every cost is NaN.

    Example:
        >>> whole = painters.Plan("0-2", 3)
        >>> costs = lambda plans: np.array([float(len(plan.calls)) for plan in plans])
        >>> len(explored(whole, 2, ["drop"], costs, rounds=0).best.calls)
        2
    """
    beam = [(start, float(cost([start])[0]))]
    rows: list[dict[str, Any]] = [_row(0, "start", None, start, beam[0][1], True)]
    best = beam[0] if len(start.calls) <= calls else None
    number, spent = 0, 0
    while best is None or rounds is None or spent < rounds:
        spent += best is not None
        number += 1
        candidates = _candidates([plan for plan, _ in beam], edits, calls)
        if not candidates:
            break
        found = cost([plan for _, _, plan in candidates])
        order = [int(i) for i in np.argsort(found, kind="stable") if not np.isnan(found[i])]
        kept = order[:width]
        if best is not None:
            kept = [i for i in kept if found[i] < best[1]]
        for i, (edit, parent, plan) in enumerate(candidates):
            rows.append(_row(number, edit, parent, plan, float(found[i]), i in kept))
        if not kept:
            break
        beam = [(candidates[i][2], float(found[i])) for i in kept]
        inside = [one for one in beam if len(one[0].calls) <= calls]
        if inside and (best is None or inside[0][1] < best[1]):
            best = inside[0]
    if best is None and rows[-1]["round"] and np.isnan([row["cost"] for row in rows[1:]]).all():
        raise PlanError(f"every plan that the edits lead to costs NaN: {NOT_FINITE}")
    if best is None:
        raise PlanError(
            f"the edits {', '.join(edits)} lead from {len(start.calls)} layer calls to no plan of "
            f"{calls}; add drop"
        )
    return Rounds(pd.DataFrame(rows, columns=list(COLUMNS)), *best)


def _row(
    number: int, edit: str, parent: Plan | None, plan: Plan, cost: float, kept: bool
) -> dict[str, Any]:
    values = (number, edit, "" if parent is None else str(parent), str(plan), len(plan.calls))
    return dict(zip(COLUMNS, (*values, plan.depth, cost, kept), strict=True))


def _candidates(
    beam: Sequence[Plan], edits: Sequence[str], calls: int
) -> list[tuple[str, Plan, Plan]]:
    """What to try next: edit, plan before, plan after; no plan twice, none of the beam's own."""
    found: dict[Plan, tuple[str, Plan, Plan]] = {}
    for plan in beam:
        for edit, other in edited(plan, edits):
            if _allowed(plan, other, calls) and _leads_on(other, edits, calls):
                found.setdefault(other, (edit, plan, other))
    return [one for plan, one in found.items() if plan not in beam]


def _allowed(plan: Plan, other: Plan, calls: int) -> bool:
    """Over the budget edits save calls, and not more than need be; within, they stay there."""
    now, then = len(plan.calls), len(other.calls)
    return calls <= then < now if now > calls else then <= calls


def _leads_on(plan: Plan, edits: Sequence[str], calls: int) -> bool:
    """Whether a plan is within the budget, or some edit brings it nearer: else it is a dead end."""
    nearer = (_allowed(plan, other, calls) for _, other in edited(plan, edits))
    return len(plan.calls) <= calls or any(nearer)


def at_random(
    start: Plan, calls: int, edits: Sequence[str], further: int, seed: int
) -> Iterator[Plan]:
    """Plans of so many calls that edits drawn by chance lead to, `further` ones from there on."""
    rng = random.Random(seed)
    while True:
        plan, left = start, further
        while len(plan.calls) > calls or left > 0:
            left -= len(plan.calls) <= calls
            by_edit: dict[str, list[Plan]] = {}
            for edit, other in edited(plan, edits):
                allowed = _allowed(plan, other, calls) and len(other.calls) >= calls
                if allowed and _leads_on(other, edits, calls):
                    by_edit.setdefault(edit, []).append(other)
            if not by_edit:
                break
            plan = rng.choice(by_edit[rng.choice([*by_edit])])
        yield plan
