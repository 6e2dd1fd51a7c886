"""A plan as a strip of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..plans import Plan
from . import naming, style

_PITCH = 1.75  # from cell to cell, in sizes of type: a number of two digits with a margin
_CELL = 0.92  # of the pitch
_LETTER = 0.64  # of a size of type, the widest digit
_NOTE, _GAP = 0.85, 0.45  # over a row with notes, and under each, in cells
_TALLEST = 24  # branches below each other; of more, the middle ones are left out
_HEAD = 25.0  # mm for the title
_MOST = 300  # cells; longer plans would be no picture
_LONGEST = 12  # characters in a cell

Cell = tuple[str, int | None]  # what stands in it, and the layer that gives the colour


@dataclass(frozen=True)
class _Shown:
    """Equal steps that follow each other: their branches, how they are scaled and how often run."""

    branches: list[list[Cell]]
    note: str

    @property
    def wide(self) -> float:
        return max(_width(self.note), *(sum(map(_wide, branch)) for branch in self.branches))

    @property
    def tall(self) -> int:
        return len(self.branches)


@style.drawing
def plan_strip(plan: Plan, title: str | None = None, *, ax: Axes | None = None) -> Figure:
    """The steps of a plan from left to right: layers as cells, groups side by side.

    Equal steps that follow each other are one, marked with how often. The colour of a cell is the
    depth at which its layer stands in the intact model. A series within a step has a box. What does
    not fit beside each other goes on in the next row.

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
    figure, [drawn] = style.canvas(2, 30.0)
    cell, width = _PITCH * naming.points("xtick.labelsize") * 25.4 / 72, style.room(drawn)
    shown, cut = _shown(plan, width / cell)
    places, height = _placed(shown, width / cell)
    for step, left, top in places:
        _draw(drawn, step, left, top, plan.n_layers)
    drawn.set(xlim=(0, width / cell), ylim=(height, 0))
    drawn.set_aspect("equal", anchor="NW")
    drawn.set_axis_off()
    told = f"{plan}{' (its beginning)' if cut else ''}" if title is None else title
    drawn.set_title(naming.wrapped(told, width, lines=3), loc="left")
    if not style.borrowed():
        figure.set_figheight((height * cell + _HEAD) / 25.4)  # what is too much goes again
    return style.finished(figure, [drawn])


def _shown(plan: Plan, room: float) -> tuple[list[_Shown], bool]:
    """What is drawn of a plan, in rows of so many cells, and whether that is its beginning only."""
    shown, total = [], 0.0
    for step, equal in groupby(plan.steps):
        times = len([*equal])
        note = f"{step.scale_text} {f'x{times}' if times > 1 else ''}".strip()
        branches = [_folded(_cells(branch), room) for branch in step.branches]
        if len(branches) > _TALLEST:
            half = _TALLEST // 2
            branches = [*branches[:half], [("\N{VERTICAL ELLIPSIS}", None)], *branches[-half:]]
        shown.append(_Shown(branches, note))
        total += shown[-1].wide
        if total > _MOST:
            return shown, True
    return shown, False


def _cells(branch: Any) -> list[Cell]:
    """One layer, or the steps of a series."""
    steps = getattr(branch, "steps", (branch,))
    return [(naming.shortened(str(step), _LONGEST), getattr(step, "calls", (step,))[0].layer)
            for step in steps]  # fmt: skip


def _folded(cells: list[Cell], room: float) -> list[Cell]:
    """A series without its middle, where it is wider than a row."""
    if sum(map(_wide, cells)) <= room:
        return cells
    half = max(1, int(room / max(map(_wide, cells)) - 1) // 2)
    return [*cells[:half], ("\N{HORIZONTAL ELLIPSIS}", None), *cells[-half:]]


def _wide(cell: Cell) -> float:
    return max(1.0, _width(cell[0]))


def _width(text: str) -> float:
    """How many cells a text is wide, with a margin."""
    return (_LETTER * len(text) + 0.4) / _PITCH if text else 0.0


def _placed(
    shown: Sequence[_Shown], room: float
) -> tuple[list[tuple[_Shown, float, float]], float]:
    """Each step with its left and its top, in rows so wide; and the height of all."""
    rows: list[list[tuple[_Shown, float]]] = [[]]
    left = 0.0
    for step in shown:
        if rows[-1] and left + step.wide > room:
            rows, left = [*rows, []], 0.0
        rows[-1].append((step, left))
        left += step.wide
    places, top = [], 0.0
    for row in rows:
        top += _NOTE * any(step.note for step, _ in row)
        places += [(step, left, top) for step, left in row]
        top += max(step.tall for step, _ in row) + _GAP
    return places, top


def _draw(ax: Axes, step: _Shown, left: float, top: float, n_layers: int) -> None:
    """The branches of a step below each other, in a frame with a note where it has one."""
    for row, branch in enumerate(step.branches):
        first = left + (step.wide - sum(map(_wide, branch))) / 2
        ends = [first]
        for cell in branch:
            _draw_cell(ax, cell, ends[-1], top + row, n_layers)
            ends.append(ends[-1] + _wide(cell))
        if len(branch) > 1:
            _frame(ax, first, top + row, ends[-1] - first, 1, linewidth=1.0)
    if step.note:
        ax.text(left + step.wide / 2, top - 0.15, step.note, ha="center", va="bottom",
                fontsize=plt.rcParams["xtick.labelsize"])  # fmt: skip
        _frame(ax, left, top, step.wide, step.tall, linewidth=0.6)


def _draw_cell(ax: Axes, cell: Cell, left: float, top: float, n_layers: int) -> None:
    name, layer = cell
    depth = None if layer is None else layer / max(1, n_layers - 1)
    colour: Any = "none" if depth is None else plt.get_cmap("cividis")(depth)
    wide = _wide(cell) - (1 - _CELL)
    ax.add_patch(Rectangle((left, top), wide, _CELL, facecolor=colour, linewidth=0))
    ax.text(left + wide / 2, top + _CELL / 2, name, ha="center", va="center_baseline",
            color="white" if depth is not None and depth < 0.5 else "black",
            fontsize=plt.rcParams["xtick.labelsize"])  # fmt: skip


def _frame(ax: Axes, left: float, top: float, wide: float, tall: float, linewidth: float) -> None:
    """A line around cells, in the gap between them and the next."""
    gap = (1 - _CELL) / 2
    ax.add_patch(Rectangle((left - gap, top - gap), wide, tall, fill=False, clip_on=False,
                           edgecolor=style.INK, linewidth=linewidth))  # fmt: skip
