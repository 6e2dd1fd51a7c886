"""Measures of single layers and states, averaged over tokens, then over documents."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vecdot, vector_norm

from .base import Curve, PerDocument
from .documents import DocumentPair, DocumentStates


class _TokenCurve(PerDocument):
    """The mean over a document's tokens of something that each state or layer does to a token."""

    axis: ClassVar[str] = "layer"

    @abstractmethod
    def _values(self, reading: DocumentStates) -> Float[Tensor, "place token"]: ...

    def update(self, pair: DocumentPair) -> None:
        if count := pair.rows.count:
            self._add(pair.document, self._values(pair.rows).sum(1), count)

    def result(self) -> Curve:
        return Curve(self._means(), self._documents, self.axis)


class BlockInfluence(_TokenCurve):
    """1 less the cosine of what a layer reads with what it leaves; in [0, 2]. arXiv 2403.03853."""

    def _values(self, reading: DocumentStates) -> Float[Tensor, "layer token"]:
        products = vecdot(reading.vectors[:-1], reading.vectors[1:])
        return 1 - _over(products, reading.lengths[:-1] * reading.lengths[1:])


class ResidualNorm(_TokenCurve):
    """Euclidean length of the stream at each state."""

    axis = "state"

    def _values(self, reading: DocumentStates) -> Float[Tensor, "state token"]:
        return reading.lengths


class UpdateRatio(_TokenCurve):
    """Length of a layer's update over the length of the stream that it reads."""

    def _values(self, reading: DocumentStates) -> Float[Tensor, "layer token"]:
        ratio: Tensor = vector_norm(reading.updates, dim=-1) / reading.lengths[:-1]
        return ratio


class UpdateCosine(_TokenCurve):
    """Cosine of a layer's update with the stream that it reads: below 0 it erases; in [-1, 1]."""

    def _values(self, reading: DocumentStates) -> Float[Tensor, "layer token"]:
        products = vecdot(reading.updates, reading.vectors[:-1])
        return _over(products, vector_norm(reading.updates, dim=-1) * reading.lengths[:-1])


def _over(
    products: Float[Tensor, "layer token"], lengths: Float[Tensor, "layer token"]
) -> Float[Tensor, "layer token"]:
    """A cosine; 0 where one of the two vectors is."""
    return products / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)


class Variance(PerDocument):
    """Variance over a document's tokens, averaged over dimensions, at each state.

    arXiv 2407.09298, Fig. 15. Documents of one counted token are left out.
    """

    def update(self, pair: DocumentPair) -> None:
        if (count := pair.rows.count) >= 2:
            deviations = pair.rows.deviations
            total = vector_norm(deviations, dim=(1, 2)).square()
            self._add(pair.document, count * total / ((count - 1) * deviations.shape[2]), count)

    def result(self) -> Curve:
        return Curve(self._means(), self._documents, "state")
