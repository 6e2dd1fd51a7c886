"""What a search found against what is cheap to find."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import require
from . import style, wishes
from .depth import depth_curves


@style.drawing
def search_curves(
    table: pd.DataFrame,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """What is lost on held-out texts against layer calls, a line per way to choose what runs.

    Bands are 95 % intervals.

    Args:
        table: `Search.judged`: variant, calls, measure, value, low, high.
        title: Over the plot.
        ax: Draw into these axes.
        names: What the ways are called.
        palette: Their colours.

    Returns:
        The figure.

    Raises:
        TableError: where a search judged nothing.

    Example:
        >>> from painters_interp import figures
        >>> judged = pd.DataFrame({"variant": "search", "calls": [4, 5], "value": [0.5, 0.2]})
        >>> judged = judged.assign(measure="kl", low=0.1, high=0.6)
        >>> len(figures.search_curves(judged).axes)
        1
    """
    require(table, "variant", "calls", "measure", "value", "low", "high")
    if table.empty:
        raise TableError("no plans were judged")
    lines = table.assign(axis="layer calls", place=table["calls"])
    return depth_curves(lines, "variant", title=title)
