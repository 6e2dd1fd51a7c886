"""Grids of plans as maps of layer i by layer j."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from ..errors import TableError
from ..tables import is_intact, require
from . import cells, style
from .legends import legend_below

_CLIPPED = (2, 98)  # percentiles at which the colours end
# What stands down and across for each kind of grid.
_AXES = {
    "swap": ("layer i", "layer j"),
    "replace": ("layer i, which is replaced", "layer j, run in its place"),
    "move": ("layer i, which is moved", "step j, where it goes"),
    "repeat_block": ("first layer of the block", "last layer of the block"),
    "drop_window": ("first layer dropped", "last layer dropped"),
}
_SQUARE = ("swap", "replace", "move")  # with the intact model where i = j
_LABELS = {"kl": "KL(intact || plan), nats per token"}


@style.drawing
def grid_heatmap(
    table: pd.DataFrame,
    value: str = "kl",
    order: str = "layer",
    zones: Sequence[int] | None = None,
    title: str | None = None,
    label: str | None = None,
    triangle: bool = False,
    *,
    ax: Axes | None = None,
) -> Figure:
    """A grid of `experiments` (swaps, replacements, ...) as a map of layer i by layer j.

    Colours run from the 2nd to the 98th percentile, logarithmically where all values are
    positive; the colour bar says so. A dot marks a cell whose interval (`<value>_low` to
    `<value>_high`, if there) includes 0 or is longer than its value. Swaps fill the square.

    Args:
        table: What was measured of a grid's plans.
        value: The column that is drawn.
        order: "layer", or "hierarchical", which puts layers beside each other that are cheap to
            exchange (average linkage of log(1 + value), both ways averaged; the tree is drawn on
            top).
        zones: Layers at which a new zone begins.
        title: Over the map.
        label: Beside the colour bar.
        triangle: Whether swaps fill half of the square only.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a table that is no grid, or has no full square to order.

    Example:
        >>> from painters_interp import experiments, figures
        >>> grid = experiments.swaps(4)
        >>> figures.grid_heatmap(grid.assign(kl=range(len(grid)))).axes[1].get_ylabel() != ""
        True
    """
    rows = _rows(table, value)
    variant = str(rows["variant"].iloc[0])
    values = _matrix(rows, value, variant).astype(float)
    unsure = _matrix(rows.assign(unsure=unsure_of(rows, value)), "unsure", variant).astype(float)
    tree = _tree(values, variant, order, zones)
    if tree is not None:
        leaves = dendrogram(tree, no_plot=True)["leaves"]
        values, unsure = (m.iloc[leaves, leaves] for m in (values, unsure))
    if triangle and variant == "swap":
        values, unsure = (m.where(np.triu(np.ones(m.shape, dtype=bool))) for m in (values, unsure))
    extra = 9.0 if tree is not None else 0.0
    figure, [ax] = style.canvas(1, 76.0 + extra + (4 if title else 0))
    beside = {
        name: _matrix(rows, column, variant).reindex(index=values.index, columns=values.columns)
        for name, column in (("plan", "plan"), ("low", f"{value}_low"), ("high", f"{value}_high"))
        if column in rows
    }
    name, meaning = label or _LABELS.get(value, value), _meaning(value, values)
    draw_map(figure, ax, values, unsure, name, meaning, beside)
    cells.name(ax, values, each=tree is not None)
    ax.set(ylabel=_AXES[variant][0], xlabel=_AXES[variant][1])
    half = variant not in _SQUARE or (triangle and variant == "swap")
    places = [int((np.asarray(values.index) < zone).sum()) for zone in zones or ()]
    cells.zone_lines(ax, sorted({*places} - {0, len(values)}), len(values), above=half)
    if tree is not None:
        _draw_tree(ax, tree)
    grey = _grey(variant, half) + (", or no value" if rows[value].isna().any() else "")
    patch = Patch(facecolor=cells.MISSING, label=grey)
    map_legend(figure, ax, unsure, [patch])
    style.head(figure, [ax], title, page=1)
    return style.finished(figure, [ax])


def draw_map(
    figure: Figure,
    ax: Axes,
    values: pd.DataFrame,
    unsure: pd.DataFrame,
    label: str,
    meaning: cells.Meaning = cells.DAMAGE,
    beside: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """A map with its colour bar, row 0 on top; a dot where `unsure` is 1, grey where nothing is."""
    norm, scale = _scale(values, meaning)
    cells.draw(ax, values, norm, meaning, square=True, beside=beside)
    cells.mark(ax, unsure.eq(1).to_numpy())
    bar = cells.bar(figure, [ax], f"{label}\n({scale})", meaning, extend="both")
    if isinstance(norm, LogNorm):
        bar.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.set_major_formatter("{x:g}")
        bar.set_minor_locator(NullLocator())


def _meaning(value: str, values: pd.DataFrame) -> cells.Meaning:
    """Of a KL, damage; of another column that changes sign, an effect; else of a score."""
    if value in _LABELS:
        return cells.DAMAGE
    return cells.SIGNED if (values.to_numpy(float) < 0).any() else cells.SCORE


def _scale(values: pd.DataFrame, meaning: cells.Meaning) -> tuple[Normalize, str]:
    least, _ = cells.reach(values)
    known = values.to_numpy(float)
    low, high = np.percentile(known[np.isfinite(known)], _CLIPPED)
    if low == high:
        low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    if meaning.signed:
        return CenteredNorm(0.0, max(abs(low), abs(high))), "middle 96 %"
    if least > 0:
        return LogNorm(low, high), "log scale, middle 96 %"
    return Normalize(low, high), "middle 96 %"


def _rows(table: pd.DataFrame, value: str) -> pd.DataFrame:
    require(table, "variant", "layer", "other", value)
    rows = table[table["layer"].notna() & table["other"].notna() & ~is_intact(table)]
    known = rows["variant"].unique()
    if rows.empty or len(known) > 1 or known[0] not in _AXES:
        raise TableError(
            f"one grid is needed, with variant {', '.join(_AXES)}; "
            f"the table has {', '.join(map(str, table['variant'].unique()))}"
        )
    if rows.duplicated(["layer", "other"]).any():
        raise TableError("several rows for one cell; keep one model and one run per figure")
    return rows


def _matrix(rows: pd.DataFrame, value: str, variant: str) -> pd.DataFrame:
    """A column as layer i by layer j; what swaps do stands on both sides of the diagonal."""
    layers = sorted({*rows["layer"].astype(int), *rows["other"].astype(int)})
    values = rows.pivot(index="layer", columns="other", values=value)
    values = values.reindex(index=layers, columns=layers)
    return values.combine_first(values.T) if variant == "swap" else values


def unsure_of(rows: pd.DataFrame, value: str) -> "pd.Series[float]":
    """1 where the interval of a value, if there is one, includes 0 or is longer than it; else 0."""
    low, high = f"{value}_low", f"{value}_high"
    if not {low, high} <= set(rows):
        return pd.Series(0.0, index=rows.index)
    wide = rows[high] - rows[low] > rows[value].abs()
    return (wide | (rows[low] <= 0) & (rows[high] >= 0)).astype(float)


def _tree(
    values: pd.DataFrame, variant: str, order: str, zones: Sequence[int] | None
) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """The linkage of the layers, or None where they stay in their own order."""
    if order not in ("layer", "hierarchical"):
        raise TableError(f"order={order!r} is not an order of layers; use layer, hierarchical")
    if order == "layer":
        return None
    if zones:
        raise TableError('zones are runs of layers; draw them with order="layer"')
    costs = values.to_numpy(float)
    apart = ~np.eye(len(costs), dtype=bool)
    if variant not in _SQUARE or len(costs) < 3 or not np.isfinite(costs[apart]).all():
        raise TableError(
            f"a {variant} grid of {len(costs)} layers has no full square to order; "
            "use swaps, replacements or moves of three layers or more"
        )
    distances = np.log1p(np.clip((costs + costs.T) / 2, 0, None))
    np.fill_diagonal(distances, 0)
    return np.asarray(linkage(squareform(distances), "average"))


def _draw_tree(ax: Axes, tree: "np.ndarray[Any, np.dtype[np.float64]]") -> None:
    above = ax.inset_axes((0.0, 1.01, 1.0, 0.13))
    dendrogram(tree, ax=above, no_labels=True, color_threshold=0, above_threshold_color=style.INK)
    for line in above.collections:
        line.set_linewidth(0.5)
    above.set_axis_off()


def _grey(variant: str, half: bool) -> str:
    """What grey cells are: of windows and blocks, those that would end before they begin."""
    if variant not in _SQUARE:
        return "no such block"
    return "intact model, or shown above" if half else "intact model"


def map_legend(figure: Figure, ax: Axes, unsure: pd.DataFrame, grey: Sequence[Patch]) -> None:
    """What grey cells and dots of a map are."""
    dot = Line2D([], [], label="95 % interval holds 0, or is wide", **cells.MARK)
    dots = [dot] if unsure.eq(1).any(axis=None) else []
    legend_below(figure, [ax], columns=2, more=[*grey, *dots])
