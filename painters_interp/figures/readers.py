"""Readers of one state that read all others, as maps."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import require, to_matrices
from . import cells, naming, style, wishes
from .heatmaps import similarity_panel

_TITLES = {"raw": "raw stream", "standardised": "standardised by state"}


@style.drawing
def reader_heatmap(
    table: pd.DataFrame,
    readings: Sequence[str] = tuple(_TITLES),
    limits: cells.Limits | None = None,
    zones: Sequence[int] = (),
    *,
    axes: wishes.Panels = None,
) -> Figure:
    """Accuracy of a reader that was trained at one state (down) and reads another one (across).

    Args:
        table: `Readers.table()`: measure, row, column, value, chance; and source and target, where
            they are states of two models.
        readings: Which readings have a map; all share one colour scale, which begins at chance.
        limits: Of the colour scale.
        zones: Boundaries of states, drawn as lines before them.
        axes: Draw into these axes, one for each reading.

    Returns:
        The figure.

    Raises:
        TableError: where a reading is not in the table.

    Example:
        >>> from painters_interp import figures
        >>> from painters_interp.tables import from_matrices
        >>> accuracy = pd.DataFrame([[0.9, 0.6], [0.5, 0.8]])
        >>> figure = figures.reader_heatmap(
        ...     from_matrices({"raw": accuracy}).assign(chance=0.5), ["raw"]
        ... )
        >>> len(figure.axes)
        2
    """
    require(table, "measure", "row", "column", "value", "chance")
    matrices = to_matrices(table)
    if missing := [name for name in readings if name not in matrices]:
        raise TableError(f"no reading {missing[0]!r}; the table has {', '.join(matrices)}")
    shown = {_TITLES.get(name, naming.plain(name)): matrices[name] for name in readings}
    low = float(table["chance"].min())
    ends = [table[end].iloc[0] for end in ("source", "target") if end in table]
    of = [f" of {naming.plain(naming.shortened(str(end), 24))}" for end in ends] or ["", ""]
    return similarity_panel(
        shown,
        label=f"accuracy (chance {low:.2f})",
        limits=limits or (low, cells.reach([*shown.values()], low, low)[1]),
        columns=2,
        zones=zones,
        axis=(f"reader trained at state{of[0]}{naming.STATE}", f"state{of[1]} that is read"),
        meaning="score",
    )
