"""Affine maps between residual streams, fitted in closed form from streamed second moments."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import TextError
from ..models import widened
from ..terminal import Brief

METHODS = ("ridge", "orthogonal")


@dataclass(frozen=True, eq=False, repr=False)
class Stitch(Brief):
    """target_mean + (stream - source_mean) @ weight: from one residual stream to another.

    The states say between which depths it was fitted: state k is the stream before layer k.
    """

    weight: Float[Tensor, "source target"]
    source_mean: Float[Tensor, " source"]
    target_mean: Float[Tensor, " target"]
    source_state: int
    target_state: int

    def __call__(self, stream: Float[Tensor, "*row source"]) -> Float[Tensor, "*row target"]:
        """Map a stream; computed in the map's own float64 and given back in the stream's dtype."""
        centred = stream.to(self.weight.device).to(self.weight.dtype) - self.source_mean
        return (centred @ self.weight + self.target_mean).to(stream.dtype).to(stream.device)


@dataclass(frozen=True, eq=False)
class Moments:
    """What a closed-form fit needs of the tokens so far: their number, means and second moments.

    `xx` and `xy` are sums of products about the means, `yy` those of every target column with
    itself. Moments of two sets of tokens add up to those of their union, without cancellation
    (Chan, Golub and LeVeque, 1979). Several targets stand side by side in the columns.
    """

    count: int
    x_mean: Float[Tensor, " source"]
    y_mean: Float[Tensor, " target"]
    xx: Float[Tensor, "source source"]
    xy: Float[Tensor, "source target"]
    yy: Float[Tensor, " target"]

    @classmethod
    def of(cls, x: Float[Tensor, "token source"], y: Float[Tensor, "token target"]) -> "Moments":
        """Moments of one batch of tokens, in float64."""
        x, y = widened(x), widened(y)
        x_mean, y_mean = x.mean(0), y.mean(0)
        x, y = x - x_mean, y - y_mean
        return cls(len(x), x_mean, y_mean, x.T @ x, x.T @ y, y.square().sum(0))

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        x, y = other.x_mean - self.x_mean, other.y_mean - self.y_mean
        share, weight = other.count / count, self.count * other.count / count
        return Moments(
            count,
            self.x_mean + share * x,
            self.y_mean + share * y,
            self.xx + other.xx + weight * torch.outer(x, x),
            self.xy + other.xy + weight * torch.outer(x, y),
            self.yy + other.yy + weight * y.square(),
        )

    def split(self, targets: int) -> list["Moments"]:
        """The moments of each of several targets of one width that stand side by side."""
        parts = (t.tensor_split(targets, dim=-1) for t in (self.y_mean, self.xy, self.yy))
        return [
            Moments(self.count, self.x_mean, y_mean, self.xx, xy, yy)
            for y_mean, xy, yy in zip(*parts, strict=True)
        ]


def fit_weight(moments: Moments, method: str, ridge: float) -> Float[Tensor, "source target"]:
    """The linear part of the map that `method`, one of METHODS, finds."""
    return ridge_weight(moments, ridge) if method == "ridge" else orthogonal_weight(moments)


def ridge_weight(moments: Moments, ridge: float) -> Float[Tensor, "source target"]:
    """Least squares with a penalty of `ridge` times the mean eigenvalue of the source's moments.

    Directions in which the source does not vary get weight 0, so that `ridge=0` is least squares
    also where the source does not span its space, as the few distinct rows of state 0.
    """
    values, vectors = torch.linalg.eigh(moments.xx)
    nothing = values[-1] * len(values) * torch.finfo(values.dtype).eps
    inverse = torch.where(values > nothing, 1 / (values + ridge * values.mean()), 0)
    weight: Tensor = vectors @ (inverse[:, None] * (vectors.T @ moments.xy))
    return weight


def orthogonal_weight(moments: Moments) -> Float[Tensor, "source target"]:
    """The rotation (or reflection) and one scale that fit best: Procrustes (Schonemann, 1966).

    Between different widths the rows or columns are orthonormal.
    """
    u, values, v = torch.linalg.svd(moments.xy, full_matrices=False)
    rotation: Tensor = u @ v
    spread = _spread(moments, rotation)
    return rotation * (values.sum() / spread if spread > 0 else 0.0)


def random_weight(moments: Moments, seed: int) -> Float[Tensor, "source target"]:
    """A random rotation, scaled to give the target's total variance."""
    generator = torch.Generator().manual_seed(seed)
    size = max(moments.xy.shape)
    square = torch.randn((size, size), dtype=torch.float64, generator=generator)
    turned: Tensor = torch.linalg.qr(square).Q.to(moments.xx.device)
    rotation = turned[: moments.xy.shape[0], : moments.xy.shape[1]]
    spread = _spread(moments, rotation)
    return rotation * (moments.yy.sum() / spread).sqrt()


def refuse_few(tokens: int, width: int) -> None:
    """Raise TextError unless there are more tokens than directions to map."""
    if tokens <= width:
        raise TextError(
            f"{tokens} tokens cannot fit a map from {width} dimensions; at least {width + 1} are "
            f"needed, and ten times as many are better: give more or longer texts"
        )


def _spread(moments: Moments, rotation: Tensor) -> Tensor:
    """Total variance of the source after `rotation`."""
    return (rotation * (moments.xx @ rotation)).sum()
