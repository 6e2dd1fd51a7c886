"""What `similarity` returns: results by measure, and tidy tables of them."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from ..measures import Curve, Matrix, Pooled, Result
from ..statistics import LEVEL, RESAMPLES

_MATRIX = ["measure", "row", "column", "value", "low", "high", "documents"]
_CURVE = ["measure", "axis", "place", "value", "low", "high", "documents"]


class Similarity(dict[str, Result]):
    """Results by measure: `result["cosine"].matrix`, `result["block_influence"].curve`.

    `massive` says which dimensions and tokens carry massive activations (`measures.Massive.table`).
    """

    def __init__(self, results: Mapping[str, Result], massive: pd.DataFrame) -> None:
        super().__init__(results)
        self.massive = massive

    def table(
        self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> pd.DataFrame:
        """All matrices, tidy: measure, row, column, value, low, high, documents.

        `low` and `high` are the ends of the bootstrap interval over documents.
        """
        return _stacked(self._matrices(level, resamples, seed), _MATRIX)

    def curves(
        self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> pd.DataFrame:
        """All curves, tidy: measure, axis (state or layer), place, value, low, high, documents.

        Measures that pool all tokens have no interval and no number of documents.
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
                yield part.assign(measure=name, documents=len(found.documents))

    def _curves(self, level: float, resamples: int, seed: int) -> Iterator[pd.DataFrame]:
        for name, found in self.items():
            if isinstance(found, (Curve, Pooled)):
                low, high = found.interval(level, resamples, seed)
                part = pd.DataFrame({"value": found.curve, "low": low, "high": high})
                part = part.rename_axis("place").reset_index()
                documents = len(found.documents) if isinstance(found, Curve) else None
                part["documents"] = pd.Series(documents, index=part.index, dtype="Int64")
                yield part.assign(measure=name, axis=found.axis)


def _stacked(parts: Iterator[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    empty = pd.DataFrame(columns=columns)
    table = pd.concat([*parts] or [empty], ignore_index=True)[columns]
    return table.astype({"documents": "Int64"})
