"""Places: what a model's own loop walks while something else decides which layers run.

The loop hands each place what the layer there is called with. Where that follows the layers that
are put there, calls can stand in the loop themselves. Elsewhere the loop only collects: every
layer stays in its place and keeps its own arguments, and the last place runs what is to run.

Neither way does for all. The second computes the right logits on every architecture that was tried,
but some loops gather hidden states and attentions themselves, from place to place (GPT-J, GPT-Neo,
BLOOM, MPT, Falcon, the Mambas): asked for these, they would give the embeddings again and again.
The first is wrong where arguments stay behind (Gemma 4, Zamba 2, Nemotron-H, GLM MoE).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from .caches import arrange
from .layer_arguments import Arguments

# From the embedding output and every layer's arguments to the stream before the final norm.
Run = Callable[[Tensor, tuple[Arguments, ...]], Tensor]
# A stream in the form in which the layers of a model return it.
Output = Callable[[Tensor], Any]


class Place(nn.Module):
    """A turn of the loop that calls `slot` and answers for `block` whatever else it is asked.

    `block` is registered elsewhere; some loops read off a layer which mask it takes.
    """

    def __init__(self, block: nn.Module, slot: nn.Module) -> None:
        super().__init__()
        self.slot = slot
        self._block = (block,)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.slot(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(vars(self)["_block"][0], name)


class Collector(nn.Module):
    """Notes what the layer of its place is called with; the last one runs what is to run."""

    def __init__(self, output: Output, calls: list[Arguments], run: Run | None) -> None:
        super().__init__()
        self._output, self._calls, self._run = output, calls, run

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(Arguments(args, kwargs))
        if self._run is None:
            return self._output(hidden_states)
        calls = tuple(self._calls)
        self._calls.clear()
        return self._output(self._run(hidden_states, calls))


def collectors(output: Output, n_layers: int, run: Run) -> nn.ModuleList:
    """One for each layer; `run` stands in the place of all of them."""
    calls: list[Arguments] = []
    ends = [*[None] * (n_layers - 1), run]
    return nn.ModuleList(Collector(output, calls, end) for end in ends)


def in_place(
    output: Output, blocks: nn.ModuleList, slots: nn.ModuleList, calls: Sequence[int] | None
) -> nn.ModuleList:
    """A place for each of `blocks`: of one slot each, or for `calls` slots that run behind them.

    The latter are called one after the other, each with the arguments of the layer it calls.
    """
    if calls is None:
        return nn.ModuleList(map(Place, blocks, slots))
    inner = collectors(output, len(blocks), partial(_in_turn, slots, calls))
    inner[-1].slots = slots  # so that modes and number formats reach what stands in them
    return nn.ModuleList(map(Place, blocks, inner))


def _in_turn(
    slots: nn.ModuleList, calls: Sequence[int], stream: Tensor, given: tuple[Arguments, ...]
) -> Tensor:
    if (cache := given[0].cache) is not None:
        arrange(cache, calls, len(given))
    for slot, layer in zip(slots, calls, strict=True):
        output = slot(stream, *given[layer].args, **given[layer].kwargs)
        stream = output[0] if isinstance(output, tuple) else output
    return stream
