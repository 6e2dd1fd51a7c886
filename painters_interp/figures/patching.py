"""What moving tensors between runs shows: layer by position, layer by layer."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..errors import TableError
from ..tables import require
from . import cells, naming, style
from .legends import legend_below

_METRICS = {
    "kl": "KL from the unpatched run (nats)",
    "loss": "loss of the next tokens (nats)",
    "logit_difference": "logit difference (right - wrong)",
    "logprob": "log-probability of the answer (nats)",
    "probability": "probability of the answer",
}
_LESS_IS_CLOSER = ("kl", "loss")
_LABEL = 3.0  # mm that a label needs beside the next
_LONG = 32  # characters of a line of a label
_PAGE = 220.0  # mm


@style.drawing
def patching_heatmap(
    table: pd.DataFrame,
    title: str | None = None,
    column: str = "normalised",
    limits: cells.Limits | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """What each place of the residual stream carries: states downwards, tokens across.

    Args:
        table: The result of `patching.patch_residual`.
        title: Over the map.
        column: "normalised", on whose scale 0 is the corrupted and 1 the clean run, or "value", in
            the metric's own unit.
        limits: Of the colour scale.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else.

    Example:
        >>> from painters_interp import figures
        >>> cells = [(k, p, "ab"[p], k / 3) for k in range(3) for p in range(2)]
        >>> found = pd.DataFrame(cells, columns=["state", "position", "token", "normalised"])
        >>> len(figures.patching_heatmap(found).axes)
        2
    """
    require(table, "state", "position", "token", column)
    values = _matrix(table, "state", "position", column)
    page = 1 if values.shape[1] <= 18 else 2
    width = style.width(page)
    figure, [ax] = style.canvas(page, 80.0)
    ends = (0.0, 1.0) if column == "normalised" else ()
    limits = limits or cells.reach(values, *ends)
    meaning = _meaning(table) if column == "value" else cells.SIGNED
    cells.draw(ax, values, limits, meaning)
    tokens = table.drop_duplicates("position").set_index("position")["token"]
    every = int(np.ceil(_LABEL * values.shape[1] / (width - 25)))
    chosen = range(0, values.shape[1], every)
    labels = [shown(str(tokens[values.columns[i]])) for i in chosen]
    ax.set_xticks([i + 0.5 for i in chosen], labels)
    ax.set(xlabel="token", ylabel=f"state patched{naming.STATE}")
    ax.set_title(naming.wrapped(title or "", width))
    name = _metric(table)
    label = f"{name}\n0 corrupted, 1 clean" if column == "normalised" else name
    cells.bar(figure, [ax], label, meaning, cells.beyond(values, limits))
    legend_below(figure, [ax], columns=1, more=cells.missing([ax]))
    return style.finished(figure, [ax])


@style.drawing
def crossing_heatmap(
    table: pd.DataFrame,
    title: str | None = None,
    limits: cells.Limits | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Can layer j read what layer i wrote? Source states downwards, target states across.

    Lighter is closer to the unpatched run, for a loss and a gain alike. The scale of "kl" ends at
    10 nats: the rest is as far away as can be.

    Args:
        table: The result of `patching.crossing`.
        title: Over the map.
        limits: Of the colour scale.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else.

    Example:
        >>> from painters_interp import figures
        >>> cells = [(i, j, abs(i - j) / 3) for i in range(3) for j in range(3)]
        >>> found = pd.DataFrame(cells, columns=["source_state", "target_state", "value"])
        >>> len(figures.crossing_heatmap(found.assign(metric="kl")).axes)
        2
    """
    require(table, "source_state", "target_state", "value", "metric")
    values = _matrix(table, "source_state", "target_state", "value")
    metric = table["metric"].iloc[0]
    if limits is None:
        low, high = cells.reach(values, *([0.0] if metric == "kl" else []))
        limits = low, min(high, 10.0) if metric == "kl" else high
    figure, [ax] = style.canvas(1, 72.0)
    meaning = _meaning(table)
    cells.draw(ax, values, limits, meaning, square=True)
    ax.set(xlabel="target state j", ylabel=f"source state i{naming.STATES}")
    ax.set_title(naming.wrapped(title or "", style.width(1)))
    cells.bar(figure, [ax], _metric(table), meaning, cells.beyond(values, limits))
    legend_below(figure, [ax], columns=1, more=cells.missing([ax]))
    return style.finished(figure, [ax])


