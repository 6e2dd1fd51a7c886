"""What every measure is: fed batch by batch, read once at the end."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import MeasureError


@dataclass(frozen=True, eq=False)
class Matrix:
    """A measure between every pair of states: one matrix per document, and their mean."""

    per_document: Float[np.ndarray, "document state state"]

    @property
    def matrix(self) -> pd.DataFrame:
        """The mean over documents; rows and columns are states, 0 being the embedding output."""
        mean = self.per_document.mean(axis=0)
        states = pd.RangeIndex(len(mean), name="state")
        return pd.DataFrame(mean, index=states, columns=states)


class Measure(ABC):
    """An accumulator over batches of residual streams that averages over documents."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[Tensor, float]] = {}

    @abstractmethod
    def update(
        self,
        states: Float[Tensor, "state batch pos d_model"],
        mask: Int[Tensor, "batch pos"],
        documents: tuple[int, ...],
    ) -> None:
        """Take in one batch; `mask` is 1 where a token counts, `documents` names the rows."""

    def result(self) -> Matrix:
        """The matrices so far. Raises MeasureError if nothing was counted."""
        if not self._sums:
            raise MeasureError("no document had a token to compare")
        means = [(total / weight).numpy() for total, weight in self._sums.values()]
        return Matrix(np.stack(means))

    def _add(self, document: int, total: Float[Tensor, "state state"], weight: float) -> None:
        """A document read in pieces is the weighted mean of its pieces."""
        before, weight_before = self._sums.get(document, (0.0, 0.0))
        self._sums[document] = (before + total.cpu().double(), weight_before + weight)
