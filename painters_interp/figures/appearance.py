"""One look for each variant in all figures: colour, marker, dashes; and lines drawn in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator

from ..errors import TableError
from .naming import task_label
from .told import tell_points
from .wishes import WISHES

Dashes = str | tuple[int, tuple[float | int, ...]]
REFERENCE = "0.4"  # the grey of the lines of the intact model and of chance
INTACT: Dashes = (0, (5, 2))
CHANCE: Dashes = (0, (1, 1.5))


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of one line, and its name in a legend."""

    colour: str
    marker: str
    dashes: Dashes
    label: str

    def line(self, points: int) -> dict[str, Any]:
        """Arguments for `Axes.plot` of a line with so many points; marks of many are small."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "markersize": mpl.rcParams["lines.markersize"]
            * min(1.0, max(0.6, 12 / max(points, 1))),
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }


# Hues after Okabe and Ito, told apart with any colour vision; lightness moved apart so that the
# six variants of one figure also form a ladder in greyscale (L* 10, 34, 47, 58, 70, 78). Listed
# in the paper's order from harmless to harmful, which is the order in legends.
_DASHED: Dashes = (0, (4, 1.5))
_DOTTED: Dashes = (0, (1, 1.2))
_DASHDOT: Dashes = (0, (5, 1.2, 1, 1.2))
_LONG: Dashes = (0, (8, 2))
_DENSE: Dashes = (0, (2.5, 1))
VARIANTS = {
    "looped": Look("#0B4F9C", "o", "solid", "looped parallel"),
    "random": Look("#F0B820", "^", _DENSE, "random order"),
    "reverse": Look("#009E73", "v", _DASHDOT, "reversed order"),
    "parallel": Look("#56B4E9", "D", _LONG, "parallel"),
    "skip": Look("#C8461E", "s", _DASHED, "skip"),
    "repeat": Look("#1A1A1A", "X", _DOTTED, "repeat middle layer"),
    "drop": Look("#C8461E", "s", "solid", "drop layer i"),
    "swap": Look("#56B4E9", "o", _DENSE, "swap layers i, i+1"),
    "drop_window": Look("#F0B820", "^", _DOTTED, "drop layers i to j"),
    "double": Look("#0B4F9C", "P", "solid", "each layer twice"),
    "triple": Look("#CC79A7", "d", _DASHED, "each layer three times"),
}
# For tasks, models and variants of one's own. Lengths without a common divisor: 210 looks.
_COLOURS = ("#0B4F9C", "#C8461E", "#56B4E9", "#009E73", "#F0B820", "#CC79A7", "#7A4B00")
_MARKERS = ("o", "s", "D", "v", "^", "P")
_LINES: tuple[Dashes, ...] = ("solid", _DASHED, _LONG, _DASHDOT, _DENSE)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name: a variant has the same one in every figure, others take spare ones.

    Called as the user's `names` say, in the colours of the user's `palette`.
    """
    wishes, known = WISHES.get(), [*dict.fromkeys(names)]
    taken = {VARIANTS[name].colour for name in known if name in VARIANTS}
    every = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES), strict=False)
    spare = (look for look in every if look[0] not in taken)
    found = {
        name: VARIANTS[name] if name in VARIANTS else Look(*next(spare), task_label(name))
        for name in known
    }
    colours = _colours(wishes.palette, known)
    for name, look in found.items():
        label = wishes.names.get(name, look.label)
        found[name] = replace(look, label=label, colour=colours.get(name, look.colour))
    return found


def _colours(
    palette: Mapping[str, str] | Sequence[str] | str | None, names: Sequence[str]
) -> dict[str, str]:
    """The colour of each name: as it says, in its order, or of seaborn's palette of that name."""
    if palette is None:
        return {}
    try:
        if isinstance(palette, Mapping):
            return {name: to_hex(colour) for name, colour in palette.items()}
        return dict(zip(names, map(to_hex, sns.color_palette(palette, len(names))), strict=False))
    except ValueError as error:
        raise TableError(
            f"palette={palette!r}: {error}; give colours, or a palette's name"
        ) from None


def draw_line(
    ax: Axes,
    x: "pd.Series[Any]",
    y: "pd.Series[Any]",
    look: Look,
    name: str | None = None,
    rows: pd.DataFrame | None = None,
) -> Line2D:
    """A line in its look, called `name` in the legend; its points are `rows` (`told`)."""
    label = look.label if name is None else name
    (line,) = ax.plot(x.astype(float), y.astype(float), **look.line(len(x)), label=label)
    if rows is not None:
        tell_points(line, rows)
    return line


def reference(
    ax: Axes,
    value: float,
    dashes: Dashes = INTACT,
    name: str | None = None,
    width: float = 0.8,
) -> None:
    """A grey line across axes, such as the intact model's; called `name` in the legend."""
    ax.axhline(value, color=REFERENCE, linestyle=dashes, linewidth=width, zorder=1, label=name)


def half_logarithmic(ax: Axes, kink: float) -> None:
    """A scale that is linear around 0 and logarithmic beyond; marks where it changes, and says so.

    For axes that have their curves and their label.
    """
    ax.set_yscale("symlog", linthresh=kink)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=kink, subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    for place in (kink, -kink) if ax.get_ylim()[0] < -kink else (kink,):
        reference(ax, place, CHANCE, width=0.6)
    told = f"(log above {kink:g}, linear below)"
    ax.set_ylabel("\n".join(filter(None, (ax.get_ylabel(), told))))


def beside(places: "pd.Series[Any]", which: int, of: int) -> float:
    """How far beside its place stands a mark of the line `which`, so that none hides another."""
    known = np.sort(places.astype(float).unique())
    step = float(np.diff(known).min()) if len(known) > 1 else 1.0
    return 0.62 * step * ((which + 0.5) / of - 0.5)


def draw_band(
    ax: Axes,
    x: "pd.Series[Any]",
    low: "pd.Series[Any]",
    high: "pd.Series[Any]",
    look: Look,
    alpha: float = 0.13,
    bars: bool = False,
) -> None:
    """From low to high around a line, or as bars at its markers; around a single point, a bar."""
    place, ends = x.astype(float), (low.astype(float), high.astype(float))
    if bars:
        ax.vlines(place, *ends, color=look.colour, linewidth=0.8, zorder=1.5)
    elif len(place) == 1:
        ax.vlines(place, *ends, color=look.colour, alpha=0.4, linewidth=2.5)
    else:
        ax.fill_between(place, *ends, color=look.colour, alpha=alpha, linewidth=0)