@style.drawing
def effects_heatmap(
    table: pd.DataFrame,
    title: str | None = None,
    limits: cells.Limits | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """How much later layers' updates change: dropped layers or plans downwards, layers across.

    The scale ends at 1.5 at the latest: an update changed by more than its own size is another one
    altogether.

    Args:
        table: The result of `patching.effects`.
        title: Over the map.
        limits: Of the colour scale.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: for a table of something else.

    Example:
        >>> from painters_interp import figures, patching
        >>> found = patching.effects(model, texts)
        >>> len(figures.effects_heatmap(found).axes)
        2
    """
    require(table, "label", "dropped", "layer", "value", "changed_at")
    drops = table["dropped"].notna().all()
    values = _matrix(table, "dropped" if drops else "label", "layer", "value")
    limits = limits or (0.0, min(1.5, cells.reach(values)[1]))
    names, lines = ([], 1) if drops else _names([str(label) for label in values.index])
    # Plans in long words take the room of two columns, and each its lines.
    page = 1 if max(map(len, names), default=0) <= _LONG // 2 else 2
    width = style.width(page)
    height = min(_PAGE, max(72.0, 25 + _LABEL * lines * len(names)))
    figure, [ax] = style.canvas(page, height)
    cells.draw(ax, values if drops else values.reset_index(drop=True), limits, cells.DAMAGE)
    if not drops:
        every = -(-len(names) // int((_PAGE - 25) / _LABEL))
        places = range(0, len(names), every)
        # Lines of one label closer to each other than to the next label's.
        ax.set_yticks([i + 0.5 for i in places], [names[i] for i in places], linespacing=0.95)
    ax.set(xlabel="layer whose update is measured", ylabel="layer dropped" if drops else "plan")
    at = table["changed_at"].dropna().unique()
    where = f" after token {at[0]}" if len(at) else ""
    ax.set_title(naming.wrapped(title or "", width))
    cells.bar(figure, [ax], f"relative change{where}", cells.DAMAGE, cells.beyond(values, limits))
    if values.isna().any(axis=None):
        earlier = Patch(facecolor=cells.MISSING, label="not after the change, or no value")
        legend_below(figure, [ax], columns=1, more=[earlier])
    return style.finished(figure, [ax])


def _names(labels: list[str]) -> tuple[list[str], int]:
    """Labels of plans, and in how many lines: two of long ones, if a page has room for that."""
    two = max(map(len, labels)) > _LONG and _LABEL * 2 * len(labels) <= _PAGE - 25
    most = 2 * _LONG if two else _LONG
    short = [naming.plain(naming.shortened(label, most)) for label in labels]
    return [textwrap.fill(label, _LONG) for label in short], 1 + two


def shown(token: str, most: int = 20) -> str:
    """A token as a label: visible where it is white space, and never read as a formula."""
    text = naming.shortened(token.strip(" "), most) or "\N{OPEN BOX}"
    return text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}").replace("$", r"\$")


def _matrix(table: pd.DataFrame, rows: str, columns: str, values: str) -> pd.DataFrame:
    """The column `values` as a matrix, rows and columns in the order of the table."""
    if table.duplicated([rows, columns]).any():
        raise TableError(f"several rows for one {rows} and {columns}; keep one run per figure")
    matrix = table.pivot(index=rows, columns=columns, values=values)
    order = np.sort(table[rows].unique()) if rows == "state" else table[rows].unique()
    return matrix.reindex(index=order, columns=np.sort(table[columns].unique()))


def _meaning(table: pd.DataFrame) -> cells.Meaning:
    """What the colours of a metric say."""
    metric = str(table["metric"].iloc[0]) if "metric" in table else ""
    if metric in _LESS_IS_CLOSER:
        return cells.DAMAGE
    return cells.BALANCE if metric == "logit_difference" else cells.SCORE


def _metric(table: pd.DataFrame) -> str:
    name = str(table["metric"].iloc[0]) if "metric" in table else "value"
    return _METRICS.get(name, name)
