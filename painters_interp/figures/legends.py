"""The one legend of a figure, under its panels."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import appearance, naming, style
from .fonts import make_legible

_LINE = 3.7  # mm
_INTERVAL = "95 % interval"
MOST_BANDS = 3  # more would hide each other: their intervals stand at the markers


def interval(bars: bool = False, over: str = "") -> Artist:
    """What intervals are, for a legend: bands, or bars at the markers; `over` what they are."""
    label, grey = f"{_INTERVAL} {over}".strip(), appearance.REFERENCE
    if bars:
        return Line2D([], [], color=grey, linestyle="none", marker="|", markersize=7, label=label)
    return Patch(facecolor=grey, alpha=0.25, linewidth=0, label=label)


def legend_below(
    figure: Figure, axes: Sequence[Axes], columns: int, more: Sequence[Any] = ()
) -> None:
    """One legend for all panels, under them: over the curves it would hide some.

    Long names take fewer columns, down to one, and are shortened where even that is too narrow: a
    legend is never cut off at the figure's edge. A name that has no value in any panel says so.
    `more` are handles beside those of the panels. Of a user's own axes the first has the legend,
    where there is room.
    """
    handles: dict[str, list[Any]] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, []).append(handle)
    names = [label + ("" if any(map(_has_value, of)) else " (no value)")
             for label, of in handles.items()]  # fmt: skip
    first = [*(of[0] for of in handles.values()), *more]
    names += [str(handle.get_label()) for handle in more]
    if not names:
        return
    if style.borrowed():
        axes[0].legend(first, [naming.shortened(name, 40) for name in names])
        return
    for ncols, most in (*((n, 60) for n in range(columns, 0, -1)), (1, 40), (1, 25)):
        shown = [naming.shortened(name, most) for name in names]
        legend = figure.legend(first, shown, loc="outside lower center", ncols=ncols)
        make_legible(legend)  # before it is measured
        if legend.get_window_extent().width <= figure.bbox.width or most == 25:
            break
        legend.remove()
    # The sizes of figures allow for three lines of legend; more must not squeeze the axes.
    further = max(0, ceil(len(names) / ncols) - 3)
    figure.set_figheight(figure.get_figheight() + further * _LINE / 25.4)


def _has_value(handle: Any) -> bool:
    if not isinstance(handle, Line2D):
        return True
    return bool(np.isfinite(np.asarray(handle.get_ydata(), dtype=float)).any())
