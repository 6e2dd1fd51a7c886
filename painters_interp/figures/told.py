"""What the marks of a figure stand for beside their place: plans, intervals, names of cells.

On paper none of it is seen; a figure that answers to a pointer says it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from matplotlib.artist import Artist

_SHOWN = ("plan", "low", "high")
_LINE = 56  # letters of a plan in one line


@dataclass(frozen=True, eq=False)
class Told:
    """Plans and ends of intervals, each in the order, or the shape, of the marks.

    `names` are those of the rows and columns of cells.
    """

    plan: Any = None
    low: Any = None
    high: Any = None
    names: tuple[list[str], list[str]] | None = None

    def lines(self, place: int | tuple[int, int], value: float, of: str) -> Iterator[str]:
        """What is said of one mark: its value, with its interval, and its plan."""
        ends = [np.asarray(end, dtype=float)[place] for end in (self.low, self.high)
                if end is not None]  # fmt: skip
        known = len(ends) == 2 and all(np.isfinite(ends))
        yield f"{of}: {value:.4g}" + (f" [{ends[0]:.4g}, {ends[1]:.4g}]" if known else "")
        if self.plan is not None and isinstance(plan := np.asarray(self.plan)[place], str):
            yield from wrap(plan, _LINE, break_long_words=False)


_TOLD: WeakKeyDictionary[Artist, Told] = WeakKeyDictionary()


def tell_points(line: Artist, rows: pd.DataFrame) -> None:
    """The points of a line are these rows: their `plan`, `low` and `high`, where they have them."""
    known = {name: rows[name].to_numpy() for name in _SHOWN if name in rows}
    _TOLD[line] = Told(known.get("plan"), known.get("low"), known.get("high"))


def tell_cells(
    mesh: Artist, values: pd.DataFrame, beside: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """The cells of a mesh are those of a matrix; `beside` it are others of the same shape."""
    names = [str(name) for name in values.index], [str(name) for name in values.columns]
    more = {name: matrix.to_numpy() for name, matrix in (beside or {}).items()}
    _TOLD[mesh] = Told(more.get("plan"), more.get("low"), more.get("high"), names)


def told(artist: Artist) -> Told:
    """What is known of an artist's marks; nothing, of most."""
    return _TOLD.get(artist, Told())
