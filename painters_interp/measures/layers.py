"""Measures of single layers and states, averaged over tokens, then over documents."""

from abc import abstractmethod
from typing import ClassVar

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from .base import Curve, PerDocument
from .readings import Pair, Reading


class _TokenCurve(PerDocument):
    """The mean over a document's tokens of something that each state or layer does to a token."""

    axis: ClassVar[str] = "layer"

    @abstractmethod
    def _values(self, reading: Reading) -> Float[Tensor, "place token"]: ...

    def update(self, pair: Pair) -> None:
        values = rearrange(self._values(pair.rows), "place token -> token place")
        for document, total, count in pair.cells(values):
            self._add(document, total, count)

    def result(self) -> Curve:
        return Curve(self._means(), self._documents, self.axis)


class BlockInfluence(_TokenCurve):
    """1 less the cosine of what a layer reads with what it leaves; in [0, 2]. arXiv 2403.03853."""

    def _values(self, reading: Reading) -> Float[Tensor, "layer token"]:
        return 1 - cosine_similarity(reading.vectors[:-1], reading.vectors[1:], dim=-1)


class ResidualNorm(_TokenCurve):
    """Euclidean length of the stream at each state."""

    axis = "state"

    def _values(self, reading: Reading) -> Float[Tensor, "state token"]:
        lengths: Tensor = torch.linalg.vector_norm(reading.vectors, dim=-1)
        return lengths


class UpdateRatio(_TokenCurve):
    """Length of a layer's update over the length of the stream that it reads."""

    def _values(self, reading: Reading) -> Float[Tensor, "layer token"]:
        added: Tensor = torch.linalg.vector_norm(reading.updates, dim=-1)
        read: Tensor = torch.linalg.vector_norm(reading.vectors[:-1], dim=-1)
        return added / read


class UpdateCosine(_TokenCurve):
    """Cosine of a layer's update with the stream that it reads: below 0 it erases; in [-1, 1]."""

    def _values(self, reading: Reading) -> Float[Tensor, "layer token"]:
        return cosine_similarity(reading.updates, reading.vectors[:-1], dim=-1)


class Variance(PerDocument):
    """Variance over a document's tokens, averaged over dimensions, at each state.

    arXiv 2407.09298, Fig. 15. Documents of one counted token are left out.
    """

    def update(self, pair: Pair) -> None:
        for document, vectors in zip(pair.documents, pair.rows.blocks(), strict=True):
            if (count := vectors.shape[1]) >= 2:
                spread = reduce(vectors.var(dim=1), "state d -> state", "mean")
                self._add(document, count * spread, count)

    def result(self) -> Curve:
        return Curve(self._means(), self._documents, "state")
