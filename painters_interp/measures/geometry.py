"""Measures of how tokens lie to each other: CKA, RSA, nearest neighbours, Procrustes.

They compare the tokens of a document with each other and average over documents; none needs the
two states to have a dimension in common.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from .base import Matrix, PerDocument
from .documents import DocumentPair, same_tokens, token_grams, without_rows

Tokens = Float[Tensor, "state sample sample"]

_TOKENS_AT_ONCE = 256


class CKA(PerDocument):
    """Linear centred kernel alignment, debiased, with each document as a minibatch; at most 1.

    The unbiased HSIC of Song et al. (2012) is averaged over documents before the ratio is taken
    (Nguyen et al., arXiv 2010.15327), so that short documents leave no bias. Documents of fewer
    than 4 counted tokens are left out, and a state in which all of them are alike; longer ones
    than 256 are read in equal parts.
    """

    def update(self, pair: DocumentPair) -> None:
        rows, columns = pair.rows.vectors, pair.columns.vectors
        parts = max(1, -(-rows.shape[1] // _TOKENS_AT_ONCE))
        for a, b in zip(rows.chunk(parts, 1), columns.chunk(parts, 1), strict=True):
            if (n := a.shape[1]) < 4:
                continue
            packed = n * _hsic(a, a if pair.same else b)
            # A last row and column hold the denominators.
            undefined = (
                pad(same_tokens(vectors, states.rounding), (0, 1))
                for vectors, states in ((a, pair.rows), (b, pair.columns))
            )
            self._add(pair.document, without_rows(packed, *undefined), n)

    def result(self) -> Matrix:
        packed = self._means()
        n_rows, n_columns = (size - 1 for size in packed.shape[1:])
        return Matrix(
            packed[:, :n_rows, :n_columns],
            self._documents,
            row_scale=packed[:, :n_rows, n_columns],
            column_scale=packed[:, n_rows, :n_columns],
        )


def _hsic(
    rows: Float[Tensor, "row token d_row"], columns: Float[Tensor, "column token d_column"]
) -> Float[Tensor, "row_1 column_1"]:
    """Unbiased HSIC of every row with every column; each one's own in a last column and row."""
    a = _hollow(rows)
    b = a if rows is columns else _hollow(columns)
    packed = a.new_zeros((len(a) + 1, len(b) + 1))
    packed[:-1, :-1] = _unbiased(a, b)
    packed[:-1, -1] = _unbiased(a, a).diagonal() if b is not a else packed[:-1, :-1].diagonal()
    packed[-1, :-1] = _unbiased(b, b).diagonal() if b is not a else packed[:-1, :-1].diagonal()
    return packed


def _hollow(vectors: Float[Tensor, "state token d"]) -> Float[Tensor, "state token token"]:
    """Token Gram matrices without their diagonals, after centring, which loses no precision."""
    grams = token_grams(vectors - vectors.mean(1, keepdim=True))
    grams.diagonal(dim1=1, dim2=2).fill_(0)
    return grams


def _unbiased(
    a: Float[Tensor, "row token token"], b: Float[Tensor, "column token token"]
) -> Float[Tensor, "row column"]:
    n = a.shape[1]
    flat_a, flat_b = (rearrange(grams, "state x y -> state (x y)") for grams in (a, b))
    sums_a, sums_b = a.sum(2), b.sum(2)
    traces = flat_a @ flat_b.T
    means = torch.outer(sums_a.sum(1), sums_b.sum(1)) / ((n - 1) * (n - 2))
    return (traces + means - 2 / (n - 2) * sums_a @ sums_b.T) / (n * (n - 3))


class _SampleMatrix(PerDocument):
    """A measure on the sample of a document's tokens; shorter samples are left out.

    So is a state in which all tokens of the sample are alike.
    """

    sampled: ClassVar[bool] = True
    fewest: ClassVar[int]

    @abstractmethod
    def _between(self, pair: DocumentPair) -> Float[Tensor, "row column"]: ...

    def update(self, pair: DocumentPair) -> None:
        if (size := len(pair.sample)) >= self.fewest:
            between = without_rows(self._between(pair), *pair.alike)
            self._add(pair.document, size * between, size)

    def result(self) -> Matrix:
        return Matrix(self._means(), self._documents)


