"""What a search found against what is cheap to find."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import require
from . import appearance, naming, style, wishes
from .legends import MOST_BANDS, interval, legend_below

_BESIDE = 0.5  # layer calls that the axis goes on beyond the fewest and the most


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

    Bands, or where there are more than three lines bars at their markers, are 95 % intervals.

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
    if table["measure"].nunique() > 1:
        raise TableError("several measures in one table; keep one search per figure")
    known = table[(table["high"] > table["low"]).fillna(False)]
    bars = known["variant"].nunique() > MOST_BANDS
    figure, [drawn] = style.canvas(1, 70.0)
    looks = appearance.looks(table["variant"])
    for place, (variant, look) in enumerate(looks.items()):
        line = table[table["variant"] == variant].sort_values("calls")
        if line["calls"].duplicated().any():
            raise TableError(f"{variant!r} has several rows for so many calls; keep one search")
        x = line["calls"] + appearance.beside(table["calls"], place, len(looks)) * bars
        appearance.draw_line(drawn, x, line["value"], look, rows=line)
        appearance.draw_band(drawn, x, line["low"], line["high"], look, bars=bars)
    drawn.set(xlabel="layer calls", ylabel=naming.with_unit(str(table["measure"].iloc[0])))
    drawn.set_title(naming.wrapped(title or "", style.width(1)))
    drawn.set_xlim(table["calls"].min() - _BESIDE, table["calls"].max() + _BESIDE)
    style.whole_numbers(drawn)
    sns.despine(ax=drawn)
    legend_below(figure, [drawn], columns=2, more=[interval(bars)] if len(known) else [])
    return style.finished(figure, [drawn])
