"""Measures of all tokens together, from second moments: effective rank and linearity."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import MeasureError
from ..models import numbers, widened
from .base import Measure, Pooled
from .documents import DocumentPair

# Directions that carry less than this share of a state's mean variance are rounding.
_RIDGE = 1e-6


class Moments(Measure):
    """Sums of x x^T at every state, and of x y^T across every layer: layers x d_model^2 numbers."""

    def __init__(self) -> None:
        self._tokens, self._rounding = 0, 0.0
        self._origin = self._sums = self._own = self._across = torch.tensor(0.0)

    def update(self, pair: DocumentPair) -> None:
        vectors = pair.rows.vectors
        if not vectors.shape[1]:
            return
        if not self._tokens:
            self._begin(vectors)
        self._rounding = pair.rows.rounding
        x = vectors - self._origin
        self._tokens += x.shape[1]
        self._sums += x.sum(1)
        # In place, one product at a time: a batched product would hold all of them twice.
        for total, one in zip(self._own, x, strict=True):
            total.addmm_(one.T, one)
        for total, before, after in zip(self._across, x[:-1], x[1:], strict=True):
            total.addmm_(before.T, after)

    def _begin(self, vectors: Float[Tensor, "state token d_model"]) -> None:
        states, _, d_model = vectors.shape
        # A shift by about the mean keeps the sums small, hence exact.
        self._origin = vectors.mean(1, keepdim=True)
        self._sums = vectors.new_zeros(states, d_model)
        self._own = vectors.new_zeros(states, d_model, d_model)
        self._across = vectors.new_zeros(states - 1, d_model, d_model)

    def effective_rank(self) -> Pooled:
        """exp(entropy) of each state's normalised covariance spectrum; 1 to d_model.

        Roy and Vetterli (2007). Over all counted tokens at once; at most their number. NaN for a
        state in which all of them are alike.
        """
        self._refuse_few()
        ranks = torch.stack([_rank(self._covariance(k)) for k in range(len(self._own))])
        return _pooled(ranks.masked_fill(self._alike(), torch.nan), "state")

    def linearity(self) -> Pooled:
        """Share of a state's variance that a linear map of the state before explains; at most 1.

        arXiv 2405.12250, adjusted for the number of parameters (otherwise few tokens look
        linear). NaN unless there are more tokens than dimensions, and where all tokens are alike
        before the layer or after it.
        """
        self._refuse_few()
        alike = self._alike()
        shares = torch.stack([self._explained(layer) for layer in range(len(self._across))])
        return _pooled(shares.masked_fill(alike[:-1] | alike[1:], torch.nan), "layer")

    def _alike(self) -> Bool[Tensor, " state"]:
        """In which states all tokens are one vector but for rounding."""
        variances = [self._covariance(k).diagonal().sum() for k in range(len(self._own))]
        means = widened(self._sums) / self._tokens + widened(self._origin.squeeze(1))
        spread = torch.stack(variances)
        found: Tensor = spread <= self._rounding**2 * (means.square().sum(-1) + spread)
        return found

    def _explained(self, layer: int) -> Tensor:
        n, d_model = self._tokens, self._own.shape[-1]
        before, after = (self._covariance(layer), self._covariance(layer + 1))
        if n <= d_model + 1:
            return before.new_tensor(torch.nan)
        means = widened(self._sums) / n
        across = widened(self._across[layer]) / n - torch.outer(means[layer], means[layer + 1])
        ridge = _RIDGE * before.diagonal().mean()
        # Never singular: a state without variance is NaN in the end, and not an error here.
        before.diagonal().add_(ridge.clamp_min(torch.finfo(before.dtype).tiny))
        maps = torch.linalg.solve(before, across)
        left = 1 - (maps * across).sum() / after.diagonal().sum()
        adjusted: Tensor = 1 - left * (n - 1) / (n - d_model - 1)
        return adjusted

    def _covariance(self, state: int) -> Float[Tensor, "d_model d_model"]:
        mean = widened(self._sums[state]) / self._tokens
        return widened(self._own[state]) / self._tokens - torch.outer(mean, mean)

    def _refuse_few(self) -> None:
        if self._tokens < 2:
            raise MeasureError("no two tokens counted; effective rank and linearity need two")


def _rank(covariance: Float[Tensor, "d_model d_model"]) -> Tensor:
    values = torch.linalg.eigvalsh(covariance).clamp_min(0)
    rank: Tensor = torch.special.entr(values / values.sum()).sum().exp()
    return rank


def _pooled(values: Float[Tensor, " place"], axis: str) -> Pooled:
    return Pooled(numbers(values), axis)
