"""What stitching one model into another costs, as a map of states and as lines over depth."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import require
from . import appearance, cells, naming, style, wishes
from .grids import draw_map, map_legend, unsure_of
from .legends import MOST_BANDS, interval, legend_below

_NAMES = {
    "ridge": "affine map (ridge)",
    "orthogonal": "rotation and scale",
    "identity": "no map",
    "random": "random rotation",
    "same_model": "the target's own state",
    "mean": "mean state",
}
_RISE = "rise in loss, nats per token"
_KINK = 0.1  # nats: above it the scale of curves is logarithmic, below it linear
_COLUMNS = ("source_state", "target_state", "map", "increase")


@style.drawing
def stitching_heatmap(
    table: pd.DataFrame,
    kind: str = "ridge",
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Rise in the target's loss for every pair of states under one map of `patching.stitch`.

    Colours as in `grid_heatmap`; a dot marks an interval that includes 0 or is wide.

    Args:
        table: What `stitching.stitch` returned.
        kind: The map that is drawn.
        title: Over the map.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, or without that map.

    Example:
        >>> from painters_interp import figures
        >>> cells = [(i, j, 1.0 + i * j) for i in range(2) for j in range(2)]
        >>> rise = pd.DataFrame(cells, columns=["source_state", "target_state", "increase"])
        >>> rise = rise.assign(map="ridge", increase_low=0.5, increase_high=2.5)
        >>> len(figures.stitching_heatmap(rise).axes)
        2
    """
    require(table, *_COLUMNS)
    rows = table[table["map"] == kind]
    if rows.empty:
        known = ", ".join(m for m in table["map"].unique() if m != "intact")
        raise TableError(f"no rows with map {kind!r}; the table has {known}")
    values = _cells(rows, "increase")
    unsure = _cells(rows.assign(unsure=unsure_of(rows, "increase")), "unsure")
    figure, [ax] = style.canvas(1, 76.0 + (4 if title else 0))
    draw_map(figure, ax, values, unsure, _RISE)
    ax.set(ylabel=f"state i of the source{naming.STATES}", xlabel="state j of the target")
    map_legend(figure, ax, unsure, cells.missing([ax]))
    style.head(figure, [ax], title, page=1)
    return style.finished(figure, [ax])


@style.drawing
def stitching_curves(
    table: pd.DataFrame,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Rise in the target's loss against the target's state, a line per map.

    Bands are the table's intervals. The scale is logarithmic above 0.1 nats and linear below.

    Args:
        table: What `stitching.stitch` returned, with one source state for every target state.
        title: Over the plot.
        ax: Draw into these axes.
        names: What maps are called.
        palette: Colours of the maps.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, or with several source states for a target state.

    Example:
        >>> from painters_interp import figures
        >>> rise = pd.DataFrame({"source_state": [1, 2], "target_state": [1, 2]})
        >>> rise = rise.assign(map="ridge", increase=1.0, increase_low=0.5, increase_high=2.5)
        >>> len(figures.stitching_curves(rise).axes)
        1
    """
    require(table, *_COLUMNS, "increase_low", "increase_high")
    rows = table[table["map"] != "intact"]
    if rows.duplicated(["target_state", "map"]).any():
        raise TableError("several source states for one target state; see stitching_heatmap")
    bars = rows["map"].nunique() > MOST_BANDS
    figure, [ax] = style.canvas(1, 82.0 + (4 if title else 0))
    known = [kind for kind in _NAMES if rows["map"].eq(kind).any()]
    for kind, look in appearance.looks([*known, *rows["map"]]).items():
        line = rows[rows["map"] == kind].sort_values("target_state")
        appearance.draw_line(
            ax,
            line["target_state"],
            line["increase"],
            look,
            (names or {}).get(kind, _NAMES.get(kind, look.label)),
            rows=line.rename(columns={"increase_low": "low", "increase_high": "high"}),
        )
        ends = line["increase_low"], line["increase_high"]
        appearance.draw_band(ax, line["target_state"], *ends, look, alpha=0.22, bars=bars)
    appearance.reference(ax, 0)
    ax.set(xlabel=f"state j of the target{naming.STATE.replace('k', 'j')}", ylabel=_RISE)
    appearance.half_logarithmic(ax, _KINK)
    ax.set_ylim(bottom=min(-0.02, 1.2 * float(rows["increase_low"].min())))
    style.whole_numbers(ax)
    sns.despine(ax=ax)
    legend_below(figure, [ax], columns=2, more=[interval(bars)])
    style.head(figure, [ax], title, page=1)
    return style.finished(figure, [ax])


def _cells(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    if rows.duplicated(["source_state", "target_state"]).any():
        raise TableError("several rows for one pair of states; keep one pair of models per figure")
    found = rows.pivot(index="source_state", columns="target_state", values=value).astype(float)
    return found.set_axis(found.index.astype(int)).set_axis(found.columns.astype(int), axis=1)
