"""Cosine similarity between states: per token, and flattened as published."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from .base import Measure


class Cosine(Measure):
    """Cosine per token, averaged over a document's tokens and then over documents; in [-1, 1]."""

    def update(
        self,
        states: Float[Tensor, "state batch pos d_model"],
        mask: Int[Tensor, "batch pos"],
        documents: tuple[int, ...],
    ) -> None:
        unit = normalize(_at_least_float32(states), dim=-1)
        # Filled, not multiplied: what stands at padding may be NaN.
        unit = unit.masked_fill(~mask.bool()[None, :, :, None], 0)
        rows = rearrange(unit, "state batch pos d -> batch state (pos d)")
        sums = einsum(rows, rows, "batch i x, batch j x -> batch i j")
        for document, total, count in zip(documents, sums, mask.sum(1).tolist(), strict=True):
            if count:
                self._add(document, total, float(count))


class FlatCosine(Measure):
    """One cosine per flattened sequence (pos x d_model), padding included, as published.

    The token of largest norm dominates it: two otherwise independent sequences that share one
    massive token come out nearly parallel. arXiv 2407.09298, Fig. 3; each sequence counts once
    here, where the published mean over batches gives a short last batch more weight.
    """

    def update(
        self,
        states: Float[Tensor, "state batch pos d_model"],
        mask: Int[Tensor, "batch pos"],
        documents: tuple[int, ...],
    ) -> None:
        flat = rearrange(_at_least_float32(states), "state batch pos d -> batch state (pos d)")
        rows = normalize(flat, dim=-1)
        for document, total in zip(
            documents, einsum(rows, rows, "batch i x, batch j x -> batch i j"), strict=True
        ):
            self._add(document, total, 1.0)


def _at_least_float32(states: Tensor) -> Tensor:
    return states.to(torch.promote_types(states.dtype, torch.float32))
