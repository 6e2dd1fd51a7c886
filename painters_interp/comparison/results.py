"""What `similarity` returns: results by measure, and tidy tables of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..measures import Curve, Matrix, Pooled, Result
from ..statistics import LEVEL, RESAMPLES

_MATRIX = ["measure", "row", "column", "value", "low", "high", "documents"]
_CURVE = ["measure", "axis", "place", "value", "low", "high", "documents"]


class Similarity(dict[str, Result]):
    """Results by measure: `result["cosine"].matrix`, `result["block_influence"].curve`.

    `massive` says which dimensions and tokens carry massive activations (`measures.Massive.table`),
    `compared` what was read: the model of the rows (`source`), that of the columns or the null in
    its place (`target`), the `plan` of the former, and how many `texts`.
    """

    def __init__(
        self,
        results: Mapping[str, Result],
        massive: pd.DataFrame,
        compared: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(results)
        self.massive, self.compared = massive, dict(compared or {})

    def table(
        self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> pd.DataFrame:
        """All matrices, tidy: measure, row, column, value, low, high, documents.

        `low` and `high` are the ends of the bootstrap interval over documents; `documents` is the
        number of those in which the entry is defined. Where two models were compared, `source` and
        `target` say whose states rows and columns are.
        """
        table = _stacked(self._matrices(level, resamples, seed), _MATRIX)
        ends = {side: self.compared.get(side) for side in ("source", "target")}
        return table if ends["source"] == ends["target"] else table.assign(**ends)

    def curves(
        self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> pd.DataFrame:
        """All curves, tidy: measure, axis (state or layer), place, value, low, high, documents.

        `documents` is the number of those in which the value is defined. Measures that pool all
        tokens have no interval and no number of documents.
        """
        return _stacked(self._curves(level, resamples, seed), _CURVE)

    def _matrices(self, level: float, resamples: int, seed: int) -> Iterator[pd.DataFrame]:
        for name, found in self.items():
            if isinstance(found, Matrix):
                low, high = found.interval(level, resamples, seed)
                rows, columns = (grid.ravel() for grid in np.indices(found.matrix.shape))
                named = {"value": found.matrix, "low": low, "high": high}
                ends = {end: matrix.to_numpy().ravel() for end, matrix in named.items()}
                part = pd.DataFrame({"row": rows, "column": columns, **ends})
                yield part.assign(measure=name, documents=found.defined.ravel())

    def _curves(self, level: float, resamples: int, seed: int) -> Iterator[pd.DataFrame]:
        for name, found in self.items():
            if isinstance(found, (Curve, Pooled)):
                low, high = found.interval(level, resamples, seed)
                part = pd.DataFrame({"value": found.curve, "low": low, "high": high})
                part = part.rename_axis("place").reset_index()
                documents = found.defined if isinstance(found, Curve) else None
                part["documents"] = pd.Series(documents, index=part.index, dtype="Int64")
                yield part.assign(measure=name, axis=found.axis)


def _stacked(parts: Iterator[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    empty = pd.DataFrame(columns=columns)
    table = pd.concat([*parts] or [empty], ignore_index=True)[columns]
    return table.astype({"documents": "Int64"})
