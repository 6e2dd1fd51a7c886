"""Zones of depth: where the first layers end and the last ones begin, and how sure that is."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.sparse import diags_array
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from ..errors import MeasureError
from ..statistics import RESAMPLES, resamplings
from ..terminal import Brief
from .base import Curve, Matrix

GROUPS = 3


@dataclass(frozen=True, repr=False)
class Zones(Brief):
    """Contiguous groups of states (or layers): `boundaries` are the first members of all but one.

    `stability` is the mean adjusted Rand index with the zones of bootstrap samples of the
    documents: 1 if every sample has the same zones, 0 if they agree as random labels do. NaN where
    nothing could be resampled.
    """

    size: int
    boundaries: tuple[int, ...]
    stability: float = float("nan")

    @property
    def labels(self) -> Int[np.ndarray, " place"]:
        """The zone of each state or layer: 0, 1, ..."""
        return np.searchsorted(self.boundaries, np.arange(self.size), side="right")

    @property
    def of_layers(self) -> "Zones":
        """The same for layers: a layer belongs where the state does that it writes."""
        shifted = tuple(b - 1 for b in self.boundaries if b > 1)
        return Zones(self.size - 1, shifted, self.stability)

    def agreement(self, other: "Zones") -> float:
        """Adjusted Rand index of two divisions of the same states or layers; 1 if equal."""
        if self.size != other.size:
            raise MeasureError(
                f"zones of {self.size} and of {other.size} places cannot be compared; "
                "zones of states become zones of layers by `of_layers`"
            )
        return float(adjusted_rand_score(self.labels, other.labels))


def zones(
    similarity: Matrix | pd.DataFrame,
    groups: int = GROUPS,
    distance: bool = False,
    resamples: int = RESAMPLES // 5,
    seed: int = 0,
) -> Zones:
    """Divide the states into `groups` contiguous zones, alike inside, by a matrix between them.

    Agglomerative clustering with average linkage in which only neighbours may join. `distance`
    says that large values mean unlike (as for `angular`). With a `Matrix`, `stability` comes from
    a bootstrap over its documents, of the samples that leave no entry without a document. Raises
    MeasureError for a matrix between different states, or with entries that are NaN.
    """
    if isinstance(similarity, pd.DataFrame):
        return _divided(similarity.to_numpy(dtype=float), groups, distance)
    found = _divided(similarity.matrix.to_numpy(), groups, distance)
    again = similarity.resampled(resamplings(len(similarity.documents), resamples, seed))
    return _stable(found, [_divided(one, groups, distance) for one in again if _complete(one)])


def zones_along(
    curve: "Curve | pd.Series[float]",
    groups: int = GROUPS,
    resamples: int = RESAMPLES // 5,
    seed: int = 0,
) -> Zones:
    """Divide layers (or states) by one number each, such as what it costs to drop them."""
    if isinstance(curve, pd.Series):
        return _divided(_apart(curve.to_numpy(dtype=float)), groups, distance=True)
    found = _divided(_apart(curve.curve.to_numpy()), groups, distance=True)
    again = curve.resampled(resamplings(len(curve.documents), resamples, seed))
    apart = [_apart(one) for one in again if _complete(one)]
    return _stable(found, [_divided(one, groups, distance=True) for one in apart])


def _apart(values: Float[np.ndarray, " place"]) -> Float[np.ndarray, "place place"]:
    apart: np.ndarray = np.abs(values[:, None] - values[None, :])
    return apart


def _divided(matrix: Float[np.ndarray, "row column"], groups: int, distance: bool) -> Zones:
    size = len(matrix)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise MeasureError(
            f"zones need a finite matrix of states with themselves; this one is {matrix.shape[0]} "
            f"x {matrix.shape[1]}, {int(np.isnan(matrix).sum())} of its entries NaN"
        )
    if not 1 < groups <= size:
        raise MeasureError(f"groups={groups}; {size} states can be divided into 2 to {size}")
    chain = diags_array([np.ones(size - 1), np.ones(size - 1)], offsets=[-1, 1])
    unlike = matrix if distance else matrix.max() - matrix
    labels = AgglomerativeClustering(
        n_clusters=groups, metric="precomputed", linkage="average", connectivity=chain
    ).fit_predict((unlike + unlike.T) / 2)
    return Zones(size, tuple(int(b) + 1 for b in np.flatnonzero(np.diff(labels))))


def _complete(values: Float[np.ndarray, "..."]) -> bool:
    """Whether a bootstrap sample has a value everywhere: it may draw no document of an entry."""
    return bool(np.isfinite(values).all())


def _stable(found: Zones, again: list[Zones]) -> Zones:
    if not again:
        return found
    return Zones(found.size, found.boundaries, float(np.mean([found.agreement(z) for z in again])))
