"""Slots: what stands in a model's layer list while a plan, a recorder or an injector runs.

A slot is one call of one layer. Its index is its position in the model's own loop, and the index
of the cache entry it uses, whatever index the block itself holds.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformers.cache_utils import Cache

from ..plans import Plan, Step
from .families import Arguments, Family


class Mixture:
    """Puts back what the members of a step add: `h + scale * sum_i (block_i(h) - h)`.

    A layer alone at scale 1 passes its output on untouched, so the full plan is the intact model
    bit for bit.
    """

    def __init__(self, step: Step) -> None:
        self._scale = step.scale
        self._plain = len(step.calls) == 1 and step.scale == 1
        self._sum: Tensor | None = None

    def add(self, stream: Tensor, output: Tensor) -> None:
        """Take in one member's output; every member has read `stream`."""
        if self._plain:
            self._sum = output
        elif self._sum is None:
            self._sum = output - stream
        else:
            self._sum = self._sum + (output - stream)

    def result(self, stream: Tensor) -> Tensor:
        """The residual stream after the step; the mixture is empty again."""
        total, self._sum = self._sum, None
        assert total is not None
        return total if self._plain else stream + self._scale * total


class SlotCache:
    """A cache as one slot sees it: every layer index means this slot's entry."""

    def __init__(self, cache: Cache, slot: int) -> None:
        self._cache, self._slot = cache, slot

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        return self._cache.update(keys, values, self._slot, *args, **kwargs)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return int(self._cache.get_seq_length(self._slot))

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        sizes: tuple[int, int] = self._cache.get_mask_sizes(query_length, self._slot)
        return sizes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


class StepPoint(nn.Module):
    """The hook points of one step: what all its members read, and what they leave together."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_resid_pre = HookPoint()
        self.hook_resid_post = HookPoint()


class StepPoints(nn.ModuleList):
    """`bridge.steps` while a plan is applied: `steps.{s}.hook_resid_pre` and `hook_resid_post`."""

    def __init__(self, depth: int) -> None:
        super().__init__([StepPoint() for _ in range(depth)])

    def get_hooks(self) -> dict[str, HookPoint]:
        """Hook points by name below `steps.`, as the bridge asks its components for them."""
        return {
            f"{s}.{end}": getattr(point, end)
            for s, point in enumerate(self)
            for end in ("hook_resid_pre", "hook_resid_post")
        }


class Slot(nn.Module):
    """One call of one layer.

    The first members of a group add to the shared mixture and pass their input through; the last
    returns the combination. So a parallel group works inside the model's sequential loop.
    """

    def __init__(
        self,
        block: nn.Module,
        index: int,
        mixture: Mixture,
        opens: HookPoint | None,
        closes: HookPoint | None,
    ) -> None:
        super().__init__()
        self.block = block
        self._index, self._mixture = index, mixture
        self._points = (opens, closes)  # in a tuple: they are the bridge's submodules, not ours

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        opens, closes = self._points
        stream = hidden_states if opens is None else opens(hidden_states)
        output = self.block(
            stream,
            *(self._seen(a) for a in args),
            **{name: self._seen(value) for name, value in kwargs.items()},
        )
        self._mixture.add(stream, stream_of(output))
        passed_on = stream if closes is None else closes(self._mixture.result(stream))
        return (passed_on, *output[1:]) if isinstance(output, tuple) else passed_on

    def _seen(self, argument: Any) -> Any:
        return SlotCache(argument, self._index) if isinstance(argument, Cache) else argument


def plan_slots(plan: Plan, blocks: Sequence[nn.Module], points: StepPoints) -> nn.ModuleList:
    """One slot per call of `plan`, in order."""
    slots: list[Slot] = []
    for step, point in zip(plan.steps, points, strict=True):
        mixture = Mixture(step)
        last = len(step.calls) - 1
        for member, call in enumerate(step.calls):
            opens = point.hook_resid_pre if member == 0 else None
            closes = point.hook_resid_post if member == last else None
            slots.append(Slot(blocks[call.layer], len(slots), mixture, opens, closes))
    return nn.ModuleList(slots)


class Recorded(Exception):
    """Ends a recording pass before the final norm and the head would run for nothing."""


class RecorderSlot(nn.Module):
    """Notes what its layer would be called with; no layer runs."""

    def __init__(self, family: Family, calls: list[Arguments], last: bool) -> None:
        super().__init__()
        self._family, self._calls, self._last = family, calls, last
        self.stream: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(Arguments(args, kwargs).without_cache())
        if self._last:
            self.stream = hidden_states
            raise Recorded
        return self._family.output(hidden_states)


class InjectorSlot(nn.Module):
    """Replaces the residual stream by `stream`, straight before the final norm and the head."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self._family = family
        self.stream: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._family.output(hidden_states if self.stream is None else self.stream)


def stream_of(output: Any) -> Tensor:
    """The residual stream in what a layer returned: the tensor itself or a tuple's first entry."""
    stream = output[0] if isinstance(output, tuple) else output
    assert isinstance(stream, torch.Tensor)
    return stream
