"""Members of a parallel group launched together: on an accelerator, each on a stream of its own.

They all read one stream and none waits for another, so a device that one member leaves idle may run
the next meanwhile. On a processor they run one after another as ever, and compute the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..models import device_of
from ..plans import Plan, groups
from .anatomy import Family
from .slots import Asked, Slot, StepPoints, plan_slots


class _Group:
    """The members of one group that wait for the last, and a stream for each on an accelerator."""

    def __init__(self, device: torch.device, members: int) -> None:
        several = members if device.type == "cuda" else 0
        self._streams: list[Any] = [torch.cuda.Stream(device) for _ in range(several)]  # type: ignore[no-untyped-call]
        self.waiting: list[tuple[Slot, Asked]] = []

    def run(self) -> Any:
        """Run all members, and put back what they add, in their order."""
        waiting, self.waiting = self.waiting, []
        made = _together([partial(slot.made, asked) for slot, asked in waiting], self._streams)
        answers = [slot.answer(a, out) for (slot, a), out in zip(waiting, made, strict=True)]
        return answers[-1]


def _together(calls: Sequence[Callable[[], Any]], streams: Sequence[Any]) -> list[Any]:
    """What the calls return; each goes to its stream, and all are waited for on this one."""
    if not streams:
        return [call() for call in calls]
    here, made = torch.cuda.current_stream(streams[0].device), []
    for call, stream in zip(calls, streams, strict=True):
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            made.append(call())
    for stream in streams:
        here.wait_stream(stream)
    for output in made:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, Tensor):
                tensor.record_stream(here)  # its memory is used here after its own stream is done
    return made


class _Member(nn.Module):
    """A call of a group: notes what it is to read, and the last one runs them all."""

    def __init__(self, slot: Slot, group: _Group, family: Family, place: range, index: int) -> None:
        super().__init__()
        self.slot = slot
        self._group, self._family = group, family
        self._first, self._last = index == place[0], index == place[-1]

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._first:  # whatever a pass that was cut short has left
            self._group.waiting.clear()
        asked = self.slot.asked(hidden_states, args, kwargs)
        self._group.waiting.append((self.slot, asked))
        return self._group.run() if self._last else self._family.output(hidden_states)


def overlapped_slots(
    plan: Plan,
    model: TransformerBridge,
    points: StepPoints,
    family: Family,
    blocks: Sequence[nn.Module],
) -> nn.ModuleList:
    """`plan_slots`, with the calls of every group launched together."""
    slots = plan_slots(plan, model, points, "exact", family.causal, blocks)
    for places in groups(plan):
        group = _Group(device_of(model), len(places))
        for index in places:
            slot = slots[index]
            assert isinstance(slot, Slot)
            slots[index] = _Member(slot, group, family, places, index)
    return slots
