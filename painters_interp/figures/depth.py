"""Measures along depth as lines, and measures against what plans cost as clouds."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from ..errors import TableError
from ..notices import warn
from ..tables import require
from . import appearance, naming, style, wishes
from .legends import MOST_BANDS, interval, legend_below

_PANEL = 46.0  # mm
_ROOM = 5.7  # mm that a correlation takes with its axis, of type of one point
_RHO = "\N{GREEK SMALL LETTER RHO}"
_MARKS = {"o": "\u25cf", "s": "\u25a0", "D": "\u25c6", "v": "\u25bc", "^": "\u25b2", "P": "\u271a",
          "X": "\u2716", "d": "\u2666"}  # fmt: skip


@style.drawing
def depth_curves(
    table: pd.DataFrame,
    label: str | None = None,
    columns: int = 3,
    title: str | None = None,
    *,
    log: bool = False,
    axes: wishes.Panels = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Fig. 15 and the like: one panel per measure, its value against the layer or the state.

    Bands are 95 % intervals over documents; measures that pool all tokens have none. A measure
    without a value has no panel, and a warning says so.

    Args:
        table: `Similarity.curves()`: measure, axis, place, value, low, high; and `depth`, which
            takes the place of `place`.
        label: The name of a column (of models, plans or nulls joined into one table), each of whose
            values has a line.
        columns: How many panels stand side by side at most.
        title: Over the panels.
        log: Whether values have a logarithmic scale, from which zeros are left out; where some are
            below zero, it is linear around that, up to a mark.
        axes: Draw into these axes, one for each measure.
        names: What the values of `label` are called.
        palette: Their colours.

    Returns:
        The figure.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> from painters_interp import figures
        >>> curve = pd.DataFrame({"place": range(4), "value": [0.1, 0.3, 0.2, 0.5]})
        >>> curve = curve.assign(measure="variance", axis="layer", low=0.0, high=1.0)
        >>> figures.depth_curves(curve).axes[0].get_xlabel()
        'layer'
    """
    require(table, "measure", "axis", "place", "value", "low", "high", *([label] if label else []))
    measures = _with_values(table)
    columns = style.in_a_row(min(columns, len(measures)))
    rows = ceil(len(measures) / columns)
    page = 1 if columns == 1 else 2
    width = style.width(page)
    height = _PANEL * rows + (8 if label else 5)
    figure, drawn = style.canvas(page, height, rows, columns, len(measures))
    # Plans of other lengths stand where they do what the intact model does.
    places = table["depth"].fillna(table["place"]) if "depth" in table else table["place"]
    table = table.assign(x=places)
    labels = list(dict.fromkeys(table[label])) if label else [""]
    looks = appearance.looks(str(name) for name in labels)
    known = bool((table["high"] > table["low"]).any())
    bars = known and len(labels) > MOST_BANDS
    for measure, ax in zip(measures, drawn, strict=True):
        rows_of = table[table["measure"].eq(measure)]
        kink = _kink(rows_of["value"]) if log else None
        if log and kink is None and (above := rows_of["value"].gt(0)).any():
            ax.set_yscale("log")
            rows_of = rows_of[above]
        for name in labels:
            line = rows_of[rows_of[label].eq(name)] if label else rows_of
            _line(ax, line.sort_values("place"), looks[str(name)], bars, named=bool(label))
        ax.set_title(naming.wrapped(naming.measure_label(measure), width / columns, lines=2))
        ax.set(xlabel=naming.axis_label(rows_of["axis"].iloc[0]), ylabel=naming.unit(measure))
        if kink is not None:
            appearance.half_logarithmic(ax, kink)
        style.whole_numbers(ax)
        sns.despine(ax=ax)
    legend_below(figure, drawn, columns=3, more=[interval(bars)] if known else [])
    style.head(figure, drawn, title, page)
    return style.finished(figure, drawn)


def _kink(values: "pd.Series[float]") -> float | None:
    """Where a scale for values on both sides of zero becomes logarithmic: at the smaller half."""
    if not values.lt(0).any():
        return None
    return float(10 ** np.floor(np.log10(values[values.ne(0)].abs().median())))


def _with_values(table: pd.DataFrame) -> list[str]:
    """The measures with a value; a warning names others. All of them, where none has one.

    All, too, for axes of a user's own, of which each measure has one.
    """
    every = list(dict.fromkeys(table["measure"]))
    known = table["measure"][np.isfinite(table["value"].astype(float))].unique()
    missing = [measure for measure in every if measure not in known]
    if not missing or not known.size or style.borrowed():
        return every
    why = " (it needs more tokens than a state has numbers)" if missing == ["linearity"] else ""
    named = ", ".join(map(naming.measure_label, missing))
    warn(f"left out: {named}, without a value at any place{why}")
    return [measure for measure in every if measure in known]


