"""The tree of plans walked wide: forks that wait for the same layer go through it together.

A call costs its launch besides its arithmetic, and few rows are multiplied slower than many. On
accelerators sixteen forks take little longer than one; on processors short batches gain a fifth.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..plans import Call, Plan, Step, schedule, turns
from ..plans.sharing import Beginning, prefix_tree
from ..progress import Advance
from .layer_arguments import Arguments
from .slots import OpenSteps, output_of

# By how many copies of the batch, one below the other, what the layers are called with.
Copies = Mapping[int, tuple[Arguments, ...]]

_MOST_FORKS = 64


class Amounts(NamedTuple):
    """What is enough for a device."""

    tokens: int  # in a call, beyond which it is arithmetic alone that takes the time
    numbers: int  # in the streams of the plans that are on their way at once


# On a processor 256 MiB of single precision, on others a gigabyte of half.
_ENOUGH = {"cpu": Amounts(2**10, 2**26)}
_ENOUGH_ELSEWHERE = Amounts(2**14, 2**29)

_scheduled = lru_cache(maxsize=8)(schedule)


def enough_for(device: torch.device) -> Amounts:
    """How much is enough for a device."""
    return _ENOUGH.get(device.type, _ENOUGH_ELSEWHERE)


def widths(device: torch.device, tokens: int, plans: int) -> tuple[int, ...]:
    """How many forks of so many tokens may go through a layer together: powers of two."""
    most = max(1, min(_MOST_FORKS, plans, enough_for(device).tokens // tokens))
    return tuple(2**k for k in range(most.bit_length()))


class _Fork:
    """A beginning that is being computed: its last step, and the stream so far."""

    def __init__(self, node: Beginning, step: Step, stream: Tensor) -> None:
        self.node, self.step, self.stream = node, step, stream
        self._turns, self._steps, self._made = turns(step), OpenSteps(), 0

    @property
    def next(self) -> Call:
        """The call that it waits for."""
        return self.step.calls[self._made]

    @property
    def done(self) -> bool:
        return self._made == len(self._turns)

    def take(self, output: Tensor) -> None:
        """Go on with what the layer has made of the stream."""
        turn = self._turns[self._made]
        self._steps.begin(turn, self.stream)
        self.stream = self._steps.end(turn, output)
        self._made += 1


def walk_wide(
    plans: Sequence[Plan],
    stream: Float[Tensor, "batch pos d_model"],
    blocks: Sequence[nn.Module],
    copies: Copies,
    advance: Advance,
) -> Iterator[tuple[list[int], Float[Tensor, "batch pos d_model"]]]:
    """Yield what `walk` yields, in the order of a schedule.

    As many plans at once as there is room for their streams; those beside each other in the tree
    go together, and a beginning that two such parts share is computed in both.
    """
    alike = [node.ends for _, node in prefix_tree(plans).inner() if node.ends]
    most = max(1, enough_for(stream.device).numbers // stream.numel())
    for start in range(0, len(alike), most):
        part = alike[start : start + most]
        distinct = [plans[first] for first, *_ in part]
        for [end], found in _walked(distinct, stream, blocks, copies, advance):
            yield part[end], found


def _walked(
    plans: Sequence[Plan],
    stream: Tensor,
    blocks: Sequence[nn.Module],
    copies: Copies,
    advance: Advance,
) -> Iterator[tuple[list[int], Tensor]]:
    """A fork is served by the entry that serves all plans which begin so: the first that can."""
    waiting: defaultdict[Call, list[_Fork]] = defaultdict(list)

    def wait(node: Beginning, stream: Tensor) -> None:
        for step, child in node.children.items():
            fork = _Fork(child, step, stream)
            waiting[fork.next].append(fork)

    wait(prefix_tree(plans), stream)
    for entry in _scheduled(tuple(plans)):
        forks = waiting.pop(Call(entry.layer, entry.half))
        while forks:
            width = max(times for times in copies if times <= len(forks))
            chosen, forks = forks[:width], forks[width:]
            for fork in _called(chosen, blocks, copies[width]):
                if not fork.done:
                    waiting[fork.next].append(fork)
                    continue
                advance(fork.step.size * stream.shape[0] * stream.shape[1])
                if fork.node.ends:
                    yield fork.node.ends, fork.stream
                wait(fork.node, fork.stream)


def _called(
    forks: list[_Fork], blocks: Sequence[nn.Module], given: Sequence[Arguments]
) -> list[_Fork]:
    """Run the layer that the forks wait for on all of them."""
    call = forks[0].next
    read = torch.cat([fork.stream for fork in forks]) if len(forks) > 1 else forks[0].stream
    output = output_of(blocks[call.layer], call.half, read, given[call.layer])
    for fork, own in zip(forks, torch.chunk(output, len(forks)), strict=True):
        fork.take(own)
    return forks
