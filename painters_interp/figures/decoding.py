"""What a parallel group loses when its members remember a mean: exact against averaged decoding."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import statistics
from ..errors import TableError
from ..tables import is_intact, require
from . import appearance, naming, style, wishes
from .legends import interval, legend_below

_KEYS = ["variant", "cache", "affected"]
_AVERAGED: appearance.Dashes = (0, (3, 1.5))


@style.drawing
def decoding_curves(
    table: pd.DataFrame,
    title: str | None = None,
    *,
    axes: wishes.Panels = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """What the averaged cache costs, against M: in gold texts, and in texts of the model's own.

    A row of panels for each task. Left: surprisal of the gold text, the mean over items. Middle:
    averaged minus exact on the same items. Right, where there are texts of the model's own: their
    metric. The dashed line is the intact model; bands are 95 % bootstrap intervals over items.

    Args:
        table: The result of `evaluation.decoding.decode`, or of its `teacher_forced`.
        title: Over the panels.
        axes: Draw into these axes.
        names: What variants are called.
        palette: Colours of the variants.

    Returns:
        The figure.

    Raises:
        TableError: without windows or without both caches.

    Example:
        >>> from painters_interp import experiments, figures
        >>> table = experiments.decoding(6).merge(
        ...     pd.DataFrame({"cache": ["exact", "averaged"], "nats": [3.0, 4.0]}), how="cross"
        ... )
        >>> figure = figures.decoding_curves(table.assign(task="mine", item=0, tokens=3))
        >>> len(figure.axes)
        2
    """
    written = ("metric",) if "value" in table else ()
    require(table, *_KEYS, "task", "item", "nats", "tokens", *written)
    rows = table[table["affected"].notna()]
    if rows.empty or set(rows["cache"]) != {"exact", "averaged"}:
        raise TableError('windows decoded with cache "exact" and "averaged" are needed; see decode')
    table = table.assign(surprisal=table["nats"] / table["tokens"])
    tasks = list(dict.fromkeys(table["task"]))
    panels = 3 if "value" in table else 2
    aside = style.in_a_row(panels, roomy=True) == panels  # else one below the other, in a column
    page, rows_of_panels, across = (2, 1, panels) if aside else (1, panels, 1)
    height = 17.0 + 55.0 * len(tasks) * rows_of_panels + (5 if title else 0)
    figure, drawn = style.canvas(page, height, len(tasks) * rows_of_panels, across)
    for row, task in enumerate(tasks):
        own = drawn[row * panels : (row + 1) * panels]
        _panels(own, table[table["task"] == task])
        if len(tasks) > 1:
            own[0].set_title(naming.task_label(task), loc="left")
        if row < len(tasks) - 1:
            for ax in own:
                ax.set(xlabel="")
    more = [interval()] if table["item"].nunique() > 1 else []
    legend_below(figure, drawn[:1], columns=3, more=more)
    style.head(figure, drawn, title, page=page)
    return style.finished(figure, drawn)


def _panels(axes: list[Axes], table: pd.DataFrame) -> None:
    """One task: surprisal, what averaging adds to it, and how the model's own texts do."""
    levels, gaps, *written = axes
    _levels(levels, table, "surprisal")
    levels.set(ylabel="surprisal of the gold text\n(nats per token)")
    rows = table[table["affected"].notna()]
    for variant, look in appearance.looks(rows["variant"]).items():
        _curve(gaps, _paired(rows[rows["variant"] == variant]), look, look.label)
    appearance.reference(gaps, 0)
    gaps.set(ylabel="averaged minus exact\n(nats per token)")
    for ax in written:
        _levels(ax, table, "value")
        [metric] = table["metric"].unique()
        ax.set(ylabel=f"{naming.metric_label(metric)},\ntexts written freely")
        ax.set_ylim(bottom=0)
    for ax in axes:
        ax.set(xlabel="number of affected layers M")
        style.whole_numbers(ax)
        sns.despine(ax=ax)


def _levels(ax: Axes, table: pd.DataFrame, column: str) -> None:
    """Means over items of a column under both caches, and under the intact model."""
    rows = table.assign(mean=table[column])
    for variant, look in appearance.looks(rows.loc[rows["affected"].notna(), "variant"]).items():
        part = rows[rows["variant"] == variant]
        name = look.label + _times(part)
        for cache in ("exact", "averaged"):
            line = part[part["cache"] == cache]
            _curve(ax, line, look, f"{name}, {cache}", averaged=cache == "averaged")
    intact = rows[is_intact(rows) & rows["cache"].eq("exact")]
    for level in intact.groupby("task")["mean"].mean():
        appearance.reference(ax, level, name="intact model")


def _times(rows: pd.DataFrame) -> str:
    times = list(rows["times"].dropna().unique()) if "times" in rows else []
    return f" x{times[0]}" if len(times) == 1 else ""


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Averaged minus exact for every item of every window."""
    wide = rows.pivot(index=["affected", "item"], columns="cache", values="surprisal")
    return (wide["averaged"] - wide["exact"]).rename("mean").reset_index()


def _curve(
    ax: Axes, rows: pd.DataFrame, look: appearance.Look, name: str, averaged: bool = False
) -> None:
    """The mean over items at each M, with its interval."""
    x = pd.Series(sorted(int(m) for m in rows["affected"].unique()))
    groups = [rows.loc[rows["affected"] == m, "mean"].to_numpy(float) for m in x]
    line = appearance.draw_line(ax, x, pd.Series([values.mean() for values in groups]), look, name)
    line.set_linestyle("solid")
    if averaged:
        line.set(linestyle=_AVERAGED, markerfacecolor="white", markeredgewidth=0.8)
        line.set_markeredgecolor(look.colour)
    ends = np.array([statistics.of_mean(values) for values in groups], dtype=float)
    appearance.draw_band(ax, x, pd.Series(ends[:, 0]), pd.Series(ends[:, 1]), look, alpha=0.15)