def _line(ax: Axes, line: pd.DataFrame, look: appearance.Look, bars: bool, named: bool) -> None:
    if line.empty:
        return
    if line["place"].duplicated().any():
        raise TableError(
            f"measure {line['measure'].iloc[0]!r} has several values at one place; "
            "name the column that tells them apart as `label`"
        )
    name = None if named else "_"
    appearance.draw_line(ax, line["x"], line["value"], look, name, rows=line)
    if line["low"].notna().any():
        ends = line["low"], line["high"]
        appearance.draw_band(ax, line["x"], *ends, look, alpha=0.22, bars=bars)


@style.drawing
def damage_scatter(
    points: pd.DataFrame,
    correlations: pd.DataFrame,
    columns: int = 3,
    title: str | None = None,
    *,
    axes: wishes.Panels = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """What a plan costs against how unlike the states are that it joins: a panel per measure.

    KL on a logarithmic axis; over each panel, Spearman's rank correlation for each kind of plan, by
    its mark, with its interval.

    Args:
        points: What `predict_damage` returns under that name: a row per plan and measure.
        correlations: The same: a row per kind of plan and measure.
        columns: How many panels stand side by side at most.
        title: Over the panels.
        axes: Draw into these axes, one for each measure.
        names: What kinds of plans are called.
        palette: Colours of the kinds of plans.

    Returns:
        The figure.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> from painters_interp import figures
        >>> points = pd.DataFrame({"variant": "drop", "value": [0.1, 0.9], "kl": [0.01, 3.0]})
        >>> rho = pd.DataFrame({"variant": ["drop"], "rho": [0.9], "low": [0.5], "high": [1.0]})
        >>> given = points.assign(measure="cosine"), rho.assign(measure="cosine")
        >>> len(figures.damage_scatter(*given).axes)
        1
    """
    require(points, "measure", "variant", "value", "kl")
    require(correlations, "measure", "variant", "rho", "low", "high")
    measures = list(dict.fromkeys(points["measure"]))
    columns = style.in_a_row(min(columns, len(measures)))
    page = 1 if columns == 1 else 2
    room = _ROOM * naming.points("legend.fontsize")
    columns = min(columns, max(1, int(style.width(page) / room)))
    rows = ceil(len(measures) / columns)
    kinds = correlations["variant"].nunique()
    height = (42.0 + 3.2 * kinds) * rows + 8
    figure, drawn = style.canvas(page, height, rows, columns, len(measures))
    style.say_left_out(
        int((points["kl"].fillna(0).le(0) | points["value"].isna()).sum()), "a KL above 0"
    )
    looks = appearance.looks(points["variant"])
    if others := {*correlations["variant"]} - {*looks}:
        raise TableError(f"no points of {min(map(str, others))!r}, of which there is a correlation")
    for measure, ax in zip(measures, drawn, strict=True):
        _cloud(ax, points[points["measure"].eq(measure)], looks)
        _tell(ax, correlations[correlations["measure"].eq(measure)], looks)
        ax.set_xlabel(naming.wrapped(naming.measure_label(measure), style.width(page) / columns))
    style.share_heights(drawn)
    for ax in drawn[::columns]:
        ax.set_ylabel(naming.with_unit("kl"))
    explained = Line2D([], [], linestyle="none", label=f"{_RHO}: Spearman's rank correlation")
    legend_below(figure, drawn, columns=2, more=[explained])
    style.head(figure, drawn, title, page)
    return style.finished(figure, drawn)


def _tell(ax: Axes, correlations: pd.DataFrame, looks: Mapping[str, appearance.Look]) -> None:
    """The correlation of each kind of plan over its panel, by its mark."""
    notes = [
        f"{_MARKS[looks[row['variant']].marker]} {_interval(row)}"
        for _, row in correlations.iterrows()
    ]
    ax.set_title("\n".join([f"{_RHO} [95 % interval]", *notes]),
                 fontsize=plt.rcParams["legend.fontsize"])  # fmt: skip


def _interval(row: "pd.Series[Any]") -> str:
    """A correlation with its interval."""
    if pd.isna(row["rho"]):
        return "no value"
    return f"{row['rho']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _cloud(ax: Axes, points: pd.DataFrame, looks: dict[str, appearance.Look]) -> None:
    few_last = points["variant"].value_counts().index  # so that many do not hide few
    for variant, look in ((variant, looks[variant]) for variant in few_last):
        chosen = points[points["variant"].eq(variant) & points["kl"].gt(0)]
        ax.plot(
            chosen["value"],
            chosen["kl"],
            linestyle="none",
            marker=look.marker,
            color=look.colour,
            markeredgecolor="white",
            markeredgewidth=0.3,
            alpha=0.85,
            label=look.label,
        )
    ax.set_yscale("log", nonpositive="mask")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    sns.despine(ax=ax)
