"""What every measure is: fed document by document, read once at the end."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from ..errors import MeasureError
from ..statistics import LEVEL, RESAMPLES, percentiles, resamplings
from .documents import DocumentPair


class Ends(NamedTuple):
    """Lower and upper end of an interval, labelled as the value itself."""

    low: pd.DataFrame | pd.Series
    high: pd.DataFrame | pd.Series


@dataclass(frozen=True, eq=False)
class Matrix:
    """A measure between every pair of states, as a mean over documents.

    `per_document` holds one matrix for each of `documents` (indices of the texts). A measure that
    is a ratio of means over documents, such as CKA, has the two factors of its denominator beside
    it: the matrix is `mean(per_document) / sqrt(mean(row_scale) x mean(column_scale))`.
    """

    per_document: Float[np.ndarray, "document row column"]
    documents: tuple[int, ...]
    row_scale: Float[np.ndarray, "document row"] | None = None
    column_scale: Float[np.ndarray, "document column"] | None = None

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """Rows and columns are states, 0 being the embedding output."""
        even = np.full((1, len(self.documents)), 1 / len(self.documents))
        return self._labelled(self.resampled(even)[0])

    def resampled(
        self, weights: Float[np.ndarray, "resample document"]
    ) -> Float[np.ndarray, "resample row column"]:
        """The matrix for other weights of the documents; each row of `weights` sums to 1."""
        cross: np.ndarray = np.tensordot(weights, self.per_document, axes=1)
        if self.row_scale is None or self.column_scale is None:
            return cross
        rows, columns = weights @ self.row_scale, weights @ self.column_scale
        with np.errstate(invalid="ignore"):  # a variance estimated below zero has no root: NaN
            cross /= np.sqrt(rows[:, :, None] * columns[:, None, :])
        return cross

    def interval(self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Ends:
        """Bootstrap interval of every entry over documents; NaN for a single document."""
        n = len(self.documents)
        if n < 2:
            nothing = self._labelled(np.full(self.per_document.shape[1:], np.nan))
            return Ends(nothing, nothing)
        low, high = percentiles(self.resampled(resamplings(n, resamples, seed)), level)
        return Ends(self._labelled(low), self._labelled(high))

    def _labelled(self, values: Float[np.ndarray, "row column"]) -> pd.DataFrame:
        index, columns = (pd.RangeIndex(size, name="state") for size in values.shape)
        return pd.DataFrame(values, index=index, columns=columns)


@dataclass(frozen=True, eq=False)
class Curve:
    """A measure of every state or every layer (`axis`), as a mean over documents."""

    per_document: Float[np.ndarray, "document place"]
    documents: tuple[int, ...]
    axis: str

    @cached_property
    def curve(self) -> "pd.Series[float]":
        """One value for each state or layer."""
        return self._labelled(self.per_document.mean(axis=0))

    def interval(self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Ends:
        """Bootstrap interval of every value over documents; NaN for a single document."""
        n = len(self.documents)
        if n < 2:
            nothing = self._labelled(np.full(self.per_document.shape[1:], np.nan))
            return Ends(nothing, nothing)
        low, high = percentiles(resamplings(n, resamples, seed) @ self.per_document, level)
        return Ends(self._labelled(low), self._labelled(high))

    def _labelled(self, values: Float[np.ndarray, " place"]) -> "pd.Series[float]":
        return pd.Series(values, index=pd.RangeIndex(len(values), name=self.axis))


@dataclass(frozen=True, eq=False)
class Pooled:
    """A measure of every state or layer that takes all tokens together: no mean over documents.

    So it has no interval over documents; its ends are NaN.
    """

    values: Float[np.ndarray, " place"]
    axis: str

    @property
    def curve(self) -> "pd.Series[float]":
        """One value for each state or layer."""
        return pd.Series(self.values, index=pd.RangeIndex(len(self.values), name=self.axis))

    def interval(self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Ends:
        """NaN at every place, whatever is asked."""
        nothing = self.curve * np.nan
        return Ends(nothing, nothing)


Result = Matrix | Curve | Pooled


class Measure(ABC):
    """An accumulator over documents. Its memory does not depend on the number of tokens."""

    @abstractmethod
    def update(self, pair: DocumentPair) -> None:
        """Take in one document, or a piece of one."""


class PerDocument(Measure):
    """Keeps a weighted mean for each document; a document in pieces is the mean of its pieces."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[np.ndarray, float]] = {}

    def _add(self, document: int, total: Tensor | np.ndarray, weight: float | int) -> None:
        """`total` is the sum, over so much `weight`, of what is averaged."""
        array = total.double().cpu().numpy() if isinstance(total, Tensor) else total
        before, so_far = self._sums.get(document, (0.0, 0.0))
        self._sums[document] = (before + array, so_far + weight)

    @property
    def _documents(self) -> tuple[int, ...]:
        return tuple(self._sums)

    def _means(self) -> np.ndarray:
        """One row per document. Raises MeasureError if no document had enough tokens."""
        if not self._sums:
            raise MeasureError(
                f"no text had enough tokens for {type(self).__name__}; see its docstring"
            )
        return np.stack([total / weight for total, weight in self._sums.values()])
