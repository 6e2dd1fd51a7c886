"""Keys and values that many rows see, kept once and read once for all of them.

Texts that begin alike, under plans that begin alike, know the same of their beginnings: attention
is over pieces that belong to several rows, and over what each row has written itself.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UnsupportedModelError
from ..execution.fused import attention_by
from .rooms import Room
from .trie import Level


@dataclass(frozen=True, eq=False)
class Layout:
    """Pieces of prompts, one for each level on which they are read, side by side in `pieces`.

    `sharers` are the prompts to which a row of a level belongs. `places` says which column of a
    text stands in each column of its pieces, -1 for none, of which there are `gaps`; new tokens
    come behind them.
    """

    width: int
    pieces: tuple[slice, ...]
    sharers: tuple[tuple[tuple[int, ...], ...], ...]
    places: Int[Tensor, "prompt column"]
    gaps: bool


def laid_out(levels: Sequence[Level], new: int, device: torch.device) -> Layout:
    """Where what is read on `levels` lies, and `new` columns behind."""
    ends = torch.tensor([level.new for level in levels]).cumsum(dim=0).tolist()
    pieces = tuple(slice(end - level.new, end) for end, level in zip(ends, levels, strict=True))
    width, rows = levels[-1].width, levels[-1].rows
    sharers: list[list[list[int]]] = [[[] for _ in level.rows] for level in levels]
    places = torch.full((len(rows), ends[-1] + new), -1)
    places[:, ends[-1] :] = torch.arange(width, width + new)
    for prompt, row in enumerate(rows):
        begin = width - len(row.tokens)
        level, index = len(levels) - 1, prompt
        while True:
            row, end = levels[level].rows[index], ends[level]
            own = torch.arange(row.known, len(row.tokens))
            places[prompt, end - len(own) : end] = begin + own
            sharers[level][index].append(prompt)
            if row.parent is None:
                break
            level, index = row.parent
    held = tuple(tuple(map(tuple, of_level)) for of_level in sharers)
    return Layout(width, pieces, held, places.to(device), gaps=bool((places < 0).any()))


@dataclass(frozen=True, eq=False)
class _Cells:
    """Keys and values, each cell of them seen by as many rows, in one piece of these."""

    keys: Float[Tensor, "cell head column d_key"]
    values: Float[Tensor, "cell head column d_value"]
    rows: Int[Tensor, "cell each"]
    piece: slice

    @property
    def each(self) -> int:
        """How many rows see a cell."""
        return self.rows.shape[1]

    def kept(self, places: dict[int, int]) -> "Iterator[_Cells]":
        """What is left of them when only some rows stay, and where these are then."""
        left = [[places[row] for row in seeing if row in places] for seeing in self.rows.tolist()]
        return _even(self.keys, self.values, left, self.piece)


def _even(
    keys: Tensor, values: Tensor, rows: Sequence[Sequence[int]], piece: slice
) -> Iterator[_Cells]:
    """Cells by how many rows see them; those that none does are let go."""
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for cell, by in enumerate(rows):
        alike[len(by)].append(cell)
    for each, cells in alike.items():
        if each:
            seeing = torch.tensor([rows[cell] for cell in cells], device=keys.device)
            whole = len(cells) == len(keys)
            some = (keys, values) if whole else (keys[cells], values[cells])
            yield _Cells(*some, seeing, piece)


class Cascade(Room):
    """A room whose rows know their beginnings together, and by themselves what they write.

    Attention is over both, for one new token of each row at a time.
    """

    def __init__(self, layout: Layout, new: int) -> None:
        super().__init__(new)
        self._layout = layout
        self._cells: list[_Cells] = []
        self._places = layout.places
        self._asked = False

    def fill(self, spans: Sequence[slice], rows: int, rooms: Sequence[Room]) -> None:
        """Take over what prompts have left, once for all `spans` of rows."""
        if not self._cells:
            self._places = self._layout.places.repeat(rows // len(self._layout.places), 1)
        for room, piece, sharers in zip(
            rooms, self._layout.pieces, self._layout.sharers, strict=True
        ):
            new = piece.stop - piece.start
            keys, values = (
                held if held.shape[-2] == new else held[..., -new:, :].clone()
                for held in (room.keys, room.values)
            )
            seeing = [[span.start + p for span in spans for p in prompts] for prompts in sharers]
            self._cells += _even(keys, values, seeing, piece)

    def settle(self) -> None:
        """Put cells together that as many rows see, so that there are few products."""
        alike: defaultdict[tuple[int, int], list[_Cells]] = defaultdict(list)
        for cells in self._cells:
            alike[cells.piece.start, cells.each].append(cells)
        self._cells = [some[0] if len(some) == 1 else _joined(some) for some in alike.values()]

    def keep(self, rows: Int[Tensor, " row"]) -> None:
        """Let go of all rows but these."""
        if self.is_initialized:
            super().keep(rows)
        places = {row: place for place, row in enumerate(rows.tolist())}
        self._cells = [left for cells in self._cells for left in cells.kept(places)]
        self._places = self._places[rows]
        self.settle()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many columns attention is over; none lie before them."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """How many columns of a text are known."""
        return self._layout.width + self._length

    @contextmanager
    def attending(self) -> Iterator[None]:
        """Let attention be over beginnings too. Raises UnsupportedModelError if none asked."""
        self._asked = False
        with attention_by(self._attend):
            yield
        if not self._asked:
            raise UnsupportedModelError("a layer computes its attention by itself")

    def _attend(
        self,
        query: Float[Tensor, "row query token d_key"],
        keys: Float[Tensor, "row head new d_key"],
        values: Float[Tensor, "row head new d_value"],
        mask: Tensor | None,
        scaling: float | None = None,
        **given: Any,
    ) -> Float[Tensor, "row 1 query d_value"]:
        """Attention over the beginning of each row and what it has written.

        Raises UnsupportedModelError for several tokens of a row, and what else would be added.
        """
        if query.shape[2] > 1 or given.get("position_bias") is not None:
            raise UnsupportedModelError("attention over shared beginnings is for one token a row")
        self._asked = True
        grouped = query.reshape(len(query), keys.shape[1], -1, query.shape[-1])
        scaled = grouped * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        before = self._layout.pieces[-1].stop
        each = torch.arange(len(query), device=query.device).unsqueeze(1)
        own = _Cells(keys, values, each, slice(before, before + keys.shape[2]))
        seen = [(cells, self._scores(cells, scaled, mask)) for cells in (*self._cells, own)]
        largest = scaled.new_full((*scaled.shape[:3], 1), -torch.inf, dtype=_wide(query))
        for cells, scores in seen:
            top = _apart(scores.amax(-1, keepdim=True), cells.each)
            largest[cells.rows] = torch.maximum(largest[cells.rows], top)
        total = torch.zeros_like(largest)
        out = total.new_zeros((*scaled.shape[:3], values.shape[-1]))
        for cells, scores in seen:
            weights = scores.sub_(_together(largest[cells.rows])).exp_()
            total[cells.rows] += _apart(weights.sum(-1, keepdim=True), cells.each)
            out[cells.rows] += _apart(weights.to(query.dtype) @ cells.values, cells.each)
        return (out / total).to(query.dtype).flatten(1, 2).unsqueeze(1)

    def _scores(
        self, cells: _Cells, query: Float[Tensor, "row head group d_key"], mask: Tensor | None
    ) -> Float[Tensor, "cell head all column"]:
        """Products of all that see these cells with their keys, and what the layer's mask says."""
        scores = (_together(query[cells.rows]) @ cells.keys.mT).to(_wide(query))
        places = self._places[:, cells.piece].to(scores.device)
        for_each = scores.view(*scores.shape[:2], cells.each, -1, scores.shape[-1])
        if self._layout.gaps:
            gaps = (places < 0)[cells.rows]
            for_each.masked_fill_(gaps[:, None, :, None], -torch.inf)
        if mask is None:
            return scores
        mask = mask.squeeze(2).expand(len(query), -1, -1)
        told = mask.gather(-1, places.clamp(min=0)[:, None].expand(-1, mask.shape[1], -1))
        heads = (1, 1) if mask.shape[1] == 1 else query.shape[1:3]
        told = told.view(len(query), *heads, -1)[cells.rows].transpose(1, 2)
        if told.dtype == torch.bool:
            for_each.masked_fill_(~told, -torch.inf)
        else:
            for_each += told
        return scores


def _joined(some: Sequence[_Cells]) -> _Cells:
    held = [(cells.keys, cells.values, cells.rows) for cells in some]
    keys, values, rows = map(torch.cat, zip(*held, strict=True))
    return _Cells(keys, values, rows, some[0].piece)


def _wide(tensor: Tensor) -> torch.dtype:
    """The number format of sums: float32 at least."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _together(of_rows: Float[Tensor, "cell each head group n"]) -> Float[Tensor, "cell head all n"]:
    """The rows that see a cell, one below the other."""
    return of_rows.transpose(1, 2).flatten(2, 3)


def _apart(
    of_cells: Float[Tensor, "cell head all n"], each: int
) -> Float[Tensor, "cell each head group n"]:
    """What belongs to each of the rows that see a cell."""
    cell, head, _, n = of_cells.shape
    return of_cells.view(cell, head, each, -1, n).transpose(1, 2)
