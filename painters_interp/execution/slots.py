"""Slots: what stands in a model's layer list while a plan, a recorder or an injector runs.

A slot is one call of one layer. Its index is its position in the model's own loop, and the index
of the cache entry it uses, whatever index the block itself holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers.cache_utils import Cache

from ..errors import UnsupportedModelError
from ..plans import Half, Plan, Turn, groups, turns
from .anatomy import Family
from .caches import Owner, SlotCache, average, filled
from .layer_arguments import Arguments, bounded
from .notices import Notices
from .sublayers import only

CACHES = ("exact", "averaged")


class OpenSteps:
    """The steps that are open in a pass, one inside the other.

    Each puts back what its branches add: `h + scale * sum_b (F_b(h) - h)`. A layer alone at scale
    1 passes its output on untouched, so the full plan is the intact model bit for bit.
    """

    def __init__(self) -> None:
        self._open: list[tuple[Tensor, Tensor | None]] = []  # what branches read, what they add

    def begin(self, turn: Turn, stream: Tensor) -> None:
        """The call whose part is `turn` is about to read `stream`."""
        self._open += [(stream, None)] * turn.opens

    def end(self, turn: Turn, output: Tensor) -> Tensor:
        """What the next call reads, once this one has made `output`."""
        for scale in turn.closes:
            stream, total = self._added(output)
            output = stream + scale * total
        if not turn.waits:
            return output
        self._open.append(self._added(output))
        return self._open[-1][0]

    def _added(self, output: Tensor) -> tuple[Tensor, Tensor]:
        stream, total = self._open.pop()
        update = output.to(stream.device) - stream  # layers may be spread over devices
        return stream, update if total is None else total + update


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


class Loop:
    """What the slots of one plan share: its open steps, its hooks, and whose caches it fills.

    `cache="averaged"` is the published decoding: after a group of calls, every member remembers
    the mean of the members' keys and values instead of its own.
    """

    def __init__(
        self, plan: Plan, model: TransformerBridge, points: StepPoints, cache: str, causal: bool
    ) -> None:
        self._causal = causal
        self._owner = Owner(str(plan), cache, id(model), plan.layer_calls)
        self._notices = Notices(plan, model)
        self._turns = [turn for step in plan.steps for turn in turns(step)]
        self._open = OpenSteps()
        self._pre: dict[int, HookPoint] = {}  # by the first slot of a step
        self._post: dict[int, HookPoint] = {}  # by its last one
        first = 0
        for step, point in zip(plan.steps, points.points, strict=True):
            self._pre[first] = point.hook_resid_pre
            first += step.size
            self._post[first - 1] = point.hook_resid_post
        ends = groups(plan) if cache == "averaged" else ()
        self._averaged = {slots[-1]: slots for slots in ends}

    def begin(self, caches: Iterable[Cache]) -> None:
        """A pass begins clean, whatever ended the one before.

        Raises PlanError for a cache that somebody else has filled, and UnsupportedModelError for
        one to go on from where earlier tokens see later ones.
        """
        self._open = OpenSteps()
        for cache in caches:
            self._owner.claim(cache)
            if not self._causal and filled(cache):
                raise UnsupportedModelError(
                    "this model is bidirectional by its config: what is in a cache would have to "
                    "be computed again with every token; read whole texts, without a cache"
                )
        self._notices.give()

    def read(self, slot: int, stream: Tensor) -> Tensor:
        """What the call in `slot` reads; the hook before a step acts on behalf of all its calls."""
        if slot in self._pre:
            stream = self._pre[slot](stream)
        self._open.begin(self._turns[slot], stream)
        return stream

    def write(self, slot: int, output: Tensor) -> Tensor:
        """What the next call reads: what its branch begins with, or what has been put back."""
        stream = self._open.end(self._turns[slot], output)
        return self._post[slot](stream) if slot in self._post else stream

    def remember(self, slot: int, cache: Cache, new: int) -> None:
        """Average the last `new` keys and values of a group, once its last member has run.

        After the last call of all, the cache is ready for the next pass.
        """
        if slot in self._averaged:
            average([cache.layers[index] for index in self._averaged[slot]], new)
        if slot == len(self._turns) - 1:
            self._owner.release(cache)


@dataclass(frozen=True, eq=False)
class Asked:
    """What a slot calls its layer with: the stream, the rest, and the caches that are in it."""

    stream: Tensor
    arguments: Arguments
    caches: list[Cache]


class Slot(nn.Module):
    """One call of one layer.

    The first members of a group add to an open step and pass on what the next one is to read; the
    last returns the combination. So branches work inside the model's sequential loop.
    """

    def __init__(self, block: nn.Module, half: Half | None, index: int, loop: Loop) -> None:
        super().__init__()
        self.block = block
        self._half, self._index, self._loop = half, index, loop

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        asked = self.asked(hidden_states, args, kwargs)
        return self.answer(asked, self.made(asked))

    def asked(self, hidden_states: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
        """What the layer is to be called with in this place."""
        caches = [a for a in (*args, *kwargs.values()) if isinstance(a, Cache)]
        if self._index == 0:
            self._loop.begin(caches)
        stream = self._loop.read(self._index, hidden_states)
        [given] = bounded([Arguments(args, kwargs)])
        seen = {name: self._seen(value) for name, value in given.kwargs.items()}
        return Asked(stream, Arguments(tuple(map(self._seen, given.args)), seen), caches)

    def made(self, asked: Asked) -> Any:
        """What the layer, or its half, returns."""
        with only(self.block, self._half):
            return self.block(asked.stream, *asked.arguments.args, **asked.arguments.kwargs)

    def answer(self, asked: Asked, output: Any) -> Any:
        """What this place returns, once the layer has: what the next one reads."""
        for cache in asked.caches:
            self._loop.remember(self._index, cache, new=asked.stream.shape[1])
        passed_on = self._loop.write(self._index, stream_of(output))
        return (passed_on, *output[1:]) if isinstance(output, tuple) else passed_on

    def _seen(self, argument: Any) -> Any:
        return SlotCache(argument, self._index) if isinstance(argument, Cache) else argument


def plan_slots(
    plan: Plan,
    model: TransformerBridge,
    points: StepPoints,
    cache: str,
    causal: bool = True,
    blocks: Sequence[nn.Module] | None = None,
) -> nn.ModuleList:
    """One slot per call of `plan`, in order; of `blocks`, where not those of the model itself."""
    blocks = list(model.blocks) if blocks is None else blocks
    loop = Loop(plan, model, points, cache, causal)
    return nn.ModuleList(
        Slot(blocks[call.layer], call.half, slot, loop) for slot, call in enumerate(plan.calls)
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


def output_of(block: nn.Module, half: Half | None, stream: Tensor, arguments: Arguments) -> Tensor:
    """What a layer, or half of it, makes of a stream, on the device where the stream is."""
    with only(block, half):
        output = stream_of(block(stream, *arguments.args, **arguments.kwargs))
    return output.to(stream.device)


def stream_of(output: Any) -> Tensor:
    """The residual stream in what a layer returned: the tensor itself or a tuple's first entry."""
    stream = output[0] if isinstance(output, tuple) else output
    assert isinstance(stream, torch.Tensor)
    return stream
