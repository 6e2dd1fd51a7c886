"""Measures of one token at a time, averaged over tokens, then over documents: cosine and angle."""

import math
from abc import abstractmethod

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import MeasureError
from .base import Matrix, PerDocument
from .documents import DocumentPair, DocumentStates, cosines


class _TokenMatrix(PerDocument):
    """The mean over a document's tokens of something between every two states of a token."""

    @abstractmethod
    def _values(self, pair: DocumentPair) -> Float[Tensor, "token row column"]: ...

    def update(self, pair: DocumentPair) -> None:
        refuse_widths(pair, type(self).__name__)
        if count := pair.rows.count:
            self._add(pair.document, self._values(pair).sum(0), count)

    def result(self) -> Matrix:
        return Matrix(self._means(), self._documents)


class Cosine(_TokenMatrix):
    """Cosine of a token's states with each other; in [-1, 1]."""

    def _values(self, pair: DocumentPair) -> Float[Tensor, "token row column"]:
        return pair.cosines


class CosineCentred(_TokenMatrix):
    """Cosine after the mean is subtracted: what is left without the direction all tokens share.

    The mean is that of a state over the texts of a first pass, or over the document.
    """

    def _values(self, pair: DocumentPair) -> Float[Tensor, "token row column"]:
        rows = pair.rows.centred
        return cosines(rows, rows if pair.same else pair.columns.centred)


class Angular(_TokenMatrix):
    """Angular distance arccos(cosine) / pi of a token's states; in [0, 1]. arXiv 2403.17887.

    Row l, column l + n is the distance across n layers from layer l.
    """

    def _values(self, pair: DocumentPair) -> Float[Tensor, "token row column"]:
        between = pair.cosines
        if pair.same:  # rounding would show a state at a distance from itself
            between = between.clone()
            between.diagonal(dim1=1, dim2=2).fill_(1)
        return between.arccos() / math.pi


class CosineFlat(PerDocument):
    """One cosine per flattened sequence (pos x d_model), padding included, as published.

    The token of largest norm dominates it: two otherwise independent sequences that share one
    massive token come out nearly parallel. arXiv 2407.09298, Fig. 3; each sequence counts once
    here, where the published mean over batches gives a short last batch more weight.
    """

    def update(self, pair: DocumentPair) -> None:
        refuse_widths(pair, type(self).__name__)
        rows = _flat(pair.rows)
        columns = rows if pair.same else _flat(pair.columns)
        self._add(pair.document, rows @ columns.mT, 1.0)

    def result(self) -> Matrix:
        return Matrix(self._means(), self._documents)


def _flat(reading: DocumentStates) -> Float[Tensor, "state pos_d"]:
    flat = rearrange(reading.states, "state pos d -> state (pos d)")
    return normalize(flat.to(torch.promote_types(flat.dtype, torch.float32)), dim=-1)


def refuse_widths(pair: DocumentPair, measure: str) -> None:
    """Raise MeasureError where rows and columns have no dimensions in common."""
    widths = pair.rows.states.shape[-1], pair.columns.states.shape[-1]
    if widths[0] != widths[1]:
        raise MeasureError(
            f"{measure} compares vectors of one width; these models have {widths[0]} and "
            f"{widths[1]} dimensions. Use cka, rsa, knn or procrustes"
        )
