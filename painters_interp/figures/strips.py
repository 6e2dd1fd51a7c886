"""A plan as a strip of its steps."""

from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..plans import Plan
from . import naming, style

_ROW = 30  # cells in a row of the strip
_CELL = 0.92
_MOST = 300  # cells; longer plans would be no picture

Cell = tuple[str, int]  # what stands in it, and the layer that gives the colour


@style.drawing
def plan_strip(plan: Plan, title: str | None = None, *, ax: Axes | None = None) -> Figure:
    """The steps of a plan from left to right: layers as cells, groups side by side.

    Equal steps that follow each other are one, marked with how often. The colour of a cell is the
    depth at which its layer stands in the intact model. A series within a step has a box.

    Args:
        plan: A plan.
        title: Over the strip; its text if not given.
        ax: Draw into these axes.

    Returns:
        The figure.

    Example:
        >>> from painters_interp import Plan, figures
        >>> figure = figures.plan_strip(Plan.parse("0-2 (3|4)*3 5", 6))
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['0', '1', '2', '3', '4', 'x3', '5']
    """
    columns = [([_cells(branch) for branch in step.branches], len([*equal]), step.scale_text)
               for step, equal in groupby(plan.steps)]  # fmt: skip
    cut = sum(_wide(branches) for branches, _, _ in columns) > _MOST
    places, rows, left = [], 0, 0
    for branches, _, _ in columns[: _MOST if cut else None]:
        if left and left + _wide(branches) > _ROW:
            rows, left = rows + 1, 0
        places.append((left, rows))
        left += _wide(branches)
    tall = max(len(branches) for branches, _, _ in columns)
    pitch = tall + 1.6
    figure, [drawn] = style.canvas(2, 10.0 + (rows + 1) * (3.0 + 4.6 * tall))
    for (branches, times, scale), (left, row) in zip(columns, places, strict=False):
        for place, branch in enumerate(branches):
            _draw_branch(drawn, branch, left, -row * pitch - place, plan.n_layers)
        _note(drawn, f"{scale}\n{f'x{times}' if times > 1 else ''}".strip(), branches, left,
              -row * pitch)  # fmt: skip
    widest = max(left + _wide(branches) for (left, _), (branches, *_) in zip(places, columns))  # noqa: B905
    drawn.set_xlim(-0.2, max(widest, 12) + 0.2)
    drawn.set_ylim(-rows * pitch - tall + 0.8, 2.6)
    drawn.set_axis_off()
    told = f"{plan}{' (its beginning)' if cut else ''}" if title is None else title
    drawn.set_title(naming.wrapped(told, style.width(2), lines=2), loc="left")
    return style.finished(figure, [drawn])


def _cells(branch: Any) -> list[Cell]:
    """One layer, or the steps of a series."""
    steps = getattr(branch, "steps", (branch,))
    return [(str(step), getattr(step, "calls", (step,))[0].layer) for step in steps]


def _wide(branches: list[list[Cell]]) -> int:
    return max(map(len, branches))


def _draw_branch(ax: Axes, cells: list[Cell], left: int, base: float, n_layers: int) -> None:
    for place, (name, layer) in enumerate(cells):
        depth = layer / max(1, n_layers - 1)
        colour = plt.get_cmap("cividis")(depth)
        corner = (left + place, base)
        ax.add_patch(Rectangle(corner, _CELL, 0.9, facecolor=colour, linewidth=0))
        ax.text(corner[0] + _CELL / 2, base + 0.45, naming.shortened(name, 5), ha="center",
                va="center", color="white" if depth < 0.5 else "black",
                fontsize=plt.rcParams["xtick.labelsize"])  # fmt: skip
    if len(cells) > 1:
        ax.add_patch(Rectangle((left, base), len(cells) - 1 + _CELL, 0.9, fill=False,
                               edgecolor=style.INK, linewidth=1.0))  # fmt: skip


def _note(ax: Axes, told: str, branches: list[list[Cell]], left: int, base: float) -> None:
    """How a step is scaled and how often it runs, over a frame of its branches."""
    if not told:
        return
    wide, high = _wide(branches), len(branches) - 1
    ax.text(left + wide / 2, base + 1.1, told, ha="center", va="bottom",
            fontsize=plt.rcParams["xtick.labelsize"])  # fmt: skip
    ax.add_patch(Rectangle((left - 0.06, base - high - 0.08), wide + 0.04, high + 1.06, fill=False,
                           edgecolor=style.INK, linewidth=0.6))  # fmt: skip
