"""Scores as lines: against the layer that was altered, and against how many were."""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from ..errors import TableError
from ..tables import is_intact, median_over_tasks, primary, require, scored, summarise_seeds
from . import appearance, naming, style, wishes
from .legends import MOST_BANDS, interval, legend_below

_EACH = 15  # windows up to which each has its tick
_LANE, _AT_CHANCE = "0.88", "0.93"  # greys behind curves
_AFFECTED = "number of affected layers M"
_NORMAL = 1.96  # standard errors to the end of a 95 % interval
_MEDIAN = appearance.Look("black", "", "-", "median")
_SCORE = "score (0 chance, 1 intact)"


@style.drawing
def single_layer_curves(
    table: pd.DataFrame,
    title: str | None = None,
    *,
    axes: wishes.Panels = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Fig. 2: one panel per task, its metric against the layer dropped or swapped.

    Reads the result of `experiments.single_layers` (or of the suite). Bands are 95 % intervals:
    of the difference to the intact model on the same items where the table has it, else 1.96
    standard errors. The dashed line is the intact model, the dotted one chance.

    Args:
        table: A result table with labels of the experiment, one model and run.
        title: Over the panels.
        axes: Draw into these axes, one for each task.
        names: What tasks and variants are called.
        palette: Colours of the variants.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, naming the experiment that is wanted.

    Example:
        >>> from painters_interp import experiments, figures
        >>> figure = figures.single_layer_curves(pretend(experiments.single_layers(6)))
        >>> figure.axes[0].get_title()
        'facts'
    """
    require(table, "variant", "layer", "task", "metric", "value")
    table = primary(table)
    tasks = list(table["task"].unique())
    columns = style.in_a_row(min(3, len(tasks)))
    rows = ceil(len(tasks) / columns)
    page = 1 if columns == 1 else 2
    width = style.width(page)
    height = 48.0 * rows + (10 if columns > 1 else 15) + (5 if title else 0)
    figure, axes = style.canvas(page, height, rows, columns, len(tasks))
    for task, ax in zip(tasks, axes, strict=True):
        _single_layer_panel(ax, table[table["task"] == task])
        ax.set_title(naming.wrapped(naming.task_label(task), width / columns, lines=2))
    style.share_heights(axes)
    named = [] if _interval(table) is None else [interval()]
    legend_below(figure, axes, columns=3 if columns > 1 else 2, more=named)
    style.head(figure, axes, title, page)
    return style.finished(figure, axes)


def _single_layer_panel(ax: Axes, table: pd.DataFrame) -> None:
    altered = table[table["layer"].notna()]
    if altered.empty:
        raise TableError("no rows with a layer; see experiments.single_layers")
    for variant, look in appearance.looks(altered["variant"]).items():
        line = _ordered(altered[altered["variant"] == variant], "layer")
        ends = _interval(line)
        told = line if ends is None else line.assign(low=ends[0], high=ends[1])
        appearance.draw_line(ax, line["layer"], line["value"], look, rows=told)
        if ends is not None:
            _band(ax, line["layer"], *ends, look)
    for value in table.loc[is_intact(table), "value"].head(1):
        appearance.reference(ax, value, name="intact model")
    for chance in table["chance"].dropna().head(1) if "chance" in table else ():
        appearance.reference(ax, chance, appearance.CHANCE, "chance")
    ax.set(xlabel="layer i", ylabel=naming.metric_label(table["metric"].iloc[0]))
    _tidy(ax)


def _interval(line: pd.DataFrame) -> tuple["pd.Series[float]", "pd.Series[float]"] | None:
    """Ends of the 95 % interval of values; None where nothing says how sure they are."""
    if {"delta", "delta_low", "delta_high"} <= {*line} and line["delta_low"].notna().any():
        intact = line["value"] - line["delta"]
        return intact + line["delta_low"], intact + line["delta_high"]
    if "stderr" in line and line["stderr"].notna().any():
        half = _NORMAL * line["stderr"]
        return line["value"] - half, line["value"] + half
    return None


@style.drawing
def variant_curves(
    table: pd.DataFrame,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Figs. 11 and 17: a line per variant, the median score over tasks against M.

    Reads the result of `experiments.variants` (or of the suite, or of `internal_loops`),
    normalising it if that is not done yet. Random order: mean over its seeds. What
    `scores.median_intervals` returned has 95 % intervals over items: bands, or where there are more
    than three lines at their markers, which stand side by side; windows from which on no variant
    is above chance are grey.

    Args:
        table: A result table, one model and run.
        title: Over the plot.
        ax: Draw into these axes.
        names: What variants are called.
        palette: Colours of the variants.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, naming the experiment that is wanted.

    Example:
        >>> from painters_interp import experiments, figures
        >>> figure = figures.variant_curves(pretend(experiments.variants(6)))
        >>> figure.axes[0].get_xlabel()
        'number of affected layers M'
    """
    medians = _medians(_windows(table))
    lines = summarise_seeds(medians)
    figure, [ax] = style.canvas(1, 80.0)
    known = [v for v in appearance.VARIANTS if lines["variant"].eq(v).any()]
    drawn = appearance.looks([*known, *lines["variant"]])
    apart = lines.loc[lines["high"] > lines["low"], "variant"].nunique() > MOST_BANDS
    for place, (variant, look) in enumerate(drawn.items()):
        line = _ordered(lines[lines["variant"] == variant], "affected")
        shift = appearance.beside(lines["affected"], place, len(drawn)) if apart else 0.0
        x, name = line["affected"].astype(float) + shift, _name(variant, look, line)
        appearance.draw_line(ax, x, line["score"], look, name, rows=line)
        _band(ax, x, line["low"], line["high"], look, apart)
    _score_axes(ax, _AFFECTED, lines["affected"])
    more = _named_interval(lines, medians, apart) + (_lanes(ax, lines) if apart else [])
    ax.set_title(naming.wrapped(title or "", style.width(1)))
    legend_below(figure, [ax], columns=2, more=more)
    return style.finished(figure, [ax])


def _lanes(ax: Axes, lines: pd.DataFrame) -> list[Artist]:
    """A lane for the marks of each window, and what its ground says, for the legend.

    Lanes are grey from the window on at which no variant is above chance any more.
    """
    sizes = np.sort(lines["affected"].astype(float).unique())
    inner = (sizes[1:] + sizes[:-1]) / 2
    if not inner.size:
        return []
    edges = [2 * sizes[0] - inner[0], *inner, 2 * sizes[-1] - inner[-1]]
    for edge in inner:
        ax.axvline(edge, color=_LANE, linewidth=0.5, zorder=0.5)
    ax.set_xlim(edges[0], edges[-1])
    above = lines["affected"][lines["low"] > 0].astype(float)
    later = inner[inner > above.max()] if len(above) else inner[:0]
    if not later.size:
        return []
    ax.axvspan(later[0], edges[-1], color=_AT_CHANCE, linewidth=0, zorder=0)
    return [Patch(facecolor=_AT_CHANCE, linewidth=0, label="no interval above chance")]


def _named_interval(lines: pd.DataFrame, of: pd.DataFrame, bars: bool = False) -> list[Artist]:
    """What the intervals of lines are, for the legend; nothing where there are none.

    As `summarise_seeds` makes them `of` these rows: over items where those have intervals.
    """
    if not (lines["high"] > lines["low"]).any():
        return []
    return [interval(bars, "over items" if "score_low" in of else "over seeds")]


@style.drawing
def task_curves(
    table: pd.DataFrame,
    variant: str,
    title: str | None = None,
    medians: pd.DataFrame | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Figs. 4-9: one variant, a line per task and the bold median over them, against M.

    Reads what `variant_curves` reads. Of random orders, the mean over the seeds is drawn. The
    title defaults to the variant's name. `medians`, what `scores.median_intervals` returned for
    the table, gives the median a band: its 95 % interval over items.

    Args:
        table: A result table of `experiments.variants`, of the suite or of `internal_loops`.
        variant: The variant that is drawn.
        title: Over the plot.
        medians: What `scores.median_intervals` returned.
        ax: Draw into these axes.
        names: What tasks are called.
        palette: Colours of the tasks.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, or without that variant.

    Example:
        >>> from painters_interp import experiments, figures
        >>> figure = figures.task_curves(pretend(experiments.variants(6)), "skip")
        >>> len(figure.axes)
        1
    """
    rows = _of_variant(_windows(table), variant)
    figure, [ax] = style.canvas(1, 80.0)
    lines = summarise_seeds(rows)
    for task, look in appearance.looks(lines["task"]).items():
        line = _ordered(lines[lines["task"] == task], "affected")
        appearance.draw_line(ax, line["affected"], line["score"], look, rows=line).set(
            linewidth=0.9, alpha=0.9
        )
    over_tasks = median_over_tasks(rows) if medians is None else _of_variant(medians, variant)
    median = _ordered(summarise_seeds(_windows(over_tasks)), "affected")
    if medians is not None:
        _band(ax, median["affected"], median["low"], median["high"], _MEDIAN)
    ax.plot(
        median["affected"],
        median["score"],
        color="black",
        linewidth=2.2,
        marker="o" if len(median) == 1 else None,
        zorder=1.9,
        label="median",
    )
    _score_axes(ax, _AFFECTED, median["affected"])
    name = appearance.looks([variant])[variant].label
    ax.set_title(naming.wrapped(name if title is None else title, style.width(1)))
    legend_below(figure, [ax], columns=3, more=_named_interval(median, over_tasks))
    return style.finished(figure, [ax])


@style.drawing
def size_curves(
    table: pd.DataFrame,
    variant: str = "skip",
    title: str | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Fig. 12: a line per model, the median score against the share of layers altered.

    Args:
        table: Result tables of `experiments.variants` of several models, one below the other.
        variant: The variant that is drawn.
        title: Over the plot.
        ax: Draw into these axes.
        names: What models are called.
        palette: Colours of the models.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, or without that variant.

    Example:
        >>> from painters_interp import experiments, figures
        >>> figure = figures.size_curves(pretend(experiments.variants(6)), "reverse")
        >>> len(figure.axes)
        1
    """
    require(table, "model", "n_layers")
    medians = _medians(_of_variant(_windows(table), variant))
    lines = summarise_seeds(medians)
    apart = lines.loc[lines["high"] > lines["low"], "model"].nunique() > MOST_BANDS
    figure, [ax] = style.canvas(1, 75.0)
    for model, look in appearance.looks(lines["model"]).items():
        line = _ordered(lines[lines["model"] == model], "affected")
        share = 100 * line["affected"] / line["n_layers"]
        appearance.draw_line(ax, share, line["score"], look, rows=line)
        _band(ax, share, line["low"], line["high"], look, apart)
    _score_axes(ax, "affected layers (% of all)")
    name = appearance.looks([variant])[variant].label
    ax.set_title(naming.wrapped(name if title is None else title, style.width(1)))
    legend_below(figure, [ax], columns=2, more=_named_interval(lines, medians, apart))
    return style.finished(figure, [ax])


def _windows(table: pd.DataFrame) -> pd.DataFrame:
    """The scored rows in which a window was altered; of a suite, without the loop heatmap's."""
    require(table, "variant", "affected")
    rows = scored(table)
    rows = rows[rows["affected"].notna()]
    if "experiment" in rows:
        rows = rows[rows["experiment"].ne("loops")]
    if rows.empty:
        raise TableError("no rows with a window of affected layers; see experiments.variants")
    return rows


def _medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians over tasks, unless that is what the rows are."""
    return median_over_tasks(rows) if "task" in rows else rows


def _of_variant(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    chosen = rows[rows["variant"] == variant]
    if chosen.empty:
        known = ", ".join(rows["variant"].unique())
        raise TableError(f"no rows with variant {variant!r}; the table has {known}")
    return chosen


def _ordered(line: pd.DataFrame, x: str) -> pd.DataFrame:
    """The points of one line from left to right; TableError if it would go up and down at one x."""
    if (twice := line[x].duplicated()).any():
        name, value = line["variant"].iloc[0], line.loc[twice, x].iloc[0]
        raise TableError(
            f"variant {name!r} has several rows at {x} {value}; "
            "keep one model, one run and one metric per figure"
        )
    return line.sort_values(x)


def _name(variant: str, look: appearance.Look, line: pd.DataFrame) -> str:
    if variant == "looped" and "times" in line and line["times"].nunique() == 1:
        return f"{look.label} x{line['times'].iloc[0]}"
    seeds = line["seeds"].max()
    return f"{look.label} ({seeds} seeds)" if seeds > 1 else look.label


def _band(
    ax: Axes,
    x: "pd.Series[Any]",
    low: "pd.Series[float]",
    high: "pd.Series[float]",
    look: appearance.Look,
    bars: bool = False,
) -> None:
    if (high > low).any():
        appearance.draw_band(ax, x, low, high, look, bars=bars)


def _score_axes(ax: Axes, xlabel: str, windows: "pd.Series[Any] | None" = None) -> None:
    """Axes of normalised scores: lines at 1 and 0, named where the curves leave room.

    Each of a few windows has its tick.
    """
    for score, name, where, side in ((1.0, "intact", 0.99, "right"), (0.0, "chance", 0.01, "left")):
        appearance.reference(ax, score, appearance.INTACT if score else appearance.CHANCE)
        ax.annotate(
            name,
            (where, score),
            xycoords=ax.get_yaxis_transform(),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha=side,
            color=appearance.REFERENCE,
            path_effects=[withStroke(linewidth=2, foreground="white", alpha=0.8)],
        )
    ax.set(xlabel=xlabel, ylabel=_SCORE)
    ax.set_ylim(top=max(1.12, ax.get_ylim()[1]))  # room for the word over its line
    _tidy(ax)
    sizes = [] if windows is None else sorted(map(int, windows.unique()))
    if 1 < len(sizes) <= _EACH:
        ax.set_xticks(sizes, map(str, sizes))


def _tidy(ax: Axes) -> None:
    style.whole_numbers(ax)
    sns.despine(ax=ax)
