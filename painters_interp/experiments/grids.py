"""Every pair of layers: swapped, replaced, moved; every block of them repeated or dropped."""

from collections.abc import Callable, Iterable
from itertools import combinations, combinations_with_replacement, permutations

import pandas as pd

from .. import strategies as s
from ..plans import Layers, Plan, check_n_layers
from .rows import row, tabled


def swaps(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Exchange layers i and j ("swap"), every pair i < j.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through, as in the four grids below; all of them by default.

    Returns:
        A table of the intact model and a row for every pair; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> swaps(4, layers=[0, 1, 3])["plan"].tolist()
        ['0-3', '1 0 2 3', '3 1 2 0', '0 3-1']
    """
    n_layers = check_n_layers(n_layers)
    pairs = combinations(_chosen(n_layers, layers), 2)
    return _grid("swaps", n_layers, "swap", s.swap, pairs)


def replacements(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Run layer j in the place of layer i ("replace"), every i != j: are they interchangeable?

    With the intact model, which is what i = j would be, 871 distinct plans for 30 layers.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every pair; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> replacements(4, layers=[1, 2])["plan"].tolist()
        ['0-3', '0 2*2 3', '0 1*2 3']
    """
    n_layers = check_n_layers(n_layers)
    pairs = permutations(_chosen(n_layers, layers), 2)
    return _grid("replacements", n_layers, "replace", s.replace, pairs)


def moves(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Take layer i out and run it as step j ("move"), every i != j.

    Neighbours that change places do so whichever of them is moved: 842 plans for 30 layers.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every pair; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> moves(4, layers=[0, 2])["plan"].tolist()
        ['0-3', '1 2 0 3', '2 0 1 3']
    """
    n_layers = check_n_layers(n_layers)
    pairs = permutations(_chosen(n_layers, layers), 2)
    return _grid("moves", n_layers, "move", s.move, pairs)


def block_repeats(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Run the block of layers i to j, both included, twice in a row ("repeat_block"; RYS, 2026).

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every block; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> block_repeats(4, layers=[1, 2])["plan"].tolist()
        ['0-3', '0 1*2 2 3', '0-2 1-3', '0 1 2*2 3']
    """
    n_layers = check_n_layers(n_layers)

    def repeated(n_layers: int, first: int, last: int) -> Plan:
        return s.repeat_block(n_layers, first, last + 1)

    pairs = combinations_with_replacement(_chosen(n_layers, layers), 2)
    return _grid("block_repeats", n_layers, "repeat_block", repeated, pairs, blocks=True)


def dropped_windows(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Leave out the window of layers i to j, both included ("drop_window"); never all layers.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every window; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> dropped_windows(4, layers=[1, 2])["plan"].tolist()
        ['0-3', '0 2 3', '0 3', '0 1 3']
    """
    n_layers = check_n_layers(n_layers)

    def dropped(n_layers: int, first: int, last: int) -> Plan:
        return s.skip(n_layers, range(first, last + 1))

    windows = combinations_with_replacement(_chosen(n_layers, layers), 2)
    pairs = (pair for pair in windows if pair != (0, n_layers - 1))
    return _grid("dropped_windows", n_layers, "drop_window", dropped, pairs, blocks=True)


GRIDS: dict[str, Callable[..., pd.DataFrame]] = {
    "swaps": swaps,
    "replacements": replacements,
    "moves": moves,
    "block_repeats": block_repeats,
    "dropped_windows": dropped_windows,
}


def _chosen(n_layers: int, layers: Iterable[int] | None) -> list[int]:
    return list(range(n_layers)) if layers is None else sorted(set(layers))


def _grid(
    experiment: str,
    n_layers: int,
    variant: str,
    build: Callable[[int, int, int], Plan],
    pairs: Iterable[tuple[int, int]],
    blocks: bool = False,
) -> pd.DataFrame:
    rows = []
    for i, j in pairs:
        size = {"affected": j - i + 1} if blocks else {}
        rows.append(row(variant, build(n_layers, i, j), layer=i, other=j, **size))
    return tabled(experiment, n_layers, rows)
