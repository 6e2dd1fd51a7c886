"""What every measure is: fed document by document, read once at the end."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import MeasureError
from ..models import numbers
from ..statistics import FEWEST, LEVEL, RESAMPLES, percentiles, resamplings
from ..terminal import folded
from .documents import DocumentPair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Pieces of documents whose numbers come home together: a device is waited for each time.
_AT_ONCE = 64


class Ends(NamedTuple):
    """Lower and upper end of an interval, labelled as the value itself."""

    low: pd.DataFrame | pd.Series
    high: pd.DataFrame | pd.Series


class _OverDocuments(ABC):
    """A mean over documents at every place, and how sure it is."""

    per_document: Float[np.ndarray, "document *place"]
    documents: tuple[int, ...]

    @cached_property
    def defined(self) -> Int[np.ndarray, "*place"]:
        """In how many documents each value is defined."""
        count: np.ndarray = (~np.isnan(self.per_document)).sum(axis=0)
        return count

    @abstractmethod
    def resampled(
        self, weights: Float[np.ndarray, "resample document"]
    ) -> Float[np.ndarray, "resample *place"]:
        """The values for other weights of the documents; each row of `weights` sums to 1."""

    @abstractmethod
    def _labelled(self, values: Any) -> Any: ...

    def interval(self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Ends:
        """Bootstrap interval of every value over its documents; NaN for fewer than 4."""
        documents = len(self.documents)
        drawn = self.resampled(resamplings(documents, resamples, seed))
        low, high = percentiles(drawn, level)
        if (partly := self.defined < documents).any():
            # A sample that drew none of an entry's documents says nothing of it.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # no sample drew any
                ends = np.nanquantile(drawn[:, partly], [(1 - level) / 2, (1 + level) / 2], axis=0)
            ends[:, self.defined[partly] < FEWEST] = np.nan
            low[partly], high[partly] = ends
        return Ends(self._labelled(low), self._labelled(high))


@dataclass(frozen=True, eq=False)
class Matrix(_OverDocuments):
    """A measure between every pair of states, as a mean over documents.

    `per_document` holds one matrix for each of `documents` (indices of the texts), NaN where the
    measure is undefined: such an entry is the mean over the other documents. A measure that is a
    ratio of means over documents, such as CKA, has the two factors of its denominator beside it:
    the matrix is `mean(per_document) / sqrt(mean(row_scale) x mean(column_scale))`.

    `row_axis` and `column_axis` say what rows and columns are: states, and of which of two models.
    """

    per_document: Float[np.ndarray, "document row column"]
    documents: tuple[int, ...]
    row_scale: Float[np.ndarray, "document row"] | None = None
    column_scale: Float[np.ndarray, "document column"] | None = None
    row_axis: str = "state"
    column_axis: str = "state"
    name: str = ""

    def plot(self, title: str | None = None, ax: "Axes | None" = None) -> "Figure":
        """A heatmap of it, in the colours of similarities or of distances."""
        from ..figures import similarity_panel

        ends = self.row_axis, self.column_axis
        axis = ends[0] if ends[0] == ends[1] else ends
        name = self.name if title is None else title
        meaning = "distance" if self.name.startswith("angular") else "similarity"
        own = None if ax is None else [ax]
        return similarity_panel({name: self}, meaning, axis=axis, meaning=meaning, axes=own)

    def __repr__(self) -> str:
        told, texts = in_short(self.matrix).strip(), len(self.documents)
        return folded(f"Matrix {self.name}: {told}, mean of {texts} texts", hang=4)

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """Rows and columns are states, 0 being the embedding output."""
        return self._labelled(self.resampled(_even(self.documents))[0])

    def resampled(
        self, weights: Float[np.ndarray, "resample document"]
    ) -> Float[np.ndarray, "resample row column"]:
        """The matrix for other weights of the documents; each row of `weights` sums to 1."""
        cross = weighted_means(weights, self.per_document)
        if self.row_scale is None or self.column_scale is None:
            return cross
        if (self.defined == len(self.documents)).all():
            rows = (weights @ self.row_scale)[:, :, None]
            columns = (weights @ self.column_scale)[:, None, :]
        else:  # numerator and denominator of an entry are over the same documents
            missing = np.isnan(self.per_document)
            scales = self.row_scale[:, :, None], self.column_scale[:, None, :]
            rows, columns = (
                weighted_means(weights, np.where(missing, np.nan, scale)) for scale in scales
            )
        # A variance estimated at zero or below has no root to divide by: NaN.
        positive = (rows > 0) & (columns > 0)
        ratio: np.ndarray = cross / np.sqrt(np.where(positive, rows * columns, np.nan))
        return ratio

    def _labelled(self, values: Float[np.ndarray, "row column"]) -> pd.DataFrame:
        index = pd.RangeIndex(values.shape[0], name=self.row_axis)
        columns = pd.RangeIndex(values.shape[1], name=self.column_axis)
        return pd.DataFrame(values, index=index, columns=columns)


def in_short(values: "pd.DataFrame | pd.Series[float]") -> str:
    """Between which ends values lie, and how many of what there are: `0.1 to 0.9, 7 x 7 states`."""
    numbers = values.to_numpy(dtype=float)
    known = numbers[np.isfinite(numbers)]
    ends = f"{known.min():8.3f} to {known.max():8.3f}" if known.size else f"{'no value':>20}"
    return f"{ends}  {' x '.join(map(str, numbers.shape))} {values.index.name or 'state'}s"


@dataclass(frozen=True, eq=False)
class Curve(_OverDocuments):
    """A measure of every state or every layer (`axis`), as a mean over documents.

    `per_document` is NaN where the measure is undefined, which leaves the document out there.
    """

    per_document: Float[np.ndarray, "document place"]
    documents: tuple[int, ...]
    axis: str
    name: str = ""

    def plot(self, title: str | None = None, ax: "Axes | None" = None) -> "Figure":
        """A line of it over depth (`figures.depth_curves`)."""
        return _plotted(self, title, ax)

    def __repr__(self) -> str:
        told, texts = in_short(self.curve).strip(), len(self.documents)
        return folded(f"Curve {self.name}: {told}, mean of {texts} texts", hang=4)

    @cached_property
    def curve(self) -> "pd.Series[float]":
        """One value for each state or layer."""
        return self._labelled(self.resampled(_even(self.documents))[0])

    def resampled(
        self, weights: Float[np.ndarray, "resample document"]
    ) -> Float[np.ndarray, "resample place"]:
        """The curve for other weights of the documents; each row of `weights` sums to 1."""
        return weighted_means(weights, self.per_document)

    def _labelled(self, values: Float[np.ndarray, " place"]) -> "pd.Series[float]":
        return pd.Series(values, index=pd.RangeIndex(len(values), name=self.axis))


@dataclass(frozen=True, eq=False)
class Pooled:
    """A measure of every state or layer that takes all tokens together: no mean over documents.

    So it has no interval over documents; its ends are NaN.
    """

    values: Float[np.ndarray, " place"]
    axis: str
    name: str = ""

    def plot(self, title: str | None = None, ax: "Axes | None" = None) -> "Figure":
        """A line of it over depth (`figures.depth_curves`)."""
        return _plotted(self, title, ax)

    def __repr__(self) -> str:
        told = in_short(self.curve).strip()
        return folded(f"Pooled {self.name}: {told}, of all tokens together", hang=4)

    @property
    def curve(self) -> "pd.Series[float]":
        """One value for each state or layer."""
        return pd.Series(self.values, index=pd.RangeIndex(len(self.values), name=self.axis))

    def interval(self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Ends:
        """NaN at every place, whatever is asked."""
        nothing = self.curve * np.nan
        return Ends(nothing, nothing)


Result = Matrix | Curve | Pooled


def curve_table(found: Curve | Pooled, level: float, resamples: int, seed: int) -> pd.DataFrame:
    """A curve as tidy rows: measure, axis, place, value, low, high, documents.

    Args:
        found: A measure along depth.
        level: Of the intervals, between 0 and 1.
        resamples: How many bootstrap samples of the documents are drawn.
        seed: Of the draw.

    Returns:
        A row per layer or state.

    Example:
        >>> found = painters.similarity(model, texts, "variance")["variance"]
        >>> len(curve_table(found, level=0.95, resamples=100, seed=0))
        7
    """
    low, high = found.interval(level, resamples, seed)
    part = pd.DataFrame({"value": found.curve, "low": low, "high": high})
    part = part.rename_axis("place").reset_index()
    documents = found.defined if isinstance(found, Curve) else None
    part["documents"] = pd.Series(documents, index=part.index, dtype="Int64")
    return part.assign(measure=found.name, axis=found.axis)


def _plotted(found: Curve | Pooled, title: str | None, ax: "Axes | None") -> "Figure":
    from ..figures import depth_curves

    table = curve_table(found, LEVEL, RESAMPLES, 0)
    return depth_curves(table, title=title, axes=None if ax is None else [ax])


def weighted_means(
    weights: Float[np.ndarray, "resample document"], values: Float[np.ndarray, "document *place"]
) -> Float[np.ndarray, "resample *place"]:
    """Means over documents, at every place over those that are not NaN there; NaN if none is."""
    missing = np.isnan(values)
    if not missing.any():
        means: np.ndarray = np.tensordot(weights, values, axes=1)
        return means
    total = np.tensordot(weights, np.where(missing, 0, values), axes=1)
    share = np.tensordot(weights, (~missing).astype(float), axes=1)
    partial: np.ndarray = total / np.where(share == 0, np.nan, share)
    return partial


def _even(documents: tuple[int, ...]) -> Float[np.ndarray, "1 document"]:
    return np.full((1, len(documents)), 1 / len(documents))


class Measure(ABC):
    """An accumulator over documents. Its memory does not depend on the number of tokens.

    `sampled` says whether it looks at the samples of the pairs.
    """

    sampled: ClassVar[bool] = False

    @abstractmethod
    def update(self, pair: DocumentPair) -> None:
        """Take in one document, or a piece of one."""


class PerDocument(Measure):
    """Keeps a weighted mean for each document; a document in pieces is the mean of its pieces.

    What is added stays where the streams are, until that of some pieces comes home together.
    """

    def __init__(self) -> None:
        self._sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._waiting: list[tuple[int, Tensor, Tensor | float | int]] = []

    def _add(self, document: int, total: Tensor, weight: Tensor | float | int) -> None:
        """`total` is the sum, over so much `weight`, of what is averaged; NaN adds nothing."""
        self._waiting.append((document, total, weight))
        if len(self._waiting) == _AT_ONCE:
            self._take_in()

    def _take_in(self) -> None:
        if not self._waiting:
            return
        documents, totals, weights = zip(*self._waiting, strict=True)
        self._waiting.clear()
        for document, total, weight in zip(
            documents, numbers(torch.stack(totals)), _home(weights), strict=True
        ):
            share = ~np.isnan(total) * weight
            total = np.where(np.isnan(total), 0.0, total)
            if document in self._sums:
                before, so_far = self._sums[document]
                total, share = before + total, so_far + share
            self._sums[document] = total, share

    @property
    def _documents(self) -> tuple[int, ...]:
        self._take_in()
        return tuple(self._sums)

    def _means(self) -> np.ndarray:
        """One row per document, NaN where undefined. Raises MeasureError if none had tokens."""
        if not self._documents:
            raise MeasureError(
                f"no text had enough tokens for {type(self).__name__}; see its docstring"
            )
        with np.errstate(invalid="ignore"):  # 0 / 0 where nothing of a document was defined
            return np.stack([total / share for total, share in self._sums.values()])


def _home(weights: Sequence[Tensor | float | int]) -> Iterable[Any]:
    tensors = [weight for weight in weights if isinstance(weight, Tensor)]
    return numbers(torch.stack(tensors)) if tensors else weights
