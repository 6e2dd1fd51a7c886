"""What `similarity` returns: results by measure, and tidy tables of them."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import TableError
from ..measures import Curve, Matrix, Pooled, Result
from ..measures.base import curve_table, in_short
from ..statistics import LEVEL, RESAMPLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MATRIX = ["measure", "row", "column", "value", "low", "high", "documents"]
_CURVE = ["measure", "axis", "place", "value", "low", "high", "documents"]


class Similarity(dict[str, Result]):
    """Results by measure: `result["cosine"].matrix`, `result["block_influence"].curve`.

    `massive` says which dimensions and tokens carry massive activations (`measures.Massive.table`),
    `compared` what was read: the model of the rows (`source`), that of the columns or the null in
    its place (`target`), the `plan` of the former with the `depths` of its states, and how many
    `texts`.
    """

    def __init__(
        self,
        results: Mapping[str, Result],
        massive: pd.DataFrame,
        compared: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__({name: replace(found, name=name) for name, found in results.items()})
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
        tokens have no interval and no number of documents. Under a plan `depth` says where in the
        intact model a place is: what the plan leaves alone stands where it stands there.
        """
        table = _stacked(self._curves(level, resamples, seed), _CURVE)
        depths = self.compared.get("depths")
        return table if depths is None else table.assign(depth=[depths[k] for k in table["place"]])

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
        for found in self.values():
            if isinstance(found, (Curve, Pooled)):
                yield curve_table(found, level, resamples, seed)

    def plot(self, title: str | None = None) -> "Figure":
        """Heatmaps of its matrices side by side; where it has none, its curves.

        Example:
            >>> found = painters.similarity(model, texts, ["cosine", "angular"])
            >>> [ax.get_title() for ax in found.plot().axes[:2]]
            ['cosine, per token', 'angular distance']
        """
        from ..figures import depth_curves, similarity_panel

        matrices = {name: found for name, found in self.items() if isinstance(found, Matrix)}
        if not matrices:
            return depth_curves(self.curves(), title=title)
        first = next(iter(matrices.values()))
        ends = first.row_axis, first.column_axis
        axis = ends[0] if ends[0] == ends[1] else ends
        figure = similarity_panel(matrices, "similarity", axis=axis)
        if title:
            figure.suptitle(title)
        return figure

    def __repr__(self) -> str:
        wide = max(map(len, self), default=0)
        values = {name: found.matrix if isinstance(found, Matrix) else found.curve
                  for name, found in self.items()}  # fmt: skip
        lines = [f"{name:{wide}}  {in_short(of)}" for name, of in values.items()]
        return "\n".join([f"Similarity of {self.compared.get('texts', '?')} texts", *lines])

    def _repr_html_(self) -> str:
        """A small table, and a picture of the matrices where they have values, for notebooks."""
        import matplotlib.pyplot as plt

        picture, told = BytesIO(), f"<pre>{escape(repr(self))}</pre>"
        try:
            figure = self.plot()
        except TableError:  # what there is no picture of, the table says
            return told
        figure.savefig(picture, format="png", dpi=90)
        plt.close(figure)
        data = b64encode(picture.getvalue()).decode()
        shown = f'<img alt="similarity" src="data:image/png;base64,{data}">'
        return told + shown


def _stacked(parts: Iterator[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    empty = pd.DataFrame(columns=columns)
    table = pd.concat([*parts] or [empty], ignore_index=True)[columns]
    return table.astype({"documents": "Int64"})
