"""Similarity measures: pure accumulators from residual streams to a matrix over states."""

from .base import Matrix as Matrix
from .base import Measure as Measure
from .cosine import Cosine as Cosine
from .cosine import FlatCosine as FlatCosine

MEASURES: dict[str, type[Measure]] = {"cosine": Cosine, "cosine_flat": FlatCosine}
