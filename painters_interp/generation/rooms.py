"""Rooms for keys and values, made beforehand: what is new is written in place."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from ..execution.caches import SlotCache

_KINDS = (cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer)


class Room(CacheLayerMixin):  # type: ignore[misc]
    """The keys and values of one layer call for some rows, with `columns` for tokens.

    A sliding window sees the last columns. Made when the first keys come, whose shape it takes.
    """

    is_sliding = False

    def __init__(self, columns: int, window: int | None = None) -> None:
        super().__init__()
        self._columns, self._window, self._length = columns, window, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room for rows such as these."""
        self.make(len(key_states), key_states, value_states)

    def make(self, rows: int, keys: Tensor, values: Tensor) -> None:
        """Make room for `rows`, each like one of `keys` and `values`."""
        self.keys, self.values = (
            like.new_zeros((rows, *like.shape[1:-2], self._columns, like.shape[-1]))
            for like in (keys, values)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write what is new behind what is there; returns what attention sees, views of it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        seen, end = self._seen(), self._length + key_states.shape[-2]
        self.keys[..., self._length : end, :] = key_states
        self.values[..., self._length : end, :] = value_states
        self._length = end
        return self.keys[..., seen:end, :], self.values[..., seen:end, :]

    def fill(self, spans: Sequence[slice], rows: int, rooms: "Sequence[Room]") -> None:
        """Take over what prompts have left in the last of `rooms`, into each span of `rows`."""
        room = rooms[-1]
        if not self.is_initialized:
            self.make(rows, room.keys, room.values)
        for span in spans:
            self.take(span, room.keys, room.values, room.get_seq_length())
        self.holds(room.get_seq_length())

    def settle(self) -> None:
        """All rows are filled."""

    def attending(self) -> AbstractContextManager[None]:
        """Where a layer is called that is to see what is here."""
        return nullcontext()

    def take(self, place: int | slice, keys: Tensor, values: Tensor, end: int) -> None:
        """Put keys and values into the rows at `place`, so that column `end` comes after them."""
        start = end - keys.shape[-2]
        self.keys[place, ..., start:end, :] = keys
        self.values[place, ..., start:end, :] = values

    def holds(self, length: int) -> None:
        """Say that the first `length` columns are filled, or pads."""
        self._length = length

    def keep(self, rows: Int[Tensor, " row"]) -> None:
        """Let go of all rows but these."""
        self.keys, self.values = self.keys[rows], self.values[rows]

    def _seen(self) -> int:
        return 0 if self._window is None else max(0, self._length - self._window + 1)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many columns attention sees, and how many lie before them."""
        return self._length - self._seen() + query_length, self._seen()

    def get_seq_length(self) -> int:
        """How many columns are filled."""
        return self._length

    def get_max_length(self) -> int:
        """How far back attention sees; -1 for no bound."""
        return self._window or -1


def as_cache(room: Room) -> SlotCache:
    """`room` as a layer sees it, whatever index the layer holds."""
    return SlotCache(Cache(layers=[room]), 0)


def average(places: Sequence[tuple[Room, slice]], start: int, end: int) -> None:
    """Give columns `start` to `end` of some rows of each room the mean over all these rooms."""
    for name in ("keys", "values"):
        views = [getattr(room, name)[rows][..., start:end, :] for room, rows in places]
        mean = torch.stack(views).mean(dim=0)
        for view in views:
            view.copy_(mean)


def windows(config: Any) -> tuple[int | None, ...] | None:
    """How far back each layer sees; None if a layer keeps something else than keys and values."""
    entries = DynamicCache(config=config).layers
    if not all(type(entry) in _KINDS for entry in entries):
        return None
    return tuple(getattr(entry, "sliding_window", None) for entry in entries)


def past_of(config: Any, length: int, device: torch.device) -> DynamicCache:
    """A cache that says it has seen `length` tokens, and holds nothing."""
    cache = DynamicCache(config=config)
    nothing = torch.zeros(1, device=device)
    for entry in cache.layers if length else ():
        kept = min(length, getattr(entry, "sliding_window", None) or length)
        entry.keys = entry.values = nothing.expand(1, 1, kept, 1)
        entry.cumulative_length = length
        entry.is_initialized = True
    return cache
