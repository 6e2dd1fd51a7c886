"""Some rows of what a layer is called with.

Which axis of a tensor is that of the rows is not known per architecture: recordings of two and of
three rows show it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import UnsupportedModelError
from ..execution.layer_arguments import Arguments


@dataclass(frozen=True)
class Axis:
    """The axis of the rows in a tensor, and how many of its entries belong to each."""

    number: int
    each: int

    def select(self, tensor: Tensor, rows: Int[Tensor, " row"]) -> Tensor:
        """The entries of `rows`."""
        if self.each == 1:
            return tensor.index_select(self.number, rows)
        entries = rows[:, None] * self.each + torch.arange(self.each, device=rows.device)
        return tensor.index_select(self.number, entries.flatten())


def axes(two: Arguments, three: Arguments) -> Any:
    """Where the rows are in each tensor of a layer's arguments, in a nest of the same form."""
    return _axes((two.args, two.kwargs), (three.args, three.kwargs))


def selected(arguments: Arguments, where: Any, rows: Int[Tensor, " row"]) -> Arguments:
    """The arguments of `rows` alone; `where` is what `axes` has found."""
    args, kwargs = _selected((arguments.args, arguments.kwargs), where, rows)
    return Arguments(args, kwargs)


def _axes(two: Any, three: Any) -> Any:
    if isinstance(two, Tensor) and isinstance(three, Tensor):
        grown = [k for k, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
        if not grown:
            return None
        if len(grown) > 1 or 3 * two.shape[grown[0]] != 2 * three.shape[grown[0]]:
            raise UnsupportedModelError(
                f"a layer is called with a tensor of shape {tuple(two.shape)} for two rows, and "
                f"of {tuple(three.shape)} for three, none of whose axes is that of the rows"
            )
        return Axis(grown[0], two.shape[grown[0]] // 2)
    if isinstance(two, dict):
        return {name: _axes(value, three[name]) for name, value in two.items()}
    if isinstance(two, (tuple, list)):
        return [_axes(a, b) for a, b in zip(two, three, strict=True)]
    return None


def _selected(value: Any, where: Any, rows: Int[Tensor, " row"]) -> Any:
    if isinstance(where, Axis):
        return where.select(value, rows)
    if isinstance(where, dict):
        return {name: _selected(item, where[name], rows) for name, item in value.items()}
    if isinstance(where, list):
        return type(value)(_selected(v, w, rows) for v, w in zip(value, where, strict=True))
    return value
