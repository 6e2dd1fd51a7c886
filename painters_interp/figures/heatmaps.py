"""Square and rectangular maps: similarity of states, and loops against affected layers."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import median_over_tasks, require, scored, to_matrices
from ..tables.matrices import sides_of
from . import cells, naming, style, wishes
from .legends import legend_below

_DISTANCES = ("angular", "angular_without_massive")
_LEAST = 5  # a panel that shows less than this part of a shared scale has one of its own


@style.drawing
def similarity_heatmap(
    matrix: Any,
    label: str = "cosine similarity",
    title: str | None = None,
    limits: cells.Limits | None = None,
    zones: Sequence[int] = (),
    axis: str | tuple[str, str] = "state",
    meaning: str = "similarity",
    *,
    ax: Axes | None = None,
) -> Figure:
    """Fig. 3: similarity of every pair of states, state 0 at the top left; missing values are grey.

    Args:
        matrix: A table, an array or a result (`sim["cosine"]`), square with the states as index and
            columns; of two models it may have any shape.
        label: Beside the colour bar.
        title: Over the map.
        limits: Of the colour scale; 0..1 by default, widened where the values go beyond.
        zones: The boundaries of a `Zones`, drawn as lines before these states.
        axis: What stands downwards and across: "state", "layer", or a pair of words.
        meaning: What colours say, as in `heatmap`.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a matrix that does not fit its axis.

    Example:
        >>> from painters_interp import figures
        >>> figures.similarity_heatmap([[1.0, 0.5], [0.5, 1.0]]).axes[0].get_xlabel()
        'state'
    """
    return similarity_panel(
        {title or "": matrix}, label, limits, zones=zones, axis=axis, meaning=meaning
    )


@style.drawing
def heatmap(
    matrix: Any,
    label: str = "",
    title: str | None = None,
    limits: cells.Limits | None = None,
    axis: str | tuple[str, str] = "",
    meaning: str = "",
    *,
    ax: Axes | None = None,
) -> Figure:
    """Any matrix as coloured cells, square or not, row 0 on top.

    Args:
        matrix: An array, a table or a result with a `matrix`.
        label: What the values are, beside the colour bar.
        title: Over the cells.
        limits: Of the colour scale; from the smallest to the largest value if not given.
        axis: What stands downwards and across, or a word for both.
        meaning: What colours say, as in all figures: similarity, distance, damage, score, or an
            effect that has a sign.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: Where there are not two dimensions, or no finite value.

    Example:
        >>> from painters_interp import figures
        >>> figures.heatmap([[1.0, 0.5, 0.2], [0.5, 1.0, 0.3]], label="cosine").axes[1].get_ylabel()
        'cosine'
    """
    values = matrix_of(matrix)
    down, across = (axis, axis) if isinstance(axis, str) else axis
    limits = limits or cells.reach(values)
    return similarity_panel(
        {title or "": values}, label, limits, axis=(down, across), meaning=meaning
    )


def matrix_of(matrix: Any) -> pd.DataFrame:
    """A matrix, with its labels where it has some; TableError for anything else."""
    values = getattr(matrix, "matrix", matrix)
    if isinstance(values, pd.DataFrame):
        _refuse_table(values)
        return values
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise TableError(f"{type(matrix).__name__} is no matrix of numbers") from None
    if numbers.ndim != 2 or not numbers.size:
        raise TableError(f"a matrix has rows and columns; this one is of shape {numbers.shape}")
    return pd.DataFrame(numbers)


def _refuse_table(values: pd.DataFrame) -> None:
    """Raise TableError for a table in rows, where a matrix is meant: of measures, or of others."""
    if {"measure", "value"} <= {*values.columns}:
        names = [*map(str, dict.fromkeys(values["measure"]))]
        first = names[0] if names else "cosine"
        raise TableError(
            f"this is a table of measures ({', '.join(names) or 'none'}), no matrix; draw one, "
            f"result[{first!r}], or all of the table with similarity_panel"
        )
    try:
        values.to_numpy(dtype=float)
    except (TypeError, ValueError):
        raise TableError(
            f"a matrix holds numbers alone; this is a table of {', '.join(map(str, values))}"
        ) from None


@style.drawing
def similarity_panel(
    matrices: Mapping[str, Any] | pd.DataFrame,
    label: str = "cosine similarity",
    limits: cells.Limits | None = None,
    columns: int = 3,
    zones: Sequence[int] = (),
    axis: str | tuple[str, str] | None = None,
    meaning: str = "similarity",
    *,
    axes: wishes.Panels = None,
) -> Figure:
    """Fig. 14, or one measure beside another: several matrices by title, or by measure.

    They share a colour scale, unless one of them would show less than a fifth of it or some are
    distances (a title that is a distance's, or its measure's): then each has a scale of its own.

    Args:
        matrices: By title, or by the name of their measure; or a table of `similarity`.
        label: Beside the colour bar.
        limits: Of the colour scale.
        columns: How many panels stand side by side at most.
        zones: As in `similarity_heatmap`.
        axis: What stands downwards and across, or a word for both; states if not given, in a table
            of two models those of each.
        meaning: As in `heatmap`.
        axes: Draw into these axes, one for each matrix.

    Returns:
        The figure.

    Raises:
        TableError: if there is no matrix, or one that does not fit its axis.

    Example:
        >>> from painters_interp import figures
        >>> figure = figures.similarity_panel({"one": [[1.0]], "other": [[0.5]]})
        >>> [ax.get_title() for ax in figure.axes[:2]]
        ['one', 'other']
    """
    given, beside = _given(matrices)
    axis = axis or _axis(matrices)
    heading = naming.measure_label if isinstance(matrices, pd.DataFrame) else naming.heading
    if not given:
        raise TableError("no matrices to draw; needed: at least one, by title")
    columns = style.in_a_row(min(columns, len(given)), roomy=True)
    rows = ceil(len(given) / columns)
    page = 1 if columns == 1 else 2
    meanings = [cells.DISTANCE if _is_distance(title) else cells.meaning_of(meaning)
                for title in given]  # fmt: skip
    shared = limits or _shared([*given.values()], meanings)
    width, designed = style.width(page), (style.SINGLE, style.DOUBLE)[page - 1]
    height = rows * designed / columns + (4 if any(given) else 0)
    figure, panels = style.canvas(page, height, rows, columns, len(given))
    side = 0.85 * width / columns
    down, across = (axis, axis) if isinstance(axis, str) else axis
    for (title, matrix), ax, means in zip(given.items(), panels, meanings, strict=True):
        of_two = isinstance(axis, tuple)
        square = matrix.shape[0] == matrix.shape[1]
        own = shared or _scale(matrix, means)
        shown, more = matrix if of_two else _square(matrix), beside.get(title)
        cells.draw(ax, shown, own, means, square=square, beside=more)
        cells.zone_lines(ax, zones, len(shown))
        ax.set_title(naming.wrapped(heading(title), side))
        ax.set_xlabel(naming.wrapped(across, side))
        if not shared:
            name = "distance" if means is cells.DISTANCE else label
            cells.bar(figure, [ax], name, means, cells.beyond(matrix, own))
    for ax in panels[::columns]:
        ax.set_ylabel(naming.wrapped(naming.axis_label(down), side))
    if shared:
        every = pd.DataFrame(np.concatenate([m.to_numpy(float).ravel() for m in given.values()]))
        cells.bar(figure, panels, label, meanings[0], cells.beyond(every, shared), rows=rows)
    legend_below(figure, panels, columns=1, more=cells.missing(panels))
    return style.finished(figure, panels)


def _given(
    matrices: Mapping[str, Any] | pd.DataFrame,
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, pd.DataFrame]]]:
    """The matrices by title, and beside each the ends of its intervals where they are known."""
    if not isinstance(matrices, pd.DataFrame):
        if not isinstance(matrices, Mapping):
            raise TableError(f"{type(matrices).__name__} is no dict of matrices by their titles")
        return {title: matrix_of(matrix) for title, matrix in matrices.items()}, {}
    given = to_matrices(matrices)
    ends = {end: to_matrices(matrices, end) for end in ("low", "high") if end in matrices}
    return given, {title: {end: of[title] for end, of in ends.items()} for title in given}


def _axis(matrices: Mapping[str, Any] | pd.DataFrame) -> str | tuple[str, str]:
    sides = sides_of(matrices) if isinstance(matrices, pd.DataFrame) else None
    if sides is None:
        return "state"
    down, across = map(naming.plain, sides)
    return f"state of {down}", f"state of {across}"


def _is_distance(title: str) -> bool:
    return title in _DISTANCES or title in map(naming.measure_label, _DISTANCES)


def _scale(matrix: pd.DataFrame, meaning: cells.Meaning) -> cells.Limits:
    """From the smallest to the largest value of one matrix; of one without values, any."""
    if not np.isfinite(matrix.to_numpy(float)).any():
        return 0.0, 1.0
    return cells.reach(matrix, *((0.0,) if meaning is cells.DISTANCE else ()))


def _shared(
    matrices: Sequence[pd.DataFrame], meanings: Sequence[cells.Meaning]
) -> cells.Limits | None:
    """The scale of them all, wide enough for each and at least 0 to 1 of similarities; or none."""
    if len(set(meanings)) > 1:
        return None
    ends = (0.0, 1.0) if meanings[0] is cells.SIMILARITY else ()
    limits = cells.reach([*matrices], *ends)
    spans = [np.nanmax(m) - np.nanmin(m) for m in matrices if np.isfinite(m.to_numpy(float)).any()]
    narrow = len(matrices) > 1 and min(spans) < (limits[1] - limits[0]) / _LEAST
    return None if narrow else limits


@style.drawing
def loop_heatmap(
    table: pd.DataFrame,
    title: str | None = None,
    limits: cells.Limits | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Fig. 10: score of the looped window, M affected layers across, k loops upwards.

    A white dot marks the best k of each M; of equals, the smallest. In what
    `scores.select_and_report` returned it is the k chosen on one half of the items, and the colours
    are the scores on the other.

    Args:
        table: A result table of `experiments.loops` or of the suite; it is normalised, and the
            median over tasks taken, if that is not done yet.
        title: Over the map.
        limits: Of the colour scale.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else, naming the experiment that is wanted.

    Example:
        >>> from painters_interp import experiments, figures
        >>> figure = figures.loop_heatmap(pretend(experiments.loops(6, max_times=3)))
        >>> figure.axes[0].get_xlabel()
        'number of affected layers M'
    """
    scores = _loop_scores(table)
    limits = limits or cells.reach(scores, 0.0, 1.0)
    figure, [ax] = style.canvas(1, 75.0)
    cells.draw(ax, scores, limits, cells.SCORE)
    ax.invert_yaxis()
    halved = "selected" in table
    marks = _loop_scores(table, "selected" if halved else "score").astype(float).fillna(-np.inf)
    best = marks.to_numpy() == marks.max().to_numpy()
    best &= best.cumsum(axis=0) == 1  # the first of equals
    best &= marks.to_numpy() > (0 if halved else -np.inf)
    told = f"best k for each M{', on the other half of the items' if halved else ''}"
    row, column = np.nonzero(best)
    order = np.argsort(column)
    ax.plot(column[order] + 0.5, row[order] + 0.5, color="white", linewidth=1.6)
    ax.plot(column[order] + 0.5, row[order] + 0.5, color="black", linewidth=0.6)
    cells.mark(ax, best, told, largest=3.4)
    loops = [int(k) for k in scores.index]
    shown = [loops[0], *(k for k in style.tick_values(loops) if k > loops[0] + (len(loops) > 8))]
    ax.set_yticks([loops.index(k) + 0.5 for k in shown], [str(k) for k in shown])
    legend_below(figure, [ax], columns=1, more=cells.missing([ax]))
    ax.set(xlabel="number of affected layers M", ylabel="loops k")
    ax.set_title(naming.wrapped(title or "", style.width(1)))
    cells.bar(figure, [ax], "score (0 chance, 1 intact)", cells.SCORE, cells.beyond(scores, limits))
    return style.finished(figure, [ax])


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
