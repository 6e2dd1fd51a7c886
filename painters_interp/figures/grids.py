"""Grids of plans as maps of layer i by layer j."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from ..errors import TableError
from ..tables import is_intact, require
from . import style

_COLOURS = "viridis"
_MISSING = "0.85"
_CLIPPED = (2, 98)  # percentiles at which the colours end
_EACH = 40  # up to so many layers each has its name where they are not in order
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
) -> Figure:
    """A grid of `experiments` (swaps, replacements, ...) as a map of layer i by layer j.

    Colours run from the 2nd to the 98th percentile, logarithmically where all values are
    positive; the colour bar says so. A dot marks a cell whose interval (`<value>_low` to
    `<value>_high`, if there) includes 0 or is longer than its value. `order="hierarchical"` puts
    layers beside each other that are cheap to exchange (average linkage of log(1 + value), both
    ways averaged; the tree is drawn on top). `zones` are layers at which a new zone begins.
    Swaps fill the square, or half of it as a `triangle`.

    Raises TableError for a table that is no grid, or has no full square to order.
    """
    rows = _rows(table, value)
    variant = str(rows["variant"].iloc[0])
    cells, unsure = _cells(rows, value, variant), _cells(_unsure(rows, value), "unsure", variant)
    tree = _tree(cells, variant, order, zones)
    if tree is not None:
        leaves = dendrogram(tree, no_plot=True)["leaves"]
        cells, unsure = (m.iloc[leaves, leaves] for m in (cells, unsure))
    if triangle and variant == "swap":
        cells, unsure = (m.where(np.triu(np.ones(m.shape, dtype=bool))) for m in (cells, unsure))
    extra = 9.0 if tree is not None else 0.0
    figure, (ax,) = style.canvas(style.SINGLE, 76.0 + extra + (4 if title else 0))
    draw_cells(figure, ax, cells, unsure, label or _LABELS.get(value, value))
    name_cells(ax, cells, each=tree is not None)
    ax.set(ylabel=_AXES[variant][0], xlabel=_AXES[variant][1])
    for zone in zones or ():
        _zone(ax, cells, zone)
    if tree is not None:
        _draw_tree(ax, tree)
    _legend(
        figure,
        bool(unsure.eq(1).any(axis=None)),
        "intact model",
        variant in _SQUARE and not triangle,
    )
    if title:
        figure.suptitle(style.wrapped(title, style.SINGLE))
    return style.finished(figure)


def draw_cells(
    figure: Figure, ax: Axes, cells: pd.DataFrame, unsure: pd.DataFrame, label: str
) -> None:
    """A map with its colour bar, row 0 on top; a dot where `unsure` is 1, grey where nothing is."""
    norm, scale = _scale(cells)
    # Rasterised: as vector cells, PDF viewers draw hairlines between neighbours.
    mesh = ax.pcolormesh(cells.to_numpy(float), norm=norm, cmap=_COLOURS, rasterized=True)
    ax.set_facecolor(_MISSING)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    rows, columns = np.nonzero(unsure.eq(1).to_numpy())
    ax.plot(columns + 0.5, rows + 0.5, **_DOT)
    bar = figure.colorbar(
        mesh, ax=ax, label=f"{label}\n({scale})", aspect=25, pad=0.02, extend="both", shrink=0.85
    )
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)


_DOT: dict[str, Any] = {
    "linestyle": "none", "marker": "o", "markersize": 1.8,
    "color": "white", "markeredgecolor": "black", "markeredgewidth": 0.4,
}  # fmt: skip


def _scale(cells: pd.DataFrame) -> tuple[Normalize, str]:
    values = cells.to_numpy(float)
    values = values[np.isfinite(values)]
    if not values.size:
        raise TableError("the grid holds no finite value")
    low, high = np.percentile(values, _CLIPPED)
    if low == high:
        low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    if values.min() > 0 and low > 0:
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


def _cells(rows: pd.DataFrame, value: str, variant: str) -> pd.DataFrame:
    layers = sorted({*rows["layer"].astype(int), *rows["other"].astype(int)})
    cells = rows.pivot(index="layer", columns="other", values=value)
    cells = cells.reindex(index=layers, columns=layers).astype(float)
    return cells.combine_first(cells.T) if variant == "swap" else cells


def _unsure(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    low, high = f"{value}_low", f"{value}_high"
    if not {low, high} <= set(rows):
        return rows.assign(unsure=0.0)
    wide = rows[high] - rows[low] > rows[value].abs()
    return rows.assign(unsure=(wide | (rows[low] <= 0) & (rows[high] >= 0)).astype(float))


def _tree(
    cells: pd.DataFrame, variant: str, order: str, zones: Sequence[int] | None
) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """The linkage of the layers, or None where they stay in their own order."""
    if order not in ("layer", "hierarchical"):
        raise TableError(f"order={order!r} is not an order of layers; use layer, hierarchical")
    if order == "layer":
        return None
    if zones:
        raise TableError('zones are runs of layers; draw them with order="layer"')
    values = cells.to_numpy(float)
    apart = ~np.eye(len(values), dtype=bool)
    if variant not in _SQUARE or len(values) < 3 or not np.isfinite(values[apart]).all():
        raise TableError(
            f"a {variant} grid of {len(values)} layers has no full square to order; "
            "use swaps, replacements or moves of three layers or more"
        )
    distances = np.log1p(np.clip((values + values.T) / 2, 0, None))
    np.fill_diagonal(distances, 0)
    return np.asarray(linkage(squareform(distances), "average"))


def _draw_tree(ax: Axes, tree: "np.ndarray[Any, np.dtype[np.float64]]") -> None:
    above = ax.inset_axes((0.0, 1.01, 1.0, 0.13))
    dendrogram(tree, ax=above, no_labels=True, color_threshold=0, above_threshold_color=style.INK)
    for line in above.collections:
        line.set_linewidth(0.5)
    above.set_axis_off()


def name_cells(ax: Axes, cells: pd.DataFrame, each: bool = False) -> None:
    """Ticks at round layers; where layers are out of order, at each of them if there is room."""
    for axis, labels in ((ax.xaxis, cells.columns), (ax.yaxis, cells.index)):
        names = [int(label) for label in labels]
        all_fit = each and len(names) <= _EACH
        shown = (
            names if all_fit else names[:: len(names) // 20] if each else style.tick_values(names)
        )
        axis.set_ticks([names.index(n) + 0.5 for n in shown], [str(n) for n in shown])
        if each and len(names) > 15:
            axis.set_tick_params(labelsize=4.5, length=1)
            ax.xaxis.set_tick_params(rotation=90)


def _zone(ax: Axes, cells: pd.DataFrame, zone: int) -> None:
    at = int((np.asarray(cells.index) < zone).sum())
    for line in (ax.axhline, ax.axvline):
        line(at, color="white", linewidth=1.4)
        line(at, color="black", linewidth=0.6)


def _legend(figure: Figure, unsure: bool, grey: str, with_grey: bool) -> None:
    entries: list[Any] = [Patch(facecolor=_MISSING, label=grey)] if with_grey else []
    if unsure:
        entries.append(Line2D([], [], label="95 % interval holds 0, or is wide", **_DOT))
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=2, handlelength=1.2)
