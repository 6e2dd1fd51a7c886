"""A matrix as coloured cells: the one painter of heatmaps, with its ticks, marks and colour bar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PatchCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN, CARETRIGHT
from matplotlib.patches import Patch, Rectangle

from ..errors import TableError
from . import naming, style
from .told import tell_cells

MISSING = "0.85"
ZONE: Any = (0, (5, 2))  # dashes of a line between zones

Limits = tuple[float, float]


@dataclass(frozen=True)
class Meaning:
    """What colours say, the same in every figure: a map, and what is good in words on the bar."""

    colours: str
    good: str = ""
    signed: bool = False


# Perceptually uniform, and of one lightness after another, so that they also read in greyscale:
# light is alike, near, harmless. Effects that have a sign are white at 0, and hatched below.
SIMILARITY = Meaning("viridis", "lighter: more alike")
DISTANCE = Meaning("mako_r", "darker: further apart")
DAMAGE = Meaning("rocket_r", "darker: more damage")
SCORE = Meaning("rocket", "lighter: better")
LIKELY = Meaning("rocket", "lighter: likelier")
SIGNED = Meaning("vlag", "white: no effect", signed=True)
BALANCE = Meaning("vlag", "white: both alike", signed=True)  # of two answers
ANY = Meaning("cividis")
MEANINGS = {"similarity": SIMILARITY, "distance": DISTANCE, "damage": DAMAGE, "score": SCORE,
            "effect": SIGNED, "": ANY}  # fmt: skip


def meaning_of(name: str) -> Meaning:
    """The meaning of this name. Raises TableError."""
    if name not in MEANINGS:
        known = ", ".join(filter(None, MEANINGS))
        raise TableError(f"no meaning {name!r} of colours; there are {known}")
    return MEANINGS[name]


MARK: dict[str, Any] = {
    "linestyle": "none", "marker": "o", "markersize": 2.5,
    "color": "white", "markeredgecolor": "black", "markeredgewidth": 0.5,
}  # fmt: skip
_SMALLER = 1.4  # is the type beside a bar than a title's
_ZERO = 0.01  # of a scale: what is nearer to 0 does not change sign
_FAINT = 0.05  # of the way to an end: what is nearer to 0 looks white
_BELOW_ZERO, _HATCH = "//////", "0.15"
_BELOW = 5.5  # lines that a bar takes below a panel
_MAP = 0.65  # of a figure, beside its labels and colour bar
_OF_A_CELL = 0.4  # the most that a mark may take
_EACH = 40  # up to so many cells each has its name where they are not in order


def draw(
    ax: Axes,
    values: pd.DataFrame,
    limits: Limits | Normalize,
    meaning: Meaning,
    square: bool = False,
    beside: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """The cells of a matrix over whole numbers, row 0 on top; missing ones are grey.

    `beside` it are matrices of plans, or of the ends of intervals (`told`).

    Effects that have a sign are white at 0, on a scale that reaches as far on both sides.
    """
    norm = limits if isinstance(limits, Normalize) else Normalize(*limits)
    if meaning.signed and not isinstance(limits, Normalize):
        norm = CenteredNorm(0.0, max(abs(limits[0]), abs(limits[1]), 1e-12))
    # Rasterised: as vector cells, PDF viewers draw hairlines between neighbours.
    mesh = ax.pcolormesh(values.to_numpy(float), norm=norm, cmap=meaning.colours, rasterized=True)
    tell_cells(mesh, values, beside)
    if meaning.signed:
        below = np.argwhere(values.to_numpy(float) < -_FAINT * (norm.vmax or 0))
        ax.add_collection(_hatched((column, row, 1, 1) for row, column in below))
    ax.set_facecolor(MISSING)
    ax.invert_yaxis()
    if square:
        ax.set_aspect("equal")
    for spine in ax.spines.values():
        spine.set_visible(False)
    name(ax, values)


def _hatched(boxes: Iterable[tuple[float, float, float, float]]) -> PatchCollection:
    """Lines over what lies below 0, so that its colours are told from those above without hue."""
    patches = [Rectangle((x, y), width, height) for x, y, width, height in boxes]
    with mpl.rc_context({"hatch.linewidth": 0.3}):
        return PatchCollection(
            patches, hatch=_BELOW_ZERO, facecolor="none", edgecolor=_HATCH, linewidth=0
        )


def name(ax: Axes, values: pd.DataFrame, each: bool = False) -> None:
    """Ticks at round numbers; with `each`, for numbers out of order, at all of them."""
    for axis, labels in ((ax.xaxis, values.columns), (ax.yaxis, values.index)):
        if not pd.api.types.is_numeric_dtype(labels):
            _name_in_words(axis, labels)
            continue
        numbers = [int(label) for label in labels]
        shown = numbers if each else style.tick_values(numbers)
        axis.set_ticks([numbers.index(n) + 0.5 for n in shown], [str(n) for n in shown])


def _name_in_words(axis: Axis, labels: Any) -> None:
    """Ticks with words: all of them, or every so-manyth where they are many."""
    every = -(-len(labels) // _EACH)
    shown = [naming.plain(naming.shortened(str(label), 24)) for label in labels[::every]]
    axis.set_ticks([place + 0.5 for place in range(0, len(labels), every)], shown)


def mark(
    ax: Axes, where: Bool[np.ndarray, "row column"], label: str | None = None, largest: float = 1.8
) -> None:
    """A dot in some cells, at most so many points wide and less in cells that it would hide."""
    columns, rows = np.nonzero(where.T)
    box = ax.figure.bbox
    cell = min(box.width / where.shape[1], box.height / where.shape[0]) * _MAP * 72 / ax.figure.dpi
    size = min(largest, _OF_A_CELL * cell)
    ax.plot(columns + 0.5, rows + 0.5, label=label, **MARK | {
        "markersize": size, "markeredgewidth": max(size / 4.5, 0.25),
    })  # fmt: skip


def bar(
    figure: Figure,
    axes: Sequence[Axes],
    label: str,
    meaning: Meaning,
    extend: str = "neither",
    rows: int = 1,
) -> Axis:
    """The colour bar of `rows` rows of panels that share their limits; its axis.

    Says what the values are, whether the ends are cut, and what is good; an arrow is at 0 where
    values change sign. It stands beside the panels, or below where they are narrow for their type.
    """
    cut = {"both": "ends cut", "min": "lower end cut", "max": "upper end cut"}.get(extend, "")
    notes = "; ".join(filter(None, (cut if "%" not in label else "", meaning.good)))
    label = "\n".join(filter(None, (label, notes)))
    below = style.narrow(axes[0])
    room = figure.get_figwidth() if below else figure.get_figheight()
    lines = [naming.wrapped(line, 25.4 * room * _SMALLER, lines=2) for line in label.split("\n")]
    made = figure.colorbar(
        axes[0].collections[0],
        ax=list(axes),
        label="\n".join(lines),
        aspect=25 * (1 if below else rows),
        pad=0.02,
        extend=extend,
        location="bottom" if below else "right",
        shrink=0.9 if below else 1.0,  # room for the names of its ends
    )
    made.outline.set_visible(False)
    if below and style.column(axes[0]) == 0:
        more = _BELOW * naming.points("axes.labelsize") / 72
        figure.set_figheight(figure.get_figheight() + more)
    low, high = made.norm.vmin or 0.0, made.norm.vmax or 0.0
    if meaning.signed:
        box = (low, 0, -low, 1) if below else (0, low, 1, -low)
        made.ax.add_collection(_hatched([box]))
    if min(-low, high) > _ZERO * (high - low):
        along = made.ax.get_xaxis_transform() if below else made.ax.get_yaxis_transform()
        tip = CARETDOWN if below else CARETRIGHT
        made.ax.plot(0, 1 if below else 0, marker=tip, markersize=4, markeredgewidth=0,
                     color=style.INK, transform=along, clip_on=False)  # fmt: skip
    return axis_along(made)


def axis_along(bar: Colorbar) -> Axis:
    """The axis on which a bar has its values."""
    return bar.ax.yaxis if bar.orientation == "vertical" else bar.ax.xaxis


def missing(axes: Sequence[Axes]) -> list[Patch]:
    """What grey cells are, for a legend; nothing where there are none."""
    meshes = [mesh for ax in axes for mesh in ax.collections if isinstance(mesh, QuadMesh)]
    values: list[Any] = [
        np.ma.filled(np.ma.asarray(mesh.get_array(), dtype=float), np.nan) for mesh in meshes
    ]
    known = all(np.isfinite(cells).all() for cells in values)
    return [] if known else [Patch(facecolor=MISSING, label="no value")]


def zone_lines(ax: Axes, places: Iterable[float], end: int, above: bool = False) -> None:
    """Lines at the boundaries of zones of a square map of so many cells; or in its upper half."""
    for place in places:
        if not 0 < place < end:
            raise TableError(
                f"a zone begins at cell {place:g}, and there are {end}; zones are boundaries within"
            )
        ends = (place, end), (0, place)
        across, down = ends if above else ((0, end), (0, end))
        for colour, width, dashes in (("white", 1.6, "solid"), ("black", 0.7, ZONE)):
            ax.hlines(place, *across, color=colour, linewidth=width, linestyle=dashes)
            ax.vlines(place, *down, color=colour, linewidth=width, linestyle=dashes)


def reach(values: Any, low: float = np.inf, high: float = -np.inf) -> Limits:
    """From the smallest to the largest finite value of matrices, or further where so asked."""
    parts = values if isinstance(values, list) else [values]
    finite = np.concatenate([np.asarray(part, dtype=float).ravel() for part in parts])
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        raise TableError("the table holds no finite value to draw")
    return min(low, float(finite.min())), max(high, float(finite.max()))


def beyond(values: pd.DataFrame, limits: Limits) -> str:
    """Which ends of the colour bar need an arrow."""
    numbers, (low, high) = values.to_numpy(dtype=float), limits
    under, over = bool((numbers < low - 1e-9).any()), bool((numbers > high + 1e-9).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
        (under, over), "neither"
    )
