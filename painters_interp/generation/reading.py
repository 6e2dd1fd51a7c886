"""Prompts read under many plans: beginnings of plans and of prompts are computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..execution.faces import Face
from ..execution.layer_arguments import Arguments
from ..execution.slots import OpenSteps, output_of
from ..plans import Call, Plan, Step, turns
from ..progress import Advance
from .rooms import Room, as_cache, past_of
from .trie import Level

# Is shown plans, the number of their call, and the rooms that it has filled, one for each level.
Keep = Callable[[Sequence[int], int, Sequence[Room]], object]


@dataclass(frozen=True, eq=False)
class Padded:
    """Rows of token ids, padded on the left, with their mask and positions."""

    tokens: Int[Tensor, "row column"]
    mask: Int[Tensor, "row column"]
    positions: Int[Tensor, "row column"]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> "Padded":
        """`rows` with all their ends in the last column."""
        width = max(map(len, rows))
        tokens = [[pad] * (width - len(row)) + [*row] for row in rows]
        real = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        mask = torch.tensor(real, device=device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return cls(torch.tensor(tokens, device=device), mask, positions)

    def then(self, tokens: Int[Tensor, " row"]) -> "Padded":
        """The rows with one more token each."""
        return Padded(
            torch.cat([self.tokens, tokens[:, None]], dim=1),
            torch.cat([self.mask, torch.ones_like(tokens[:, None])], dim=1),
            torch.cat([self.positions, self.positions[:, -1:] + 1], dim=1),
        )

    def at(self, rows: Int[Tensor, " row"]) -> "Padded":
        """Some of the rows."""
        return Padded(self.tokens[rows], self.mask[rows], self.positions[rows])

    def inputs(self, face: Face, new: int) -> dict[str, Any]:
        """What the model is called with to read the last `new` columns behind the others.

        The same that its own `generate` calls it with.
        """
        root = face.root
        told = "position_ids" in signature(root.forward).parameters
        inputs: dict[str, Any] = root.prepare_inputs_for_generation(
            self.tokens,
            next_sequence_length=new,
            past_key_values=past_of(root.config, self.tokens.shape[1] - new, self.tokens.device),
            attention_mask=self.mask,
            use_cache=True,
            **({"position_ids": self.positions} if told else {}),
        )
        return {**inputs, "return_dict": True}


def read(
    face: Face,
    plans: Sequence[Plan],
    levels: Sequence[Level],
    windows: Sequence[int | None],
    pad: int,
    keep: Keep,
    advance: Advance,
) -> Float[Tensor, "plan row d_model"]:
    """The streams after the last token of every prompt: the rows of the last level.

    `keep` is shown what each call leaves. `advance` is told what token-layer calls are spared
    or made: as many as plan by plan.
    """
    recorded = [_recorded(face, level, pad) for level in levels]
    rows, columns, _ = recorded[-1].stream.shape
    final: dict[int, Tensor] = {}
    # A stack, not recursion: plans may be thousands of steps deep. The streams behind a step are
    # computed when it is taken off, so that one of them is alive for each fork on the way.
    waiting = [_Beginning(tuple(range(len(plans))), 0, 0, [level.stream for level in recorded])]
    while waiting:
        here = waiting.pop()
        streams = here.streams
        if here.depth:
            step = plans[here.plans[0]].steps[here.depth - 1]
            left = _Left(keep, here.plans, here.calls - step.size)
            streams = _after(face, step, recorded, streams, windows, left)
            advance(len(here.plans) * step.size * rows * columns)
        going: dict[Step, list[int]] = {}
        for plan in here.plans:
            if here.depth == len(plans[plan].steps):
                final[plan] = streams[-1][:, -1]
            else:
                going.setdefault(plans[plan].steps[here.depth], []).append(plan)
        waiting += [
            _Beginning(tuple(group), here.depth + 1, here.calls + step.size, streams)
            for step, group in reversed(going.items())
        ]
    return torch.stack([final[plan] for plan in range(len(plans))])


@dataclass(frozen=True, eq=False)
class _Beginning:
    """Plans that begin alike with so many steps and calls, and what the last of these reads."""

    plans: tuple[int, ...]
    depth: int
    calls: int
    streams: list[Tensor]


@dataclass(frozen=True, eq=False)
class _Left:
    """Shows what the members of a step have left, whose first is the call `first` of `plans`."""

    keep: Keep
    plans: tuple[int, ...]
    first: int

    def __call__(self, member: int, rooms: Sequence[Room]) -> None:
        self.keep(self.plans, self.first + member, rooms)


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A level as the layers see it."""

    level: Level
    stream: Float[Tensor, "row new d_model"]
    calls: tuple[Arguments, ...]


def _recorded(face: Face, level: Level, pad: int) -> _Recorded:
    batch = Padded.of([row.tokens for row in level.rows], pad, face.device)
    return _Recorded(level, *face.recorded(batch.inputs(face, level.new)))


def _after(
    face: Face,
    step: Step,
    recorded: Sequence[_Recorded],
    streams: Sequence[Tensor],
    windows: Sequence[int | None],
    left: _Left,
) -> list[Tensor]:
    """The streams of all levels behind a step."""
    steps, streams = [OpenSteps() for _ in recorded], [*streams]
    for member, (call, turn) in enumerate(zip(step.calls, turns(step), strict=True)):
        rooms: list[Room] = []
        for index, (level, open_steps) in enumerate(zip(recorded, steps, strict=True)):
            room = _behind([r.level for r in recorded], rooms, windows[call.layer])
            open_steps.begin(turn, streams[index])
            output = called(face, call, streams[index], level.calls[call.layer], room)
            streams[index] = open_steps.end(turn, output)
            rooms.append(room)
        left(member, rooms)
    return streams


def called(face: Face, call: Call, stream: Tensor, arguments: Arguments, room: Room) -> Tensor:
    """What a layer, or half of it, makes of `stream`; it reads and writes `room`."""
    given = arguments.with_cache(as_cache(room))
    with room.attending():
        return output_of(face.blocks[call.layer], call.half, stream, given)


def _behind(levels: Sequence[Level], rooms: Sequence[Room], window: int | None) -> Room:
    """A room for the level after those of `rooms`, that knows what its rows need of them."""
    level = levels[len(rooms)]
    room, past = Room(level.width, window), level.width - level.new
    for index, row in enumerate(level.rows):
        known = level.past(row)
        if not known or row.parent is None:
            continue
        above, place = row.parent
        parent = rooms[above]
        if not room.is_initialized:
            room.make(len(level.rows), parent.keys, parent.values)
        # Rows end in the last column: the parent's begins so many tokens before it.
        start = levels[above].width - len(levels[above].rows[place].tokens)
        keys, values = (
            kept[place, ..., start : start + known, :] for kept in (parent.keys, parent.values)
        )
        room.take(index, keys, values, past)
    room.holds(past)
    return room