class RSA(_SampleMatrix):
    """Representational similarity: Spearman correlation of two states' token distances; [-1, 1].

    Euclidean distances between all pairs of a document's sampled tokens (4 or more), which must
    differ.
    """

    fewest = 4

    def _between(self, pair: DocumentPair) -> Float[Tensor, "row column"]:
        rows, columns = pair.distances
        a = _ranks(rows)
        b = a if pair.same else _ranks(columns)
        return a @ b.T


def _ranks(distances: Tokens) -> Float[Tensor, "state pair"]:
    """Ranks of the distances, centred and of length 1 (NaN if they are all equal).

    Equal distances share their mean rank.
    """
    size, place = distances.shape[1], distances.device
    first, second = torch.triu_indices(size, size, offset=1, device=place)
    values = distances[:, first, second].contiguous()
    ordered = values.sort(dim=-1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    ranks = (below + up_to).to(values.dtype)  # twice the mean rank, up to a constant
    ranks = ranks - ranks.mean(-1, keepdim=True)
    unit: Tensor = ranks / torch.linalg.vector_norm(ranks, dim=-1, keepdim=True)
    return unit


class KNN(_SampleMatrix):
    """Mutual nearest neighbours: the share of a token's 5 nearest that two states agree on; [0, 1].

    Euclidean distance among a document's sampled tokens (7 or more). Unrelated states agree on
    5 / (sample - 1) by chance: 0.16 at 32 tokens. Tokens that tie for the last places, such as
    equal ones in state 0, share them. Huh et al., arXiv 2405.07987.
    """

    fewest, neighbours = 7, 5

    def _between(self, pair: DocumentPair) -> Float[Tensor, "row column"]:
        rows, columns = pair.distances
        a = self._near(rows)
        b = a if pair.same else self._near(columns)
        # What two states agree on of a shared place is the smaller share.
        shared = torch.stack([torch.minimum(one, b).sum((1, 2)) for one in a])
        return shared / (self.neighbours * len(pair.sample))

    def _near(self, distances: Tokens) -> Tokens:
        """1 where a token is among the nearest of another, less where it shares a place."""
        itself = torch.eye(distances.shape[1], dtype=torch.bool, device=distances.device)
        others = distances.masked_fill(itself, torch.inf)
        last = others.kthvalue(self.neighbours, dim=-1, keepdim=True).values
        nearer, tied = (others < last).to(others.dtype), (others == last).to(others.dtype)
        left = self.neighbours - nearer.sum(-1, keepdim=True)
        return nearer + tied * left / tied.sum(-1, keepdim=True)


class Procrustes(_SampleMatrix):
    """What the best rotation leaves in common: nuclear norm of X^T Y over the norms; in [0, 1].

    1 - d^2 / 2 for the Procrustes distance d of a document's sampled tokens (3 or more), centred
    and scaled to norm 1. A sample smaller than d_model leaves rotations much freedom: unrelated
    states are far above 0, so read it against a null.
    """

    fewest = 3

    def _between(self, pair: DocumentPair) -> Float[Tensor, "row column"]:
        # With A = X X^T and B = Y Y^T, the singular values of X^T Y squared are the eigenvalues of
        # A^1/2 B A^1/2: of the size of the sample, whatever the width.
        a, b = (_normed_grams(vectors) for vectors in pair.sampled)
        roots = _roots(a)
        found = torch.empty((len(a), len(b)), dtype=a.dtype, device=a.device)
        for row, root in enumerate(roots):
            first = row if pair.same else 0
            values = torch.linalg.eigvalsh(root @ b[first:] @ root).clamp_min(0).sqrt().sum(-1)
            found[row, first:] = values
            if pair.same:
                found[first:, row] = values
        return found.clamp(max=1)


def _normed_grams(vectors: Float[Tensor, "state sample d"]) -> Tokens:
    grams = token_grams(vectors - vectors.mean(1, keepdim=True))
    traces = grams.diagonal(dim1=1, dim2=2).sum(-1)
    return grams / traces.clamp_min(torch.finfo(grams.dtype).tiny)[:, None, None]


def _roots(grams: Tokens) -> Tokens:
    values, vectors = torch.linalg.eigh(grams)
    roots: Tensor = vectors * values.clamp_min(0).sqrt()[:, None] @ vectors.mT
    return roots
