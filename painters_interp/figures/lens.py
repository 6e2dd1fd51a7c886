"""What each state would say next: the logit lens as a map of words."""

from unicodedata import east_asian_width

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import require
from . import cells, naming, style
from .legends import legend_below
from .patching import shown

_LETTER = 0.62  # of a size of type, a letter's width


@style.drawing
def logit_lens(table: pd.DataFrame, title: str | None = None, *, ax: Axes | None = None) -> Figure:
    """The likeliest next token by each state, and how likely: states upwards, positions across.

    Args:
        table: What `patching.readout` returned.
        title: Over the map.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: For a table that is no logit lens.

    Example:
        >>> from painters_interp import figures, patching
        >>> figure = figures.logit_lens(patching.readout(model, "a cat sat", positions=[1, 2]))
        >>> figure.axes[0].get_xlabel()
        'after the token'
    """
    require(table, "position", "state", "token", "rank", "logprob")
    best = table[table["rank"] == 0]
    if best.empty or best.duplicated(["position", "state"]).any():
        raise TableError("one likeliest token for each position and state is needed; see readout")
    values = best.pivot(index="state", columns="position", values="logprob").astype(float)
    values = values.map(np.exp)
    words = best.pivot(index="state", columns="position", values="token")
    page = 1 if values.shape[1] <= 6 else 2
    figure, [drawn] = style.canvas(page, min(230.0, 22.0 + 3.6 * len(values)))
    cells.draw(drawn, values, (0.0, 1.0), cells.LIKELY)
    drawn.invert_yaxis()  # the last state, which is the model's answer, on top
    if "after" in best:
        after = best.drop_duplicates("position").set_index("position")["after"]
        places = [shown(str(after[position])) for position in values.columns]
        drawn.set_xticks([i + 0.5 for i in range(len(places))], places)
    drawn.set(xlabel="after the token", ylabel=f"state read{naming.STATE}")
    drawn.set_title(naming.wrapped(title or "", style.width(page)))
    cells.bar(figure, [drawn], "probability of the likeliest next token", cells.LIKELY)
    legend_below(figure, [drawn], columns=1, more=cells.missing([drawn]))
    _write(drawn, words, values)
    return style.finished(figure, [drawn])


def _write(ax: Axes, words: pd.DataFrame, values: pd.DataFrame) -> None:
    """The words in their cells, without their middles where those are too narrow."""
    style.lay_out(ax)
    size = naming.points("xtick.labelsize")
    cell = ax.get_window_extent().width / words.shape[1] * 72 / ax.figure.dpi
    fit = max(2, int(cell / (_LETTER * size)))
    for (row, column), word in np.ndenumerate(words.to_numpy()):
        light = values.to_numpy()[row, column] > 0.6
        most = fit // 2 if any(east_asian_width(sign) in "WF" for sign in str(word)) else fit
        ax.text(column + 0.5, row + 0.5, shown(str(word), most), fontsize=size,
                ha="center", va="center", clip_on=True,
                color="black" if light else "white")  # fmt: skip
