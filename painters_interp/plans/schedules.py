"""Many plans as one sequence of layers, each of which several plans take together.

Sharing beginnings saves work; a schedule saves passes over the weights. With one token a row, a
call of a layer costs about as much for a hundred rows as for one.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Int

from .notation import Half
from .value import Call, Plan

Taken = Int[np.ndarray, " sequence"]

# Entries times distinct plans that are looked at to shorten a schedule: half a gigabyte.
_MOST_CELLS = 2**27


@dataclass(frozen=True)
class Entry:
    """One layer, or half of it, called once for all `takers`: (index of a plan, of its call)."""

    layer: int
    half: Half | None
    takers: tuple[tuple[int, int], ...]

    @property
    def plans(self) -> tuple[int, ...]:
        """Indices of the plans that take this entry, in order; none is there twice."""
        return tuple(plan for plan, _ in self.takers)


@dataclass(frozen=True, repr=False)
class Schedule(Sequence[Entry]):
    """Entries in order: every plan finds its calls in them, in its own order, one an entry."""

    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | Sequence[Entry]:
        return self.entries[place]

    def __repr__(self) -> str:
        calls = sum(len(entry.takers) for entry in self.entries)
        return f"<Schedule of {len(self):,} entries for {calls:,} calls>"


def schedule(plans: Sequence[Plan]) -> Schedule:
    """A common supersequence of the layers that the plans call: few entries, all plans served.

    A weighted majority merge, from which every entry is then taken that all plans can do without.
    The shortest one is NP-hard to find; this one has 60 entries for the 60 single-layer plans of
    30 layers (1,770 calls), and 816 for the paper's 626 plans (103,200 calls), of which the
    longest makes 813.

    Args:
        plans: Plans of one model, equal ones too, and of any length.

    Returns:
        The entries, each a layer with the plans that take it; none for no plans.

    Example:
        >>> from painters_interp import Plan
        >>> len(schedule([Plan.parse("0-2", 3), Plan.parse("0 2", 3)]).entries)
        3
    """
    calls = [plan.calls for plan in plans]
    distinct = [*dict.fromkeys(calls)]
    order = sorted({call for sequence in distinct for call in sequence})
    number = {call: k for k, call in enumerate(order)}
    table = _Table([[number[call] for call in sequence] for sequence in distinct])
    merged = _merged(table.sequences)
    if len(merged) * len(distinct) <= _MOST_CELLS:
        merged = _pruned(merged, table)
    return Schedule(tuple(_entries([order[k] for k in merged], calls)))


def entries_of(schedule: Schedule, plans: Sequence[Plan]) -> tuple[tuple[int, ...], ...]:
    """For each plan and call the index of the entry that makes it."""
    found = [[-1] * len(plan.calls) for plan in plans]
    for index, entry in enumerate(schedule):
        for plan, call in entry.takers:
            found[plan][call] = index
    return tuple(map(tuple, found))


def _merged(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Next is always the layer for which the plans wait that have most calls left, together.

    Squares of what is left: plans that have far to go should not wait for many that have not.
    """
    taken = [0] * len(sequences)
    waiting: defaultdict[int, set[int]] = defaultdict(set)
    weights: defaultdict[int, int] = defaultdict(int)
    merged = []

    def wait(plan: int) -> None:
        if left := len(sequences[plan]) - taken[plan]:
            layer = sequences[plan][taken[plan]]
            waiting[layer].add(plan)
            weights[layer] += left**2

    for plan in range(len(sequences)):
        wait(plan)
    while weights:
        # Of equal weights the lowest layer, so that equal tables have equal schedules.
        layer = min(weights, key=lambda layer: (-weights[layer], layer))
        del weights[layer]
        merged.append(layer)
        for plan in waiting.pop(layer):
            taken[plan] += 1
            wait(plan)
    return merged


class _Table:
    """Sequences as the rows of an array, each ended by -1, which is no layer."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.sequences = sequences
        self.lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int32)
        self.cells = np.full((len(sequences), max(self.lengths, default=0) + 1), -1, np.int32)
        self.rows = np.arange(len(sequences))
        for row, sequence in zip(self.cells, sequences, strict=True):
            row[: len(sequence)] = sequence

    def backwards(self) -> "_Table":
        return _Table([sequence[::-1] for sequence in self.sequences])

    def after(self, entry: int, taken: Taken) -> Taken:
        """How many calls of each sequence are made after one more entry."""
        more: Taken = taken + (self.cells[self.rows, taken] == entry)
        return more


def _pruned(merged: list[int], table: _Table) -> list[int]:
    """Without the entries that all sequences can do without, from either end until none is left."""
    backwards = table.backwards()
    while True:
        once = _without_idle(merged, table, backwards)
        both = _without_idle(once[::-1], backwards, table)[::-1]
        if len(both) == len(merged):
            return both
        merged = both


def _without_idle(merged: list[int], table: _Table, backwards: _Table) -> list[int]:
    """An entry is idle if what fits before it and what fits after it is all of every sequence."""
    later = [np.zeros_like(table.lengths)]  # calls that fit into the entries after each one
    for entry in reversed(merged):
        later.append(backwards.after(entry, later[-1]))
    later.pop()
    earlier, kept = np.zeros_like(table.lengths), []
    for entry in merged:
        if (earlier + later.pop() < table.lengths).any():
            kept.append(entry)
            earlier = table.after(entry, earlier)
    return kept


def _entries(merged: Sequence[Call], calls: Sequence[Sequence[Call]]) -> Iterator[Entry]:
    """Every plan takes the first entry that it can."""
    waiting: defaultdict[Call, list[tuple[int, int]]] = defaultdict(list)
    for plan, sequence in enumerate(calls):
        waiting[sequence[0]].append((plan, 0))
    for call in merged:
        takers = sorted(waiting.pop(call))
        yield Entry(call.layer, call.half, tuple(takers))
        for plan, place in takers:
            if place + 1 < len(calls[plan]):
                waiting[calls[plan][place + 1]].append((plan, place + 1))
