"""Square and rectangular maps: similarity of states, and loops against affected layers."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import median_over_tasks, require, scored
from . import style

# Perceptually uniform and rising in lightness, so that it also reads in greyscale.
_COLOURS = "viridis"
_MISSING = "0.85"

Limits = tuple[float, float]


def similarity_heatmap(
    matrix: pd.DataFrame,
    label: str = "cosine similarity",
    title: str | None = None,
    limits: Limits | None = None,
    zones: Sequence[int] = (),
    axis: str | tuple[str, str] = "state",
) -> Figure:
    """Fig. 3: similarity of every pair of states, state 0 at the top left.

    `matrix` is square with the states as index and columns; or layers, if `axis` says "layer".
    Of two models it may have any shape, and `axis` is what stands downwards and across.
    `limits` of the colour scale default to 0..1, widened where the values go beyond. Missing
    values are grey. `zones` are the boundaries of a `Zones`, drawn as lines before these states.
    """
    return similarity_panel(
        {title or "": matrix}, label=label, limits=limits, zones=zones, axis=axis
    )


@style.drawing
def similarity_panel(
    matrices: Mapping[str, pd.DataFrame],
    label: str = "cosine similarity",
    limits: Limits | None = None,
    columns: int = 3,
    zones: Sequence[int] = (),
    axis: str | tuple[str, str] = "state",
) -> Figure:
    """Fig. 14, or one measure beside another: several matrices on one colour scale, by title."""
    if not matrices:
        raise TableError("no matrices to draw; needed: at least one, by title")
    columns = min(columns, len(matrices))
    rows = ceil(len(matrices) / columns)
    width = style.SINGLE if columns == 1 else style.DOUBLE
    height = rows * (width - 20) / columns + (4 if any(matrices) else 0)
    figure, axes = style.canvas(width, height, rows, columns)
    low, high = limits or _limits(matrices.values())
    down, across = (axis, axis) if isinstance(axis, str) else axis
    for (title, matrix), ax in zip(matrices.items(), axes, strict=False):
        draw(ax, matrix if isinstance(axis, tuple) else _square(matrix), low, high)
        ax.set_aspect("equal" if matrix.shape[0] == matrix.shape[1] else "auto")
        _zone_lines(ax, zones)
        ax.set_title(style.wrapped(title, width / columns))
        ax.set_xlabel(style.wrapped(across, width / columns))
    for ax in axes[::columns]:
        ax.set_ylabel(style.wrapped(down, width / columns))
    for ax in axes[len(matrices) :]:
        ax.set_visible(False)
    scale(figure, axes[: len(matrices)], label, rows=rows)
    return style.finished(figure)


@style.drawing
def loop_heatmap(
    table: pd.DataFrame, title: str | None = None, limits: Limits | None = None
) -> Figure:
    """Fig. 10: score of the looped window, M affected layers across, k loops upwards.

    Reads the result of `experiments.loops` (or of the suite), normalising it and taking the
    median over tasks if that is not done yet. A white dot marks the best k of each M; of equals,
    the smallest. In what `scores.select_and_report` returned it is the k chosen on one half of
    the items, and the colours are the scores on the other.
    """
    scores = _loop_scores(table)
    low, high = limits or _limits([scores])
    figure, (ax,) = style.canvas(style.SINGLE, 75.0)
    draw(ax, scores, low, high)
    ax.invert_yaxis()
    halved = "selected" in table
    best = _loop_scores(table, "selected" if halved else "score")
    marks = best.astype(float).fillna(-np.inf).to_numpy()
    (columns,) = np.nonzero(marks.max(axis=0) > (0 if halved else -np.inf))
    ax.plot(
        columns + 0.5,
        marks.argmax(axis=0)[columns] + 0.5,
        linestyle="none",
        marker="o",
        markersize=3.4,
        color="white",
        markeredgecolor="black",
        markeredgewidth=0.6,
        label=f"best k for each M{', on the other half of the items' if halved else ''}",
    )
    ax.set(xlabel="number of affected layers M", ylabel="loops k")
    ax.set_title(style.wrapped(title or "", style.SINGLE))
    figure.legend(loc="outside lower center")
    scale(figure, [ax], "score (0 chance, 1 intact)")
    return style.finished(figure)


def _loop_scores(table: pd.DataFrame, column: str = "score") -> pd.DataFrame:
    require(table, "variant", "affected", "times")
    medians = scored(table)
    if "task" in medians:
        medians = median_over_tasks(medians)
    chosen = medians[medians["variant"].eq("looped") & medians["times"].notna()]
    if "experiment" in chosen and chosen["experiment"].eq("loops").any():
        chosen = chosen[chosen["experiment"].eq("loops")]
    if chosen.empty:
        raise TableError(
            'no rows with variant "looped" and a number of times; see experiments.loops'
        )
    if chosen.duplicated(["affected", "times"]).any():
        raise TableError("several rows for one M and k; keep one model and one run per figure")
    return chosen.pivot(index="times", columns="affected", values=column)


def _square(matrix: pd.DataFrame) -> pd.DataFrame:
    if matrix.empty or not matrix.index.equals(matrix.columns):
        raise TableError(
            f"a similarity matrix has the same states down and across; "
            f"this one is {matrix.shape[0]} x {matrix.shape[1]}"
        )
    return matrix


def _zone_lines(ax: Axes, zones: Sequence[int]) -> None:
    for boundary in zones:
        for line in (ax.axhline, ax.axvline):
            line(boundary, color="white", linewidth=1.6)  # seen on dark and, under it, on light
            line(boundary, color="black", linewidth=0.7, linestyle=style.INTACT)


def _limits(matrices: Any) -> Limits:
    values = np.concatenate([np.asarray(m, dtype=float).ravel() for m in matrices])
    values = values[np.isfinite(values)]
    if not values.size:
        raise TableError("the matrix holds no finite value")
    return min(0.0, float(values.min())), max(1.0, float(values.max()))


def draw(ax: Axes, values: pd.DataFrame, low: float, high: float, colours: str = _COLOURS) -> None:
    """The cells of a matrix over whole numbers, rows downwards; missing ones are grey."""
    # Rasterised: as vector cells, PDF viewers draw hairlines between neighbours.
    sns.heatmap(
        values.astype(float),
        ax=ax,
        vmin=low,
        vmax=high,
        cmap=colours,
        cbar=False,
        rasterized=True,
    )
    ax.set_facecolor(_MISSING)
    for axis, names in ((ax.xaxis, values.columns), (ax.yaxis, values.index)):
        chosen = style.tick_values(int(v) for v in names)
        where = [list(names).index(v) + 0.5 for v in chosen]
        axis.set_ticks(where, [str(v) for v in chosen], rotation=0)
        axis.label.set_visible(True)
    ax.set(xlabel="", ylabel="")


def scale(
    figure: Figure, axes: Sequence[Axes], label: str, extend: str = "neither", rows: int = 1
) -> None:
    """The colour bar of `rows` rows of panels that share their limits."""
    cells = axes[0].collections[0]
    bar = figure.colorbar(
        cells, ax=list(axes), label=label, aspect=25 * rows, pad=0.02, extend=extend
    )
    bar.outline.set_visible(False)
