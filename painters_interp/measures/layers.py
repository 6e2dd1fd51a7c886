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
    """The mean over a document's tokens of something that each state or layer does to a token.

    NaN, if undefined, is left out, and the document if all its tokens are.
    """

    axis: ClassVar[str] = "layer"

    @abstractmethod
    def _values(self, reading: DocumentStates) -> Float[Tensor, "place token"]: ...

    def update(self, pair: DocumentPair) -> None:
        if pair.rows.count:
            values = self._values(pair.rows)
            self._add(pair.document, values.nansum(1), values.isnan().logical_not().sum(1))

    def result(self) -> Curve:
        return Curve(self._means(), self._documents, self.axis)


class BlockInfluence(_TokenCurve):
    """1 less the cosine of what a layer reads with what it leaves; in [0, 2]. arXiv 2403.03853.

    Undefined where one of them is zero.
    """

    def _values(self, reading: DocumentStates) -> Float[Tensor, "layer token"]:
        products = vecdot(reading.vectors[:-1], reading.vectors[1:])
        influence: Tensor = 1 - products / reading.lengths[:-1] / reading.lengths[1:]
        return influence


class ResidualNorm(_TokenCurve):
    """Euclidean length of the stream at each state."""

    axis = "state"

    def _values(self, reading: DocumentStates) -> Float[Tensor, "state token"]:
        return reading.lengths


class UpdateRatio(_TokenCurve):
    """Length of a layer's update over that of the stream that it reads; undefined if that is 0."""

    def _values(self, reading: DocumentStates) -> Float[Tensor, "layer token"]:
        before = reading.lengths[:-1]
        ratio: Tensor = vector_norm(reading.updates, dim=-1) / before
        return ratio.masked_fill(before == 0, torch.nan)


class UpdateCosine(_TokenCurve):
    """Cosine of a layer's update with the stream that it reads: below 0 it erases; in [-1, 1].

    Undefined where one of them is zero.
    """

    def _values(self, reading: DocumentStates) -> Float[Tensor, "layer token"]:
        products = vecdot(reading.updates, reading.vectors[:-1])
        cosine: Tensor = products / vector_norm(reading.updates, dim=-1) / reading.lengths[:-1]
        return cosine


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
