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

    Reads `Search.judged`: variant, calls, measure, value, low, high. Bands are 95 % intervals.
    Raises TableError where a search judged nothing.
    """
    require(table, "variant", "calls", "measure", "value", "low", "high")
    if table.empty:
        raise TableError("no plans were judged")
    lines = table.assign(axis="layer calls", place=table["calls"])
    return depth_curves(lines, "variant", title=title)
