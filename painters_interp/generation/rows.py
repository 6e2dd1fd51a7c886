"""One more token for every row, all plans together: each entry of a schedule is one layer call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..execution.faces import Face
from ..execution.layer_arguments import Arguments
from ..plans import Call, Entry, Plan, Schedule, Turn, groups, turns
from ..plans.schedules import entries_of
from .reading import called
from .rooms import Room, average
from .selection import axes, selected

Numbers = Int[Tensor, " row"]


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of an entry whose output has the same part in their steps.

    `own` are their places in the entry, `rows` in the batch.
    """

    turn: Turn
    own: Numbers
    rows: Numbers

    def put_back(
        self, streams: Tensor, open_steps: "_OpenSteps", read: Tensor, out: Tensor
    ) -> None:
        """Give the output its part, in the same arithmetic as one plan alone."""
        open_steps.begin(self.turn, self.rows, read[self.own])
        streams[self.rows] = open_steps.end(self.turn, self.rows, out[self.own])


class _OpenSteps:
    """The steps that are open in each row, one inside the other, as `OpenSteps` has them of one."""

    def __init__(self, streams: Tensor) -> None:
        self._streams = streams
        self._kept: list[Tensor] = []  # at each level what branches read
        self._sums: list[Tensor] = []  # and what they add

    def begin(self, turn: Turn, rows: Numbers, read: Tensor) -> None:
        """The calls of `rows`, whose part is `turn`, have read `read`."""
        for level in range(turn.level, turn.level + turn.opens):
            while len(self._kept) <= level:
                self._kept.append(torch.zeros_like(self._streams))
                self._sums.append(torch.zeros_like(self._streams))
            self._kept[level][rows], self._sums[level][rows] = read, 0

    def end(self, turn: Turn, rows: Numbers, output: Tensor) -> Tensor:
        """What these rows read next."""
        level = turn.level + turn.opens
        for scale in turn.closes:
            level -= 1
            kept = self._kept[level][rows]
            output = kept + scale * (self._sums[level][rows] + (output - kept))
        if not turn.waits:
            return output
        kept = self._kept[level - 1][rows]
        self._sums[level - 1][rows] += output - kept
        return kept


@dataclass(frozen=True, eq=False)
class _Served:
    """The rows that an entry serves, where those of each plan are among them, and their parts."""

    rows: Numbers
    spans: dict[int, slice]
    parts: list[_Part]


class Rows:
    """Texts that are being written: rows (plan, prompt), plan by plan, and an entry's room each."""

    def __init__(
        self,
        face: Face,
        plans: Sequence[Plan],
        schedule: Schedule,
        prompts: int,
        rooms: Sequence[Room],
    ) -> None:
        self._face, self._schedule, self._rooms = face, schedule, rooms
        self._turns = [[turn for step in plan.steps for turn in turns(step)] for plan in plans]
        self._groups = [groups(plan) for plan in plans]
        self._entries = entries_of(schedule, plans)
        self._plan_of = [plan for plan in range(len(plans)) for _ in range(prompts)]
        self._where: list[Any] = []
        self._lay_out()

    def __len__(self) -> int:
        return len(self._plan_of)

    @property
    def calls(self) -> int:
        """Layer calls that a token of every row takes."""
        return sum(len(self._turns[plan]) for plan in self._plan_of)

    def learn(self, two: Sequence[Arguments], three: Sequence[Arguments]) -> None:
        """Where rows are in a layer's arguments, from recordings of two and of three."""
        self._where = [axes(a, b) for a, b in zip(two, three, strict=True)]

    def fill(self, plans: Sequence[int], call: int, rooms: Sequence[Room]) -> None:
        """Take over what the prompts have left in `rooms`, the same under all these plans."""
        taking: dict[int, list[int]] = {}
        for plan in plans:
            taking.setdefault(self._entries[plan][call], []).append(plan)
        for entry, some in taking.items():
            served = self._served[entry]
            spans = [served.spans[plan] for plan in some]
            self._rooms[entry].fill(spans, len(served.rows), rooms)

    def settle(self) -> None:
        """All prompts have been read."""
        for room in self._rooms:
            room.settle()

    def run(
        self, stream: Float[Tensor, "row 1 d_model"], calls: tuple[Arguments, ...]
    ) -> Float[Tensor, "row 1 d_model"]:
        """The streams of all rows behind their plans, from embeddings and layers' arguments."""
        streams, open_steps = stream.clone(), _OpenSteps(stream)
        for entry, served, room in zip(self._schedule, self._served, self._rooms, strict=True):
            if not len(served.rows):
                continue
            given = calls[entry.layer]
            if len(served.rows) < len(self):
                given = selected(given, self._where[entry.layer], served.rows)
            read = streams[served.rows]
            output = called(self._face, Call(entry.layer, entry.half), read, given, room)
            for part in served.parts:
                part.put_back(streams, open_steps, read, output)
        return streams

    def average(self, new: int) -> None:
        """Give the members of every group the mean of their last `new` keys and values.

        Each reads its own only once the next token comes, so this is done for all at the end.
        """
        for plan in dict.fromkeys(self._plan_of):
            for group in self._groups[plan]:
                entries = [self._entries[plan][call] for call in group]
                places = [(self._rooms[e], self._served[e].spans[plan]) for e in entries]
                end = places[0][0].get_seq_length()
                average(places, end - new, end)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, which are in order."""
        kept = set(rows)
        for room, served in zip(self._rooms, self._served, strict=True):
            own = [k for k, row in enumerate(served.rows.tolist()) if row in kept]
            room.keep(self._numbers(own))
        self._plan_of = [self._plan_of[row] for row in rows]
        self._lay_out()

    def _lay_out(self) -> None:
        """Which rows each entry serves, and what becomes of its output."""
        rows_of: list[list[int]] = [[] for _ in self._turns]
        for row, plan in enumerate(self._plan_of):
            rows_of[plan].append(row)
        self._served = [self._serving(entry, rows_of) for entry in self._schedule]

    def _serving(self, entry: Entry, rows_of: Sequence[Sequence[int]]) -> _Served:
        rows: list[int] = []
        spans: dict[int, slice] = {}
        members: dict[Turn, list[int]] = {}
        for plan, call in entry.takers:
            spans[plan] = slice(len(rows), len(rows) + len(rows_of[plan]))
            own = members.setdefault(self._turns[plan][call], [])
            own += range(len(rows), len(rows) + len(rows_of[plan]))
            rows += rows_of[plan]
        parts = [
            _Part(turn, self._numbers(own), self._numbers([rows[place] for place in own]))
            for turn, own in members.items()
        ]
        return _Served(self._numbers(rows), spans, parts)

    def _numbers(self, numbers: Sequence[int]) -> Numbers:
        return torch.tensor(numbers, dtype=torch.long, device=self._face.device)
