"""Measures of one token at a time, averaged over tokens, then over documents: cosine and angle."""

import math
from abc import abstractmethod

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..errors import MeasureError
from ..models import widened
from .base import Matrix, PerDocument
from .documents import DocumentPair, DocumentStates, cosines

_NUMBERS_AT_ONCE = 1 << 17  # of a flattened sequence
_SUMMED = 1 << 9  # in the format that they come in


class _TokenMatrix(PerDocument):
    """The mean over a document's tokens of something between every two states of a token.

    NaN, if undefined, is left out, and the document if all its tokens are.
    """

    @abstractmethod
    def _values(self, pair: DocumentPair) -> Float[Tensor, "token row column"]: ...

    def update(self, pair: DocumentPair) -> None:
        refuse_widths(pair, type(self).__name__)
        if pair.rows.count:
            values = self._values(pair)
            self._add(pair.document, values.nansum(0), values.isnan().logical_not().sum(0))

    def result(self) -> Matrix:
        return Matrix(self._means(), self._documents)


class Cosine(_TokenMatrix):
    """Cosine of a token's states with each other; in [-1, 1]. Undefined for a vector of zeros."""

    def _values(self, pair: DocumentPair) -> Float[Tensor, "token row column"]:
        return pair.cosines


class CosineCentred(_TokenMatrix):
    """Cosine after the mean is subtracted: what is left without the direction all tokens share.

    The mean is that of a state over the texts of a first pass, or over the document. Undefined for
    a vector that is the mean up to rounding.
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
            own = between.diagonal(dim1=1, dim2=2)
            between = between.diagonal_scatter(own.where(own.isnan(), 1.0), dim1=1, dim2=2)
        return between.arccos() / math.pi


class CosineFlat(PerDocument):
    """One cosine per flattened sequence (pos x d_model), padding included, as published.

    The token of largest norm dominates it: two otherwise independent sequences that share one
    massive token come out nearly parallel. arXiv 2407.09298, Fig. 3; each sequence counts once
    here, where the published mean over batches gives a short last batch more weight.

    Padding moves it: 24 LAMBADA passages of the default model, 8 to a batch instead of alone, by up
    to 0.16 in one passage and 0.08 in the mean; texts of very unequal lengths further. Sums are in
    float64. Undefined for a sequence of zeros.
    """

    def update(self, pair: DocumentPair) -> None:
        refuse_widths(pair, type(self).__name__)
        rows, columns = _flat(pair.rows), _flat(pair.columns)
        cross = _products(rows, columns)
        # With themselves, states have their lengths on the diagonal.
        a, b = (cross if pair.same else _products(one, one) for one in (rows, columns))
        cosine = cross / a.diagonal().sqrt()[:, None] / b.diagonal().sqrt()
        self._add(pair.document, cosine.clamp(-1, 1), 1.0)

    def result(self) -> Matrix:
        return Matrix(self._means(), self._documents)


def _flat(document: DocumentStates) -> Float[Tensor, "state number"]:
    return rearrange(document.states, "state pos d -> state (pos d)")


def _products(
    rows: Float[Tensor, "row number"], columns: Float[Tensor, "column number"]
) -> Float[Tensor, "row column"]:
    """Inner products in float64: of a few numbers in the format that they have, then of all.

    So the error is that of a short sum, at the speed of a product in float32; half precision is
    widened, so much at a time that its copies stay small.
    """
    wide = torch.promote_types(rows.dtype, torch.float32)
    parts = [torch.split(one, _NUMBERS_AT_ONCE, dim=1) for one in (rows, columns)]
    return torch.stack(
        [widened(_few_at_once(a.to(wide), b.to(wide))).sum(0) for a, b in zip(*parts, strict=True)]
    ).sum(0)


def _few_at_once(
    rows: Float[Tensor, "row number"], columns: Float[Tensor, "column number"]
) -> Float[Tensor, "part row column"]:
    whole = rows.shape[1] - rows.shape[1] % _SUMMED
    a, b = (
        rearrange(one[:, :whole], "state (part n) -> part state n", n=_SUMMED)
        for one in (rows, columns)
    )
    return torch.cat([a @ b.mT, (rows[:, whole:] @ columns[:, whole:].T)[None]])


def refuse_widths(pair: DocumentPair, measure: str) -> None:
    """Raise MeasureError where rows and columns have no dimensions in common."""
    widths = pair.rows.states.shape[-1], pair.columns.states.shape[-1]
    if widths[0] != widths[1]:
        raise MeasureError(
            f"{measure} compares vectors of one width; these models have {widths[0]} and "
            f"{widths[1]} dimensions. Use cka, rsa, knn or procrustes"
        )
