"""Measures of all tokens together, from second moments: effective rank and linearity."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from ..errors import MeasureError
from .base import Measure, Pooled
from .readings import Pair

# Directions that carry less than this share of a state's mean variance are rounding.
_RIDGE = 1e-6


class Moments(Measure):
    """Sums of x x^T at every state, and of x y^T across every layer: layers x d_model^2 numbers."""

    def __init__(self) -> None:
        self._tokens = 0
        self._origin: Tensor | None = None
        self._sums = self._own = self._across = torch.tensor(0.0)

    def update(self, pair: Pair) -> None:
        vectors = pair.rows.vectors
        if not vectors.shape[1]:
            return
        if self._origin is None:  # a shift by about the mean keeps the sums small, hence exact
            self._origin = vectors.mean(1, keepdim=True)
        x = vectors - self._origin
        self._tokens += x.shape[1]
        self._sums = self._sums + x.sum(1)
        self._own = self._own + x.mT @ x
        self._across = self._across + x[:-1].mT @ x[1:]

    def effective_rank(self) -> Pooled:
        """exp(entropy) of each state's normalised covariance spectrum; 1 to d_model.

        Roy and Vetterli (2007). Over all counted tokens at once; at most their number.
        """
        values = torch.linalg.eigvalsh(self._covariance()).clamp_min(0)
        shares = values / values.sum(-1, keepdim=True)
        return Pooled(torch.special.entr(shares).sum(-1).exp().cpu().numpy(), "state")

    def linearity(self) -> Pooled:
        """Share of a state's variance that a linear map of the state before explains; at most 1.

        arXiv 2405.12250, adjusted for the number of parameters (otherwise few tokens look
        linear). NaN unless there are more tokens than dimensions.
        """
        covariance, d_model = self._covariance(), self._own.shape[-1]
        sums, n = self._sums.double(), self._tokens
        across = self._across.double() / n
        across -= einsum(sums[:-1] / n, sums[1:] / n, "layer a, layer b -> layer a b")
        size = covariance.diagonal(dim1=1, dim2=2).mean(-1)
        ridge = torch.eye(d_model, dtype=size.dtype, device=size.device)
        kernels = covariance[:-1] + _RIDGE * size[:-1, None, None] * ridge
        maps = torch.linalg.solve(kernels, across)
        explained = (maps * across).sum((1, 2)) / (d_model * size[1:])
        if n <= d_model + 1:
            return Pooled((explained * torch.nan).cpu().numpy(), "layer")
        adjusted = 1 - (1 - explained) * (n - 1) / (n - d_model - 1)
        return Pooled(adjusted.cpu().numpy(), "layer")

    def _covariance(self) -> Float[Tensor, "state d_model d_model"]:
        if self._tokens < 2:
            raise MeasureError("no two tokens counted; effective rank and linearity need two")
        means = self._sums.double() / self._tokens
        squares = einsum(means, means, "state a, state b -> state a b")
        return self._own.double() / self._tokens - squares
