"""Similarity measures: accumulators from residual streams to matrices and curves over depth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .base import Curve as Curve
from .base import Matrix as Matrix
from .base import Measure as Measure
from .base import Pooled as Pooled
from .base import Result as Result
from .base import curve_table as curve_table
from .documents import DocumentPair as DocumentPair
from .documents import DocumentStates as DocumentStates
from .documents import draw_sample as draw_sample
from .documents import fetched as fetched
from .documents import together as together
from .geometry import CKA, KNN, RSA, Procrustes
from .layers import BlockInfluence, ResidualNorm, UpdateCosine, UpdateRatio, Variance
from .massive import Massive as Massive
from .massive import massive_tokens as massive_tokens
from .moments import Moments
from .tokens import Angular, Cosine, CosineCentred, CosineFlat


@dataclass(frozen=True)
class Recipe:
    """Which accumulator a measure is read from, and how; two measures may share one."""

    accumulator: type[Measure]
    result: Callable[[Any], Result]


BETWEEN_STATES = {
    "cosine": Recipe(Cosine, Cosine.result),
    "cosine_centered": Recipe(CosineCentred, CosineCentred.result),
    "cosine_flat": Recipe(CosineFlat, CosineFlat.result),
    "angular": Recipe(Angular, Angular.result),
    "cka": Recipe(CKA, CKA.result),
    "rsa": Recipe(RSA, RSA.result),
    "knn": Recipe(KNN, KNN.result),
    "procrustes": Recipe(Procrustes, Procrustes.result),
}
ALONG_DEPTH = {
    "block_influence": Recipe(BlockInfluence, BlockInfluence.result),
    "residual_norm": Recipe(ResidualNorm, ResidualNorm.result),
    "update_ratio": Recipe(UpdateRatio, UpdateRatio.result),
    "update_cosine": Recipe(UpdateCosine, UpdateCosine.result),
    "variance": Recipe(Variance, Variance.result),
    "effective_rank": Recipe(Moments, Moments.effective_rank),
    "linearity": Recipe(Moments, Moments.linearity),
}
MEASURES = BETWEEN_STATES | ALONG_DEPTH
