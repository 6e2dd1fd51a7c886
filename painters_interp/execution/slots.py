"""Slots: what stands in a model's layer list while a plan, a recorder or an injector runs.

A slot is one call of one layer. Its index is its position in the model's own loop, and the index
of the cache entry it uses, whatever index the block itself holds.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers.cache_utils import Cache

from ..plans import Half, Plan, Step
from .anatomy import Arguments, Family, bounded
from .caches import Owner, SlotCache, average
from .notices import Notices
from .sublayers import only

CACHES = ("exact", "averaged")


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

    @property
    def points(self) -> list[StepPoint]:
        """One per step."""
        return [point for point in self if isinstance(point, StepPoint)]

    def get_hooks(self) -> dict[str, HookPoint]:
        """Hook points by name below `steps.`, as the bridge asks its components for them."""
        return {
            f"{s}.{end}": getattr(point, end)
            for s, point in enumerate(self.points)
            for end in ("hook_resid_pre", "hook_resid_post")
        }


class Group:
    """The slots of one step: they read one stream, and put back together what they add.

    `cache="averaged"` is the published decoding: after the step, every member remembers the mean
    of the members' keys and values instead of its own.
    """

    def __init__(self, step: Step, slots: range, point: StepPoint, cache: str) -> None:
        self._step, self._slots, self._cache = step, slots, cache
        self._mixture = Mixture(step)
        self._pre, self._post = point.hook_resid_pre, point.hook_resid_post

    @property
    def slots(self) -> range:
        """The places of its members in the model's loop."""
        return self._slots

    def read(self, slot: int, stream: Tensor) -> Tensor:
        """What the member in `slot` reads: the first one's hook acts on behalf of all."""
        return self._pre(stream) if slot == self._slots[0] else stream

    def write(self, slot: int, stream: Tensor, output: Tensor) -> Tensor:
        """What the member in `slot` passes on: its input; the last one, the combination."""
        self._mixture.add(stream, output)
        return self._post(self._mixture.result(stream)) if slot == self._slots[-1] else stream

    def clear(self) -> None:
        """Forget what a pass that ended early has left in the mixture."""
        self._mixture = Mixture(self._step)

    def remember(self, slot: int, cache: Cache, new: int) -> None:
        """Average the last `new` keys and values over the group, once its last member has run."""
        if self._cache == "averaged" and slot == self._slots[-1] and len(self._slots) > 1:
            average([cache.layers[index] for index in self._slots], new)


class Loop:
    """What the slots of one plan share: where a pass begins, and whose caches it goes on from."""

    def __init__(self, plan: Plan, model: TransformerBridge, groups: list[Group], cache: str):
        self._owner, self._groups = Owner(str(plan), cache, id(model), len(plan.calls)), groups
        self._notices = Notices(plan, model)

    def begin(self, caches: Iterable[Cache]) -> None:
        """A pass begins clean, whatever ended the one before.

        Raises PlanError for a cache that somebody else has filled.
        """
        for group in self._groups:
            group.clear()
        for cache in caches:
            self._owner.claim(cache)
        self._notices.give()


class Slot(nn.Module):
    """One call of one layer.

    The first members of a group add to the shared mixture and pass their input through; the last
    returns the combination. So a parallel group works inside the model's sequential loop.
    """

    def __init__(
        self, block: nn.Module, half: Half | None, index: int, group: Group, loop: Loop
    ) -> None:
        super().__init__()
        self.block = block
        self._half, self._index, self._group, self._loop = half, index, group, loop

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        caches = [a for a in (*args, *kwargs.values()) if isinstance(a, Cache)]
        if self._index == 0:
            self._loop.begin(caches)
        stream = self._group.read(self._index, hidden_states)
        [given] = bounded([Arguments(args, kwargs)])
        seen = {name: self._seen(value) for name, value in given.kwargs.items()}
        with only(self.block, self._half):
            output = self.block(stream, *map(self._seen, given.args), **seen)
        for cache in caches:
            self._group.remember(self._index, cache, new=stream.shape[1])
        passed_on = self._group.write(self._index, stream, stream_of(output))
        return (passed_on, *output[1:]) if isinstance(output, tuple) else passed_on

    def _seen(self, argument: Any) -> Any:
        return SlotCache(argument, self._index) if isinstance(argument, Cache) else argument


def plan_slots(
    plan: Plan, model: TransformerBridge, points: StepPoints, cache: str
) -> nn.ModuleList:
    """One slot per call of `plan`, in order."""
    blocks, groups, first = list(model.blocks), [], 0
    for step, point in zip(plan.steps, points.points, strict=True):
        slots = range(first, first := first + len(step.calls))
        groups.append(Group(step, slots, point, cache))
    loop = Loop(plan, model, groups, cache)
    return nn.ModuleList(
        Slot(blocks[call.layer], call.half, slot, group, loop)
        for step, group in zip(plan.steps, groups, strict=True)
        for slot, call in zip(group.slots, step.calls, strict=True)
    )


class Recorded(Exception):
    """Ends a recording pass before the final norm and the head would run for nothing."""


class RecorderSlot(nn.Module):
    """Notes what its layer would be called with; no layer runs."""

    def __init__(self, family: Family, calls: list[Arguments], last: bool) -> None:
        super().__init__()
        self._family, self._calls, self._last = family, calls, last
        self.stream: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(Arguments(args, kwargs))
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
