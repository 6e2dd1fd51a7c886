"""One batch of residual streams as the measures see it: what counts, centred, sampled."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import MeasureError


@dataclass(frozen=True, eq=False)
class Reading:
    """The residual streams of one model on a batch of documents.

    `counted` says which tokens the measures take in. `mean` is what is subtracted where a measure
    centres; without it, each document's own mean over its counted tokens.
    """

    states: Float[Tensor, "state batch pos d_model"]
    counted: Bool[Tensor, "batch pos"]
    mean: Float[Tensor, "state d_model"] | None = None

    @cached_property
    def vectors(self) -> Float[Tensor, "state token d_model"]:
        """The counted tokens, document after document, in float32 or better."""
        chosen = self.states[:, self.counted]
        return chosen.to(torch.promote_types(chosen.dtype, torch.float32))

    @cached_property
    def counts(self) -> list[int]:
        """How many tokens count in each row."""
        return [int(count) for count in self.counted.sum(1)]

    @cached_property
    def unit(self) -> Float[Tensor, "token state d_model"]:
        """Vectors of length 1."""
        return normalize(self.vectors, dim=-1).transpose(0, 1)

    @cached_property
    def centred(self) -> Float[Tensor, "state token d_model"]:
        """Vectors less `mean`, or less the mean of their document."""
        if self.mean is not None:
            return self.vectors - self.mean[:, None]
        means = [block.mean(1, keepdim=True).expand_as(block) for block in self.blocks()]
        return self.vectors - torch.cat(means, dim=1)

    @cached_property
    def updates(self) -> Float[Tensor, "layer token d_model"]:
        """What each layer added to the stream."""
        return self.vectors[1:] - self.vectors[:-1]

    def blocks(self) -> tuple[Float[Tensor, "state _ d_model"], ...]:
        """The vectors of one row after another."""
        return torch.split(self.vectors, self.counts, dim=1)

    def shuffled(self, documents: tuple[int, ...], seed: int) -> "Reading":
        """The same streams with the counted tokens of every row in another order.

        The order depends on the document and the seed alone. No token stays in its place where
        there are two or more.
        """
        states = self.states.clone()
        for row, document in enumerate(documents):
            places = torch.nonzero(self.counted[row]).flatten()
            cycle = np.random.default_rng((seed, document)).permutation(len(places))
            order = torch.as_tensor(cycle, device=places.device)
            # Each place of a random cycle takes what stands at the next one.
            states[:, row, places[order]] = self.states[:, row, places[order.roll(1)]]
        return Reading(states, self.counted, self.mean)

    def without(self, dimensions: tuple[int, ...], tokens: Bool[Tensor, "batch pos"]) -> "Reading":
        """The same streams with `dimensions` set to zero and `tokens` not counted."""
        which = torch.tensor(dimensions, dtype=torch.long, device=self.states.device)
        states = self.states.index_fill(-1, which, 0)
        mean = None if self.mean is None else self.mean.index_fill(-1, which, 0)
        return Reading(states, self.counted & ~tokens, mean)

    def refuse_not_finite(self, documents: tuple[int, ...]) -> None:
        """Raise MeasureError, naming state and text, if a counted token is NaN or infinite."""
        if self.vectors.isfinite().all():
            return
        owners = [text for text, n in zip(documents, self.counts, strict=True) for _ in range(n)]
        state, token = torch.nonzero(~self.vectors.isfinite().all(-1))[0].tolist()
        raise MeasureError(
            f"state {state} of text {owners[token]} is not finite (NaN or infinite); load "
            "the model in float32, or look at the layer that writes this state"
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """Two readings of the same tokens: rows and columns of a matrix between their states.

    `rows is columns` where a model is compared with itself. `samples` holds, for each row of the
    batch, which of its counted tokens the measures look at that compare tokens with tokens.
    """

    rows: Reading
    columns: Reading
    documents: tuple[int, ...]
    samples: tuple[Int[Tensor, "_"], ...] = field(default=())

    @cached_property
    def cosines(self) -> Float[Tensor, "token row column"]:
        """Cosine of every token's state with its other states."""
        products = self.rows.unit @ self.columns.unit.mT
        return products.clamp(-1, 1)

    def cells(
        self, values: Float[Tensor, "token ..."]
    ) -> Iterator[tuple[int, Float[Tensor, "..."], int]]:
        """(document, sum over its tokens, number of tokens) of every row that has a token."""
        parts = torch.split(values, self.rows.counts)
        for document, part, count in zip(self.documents, parts, self.rows.counts, strict=True):
            if count:
                yield document, part.sum(0), count

    def blocks(
        self,
    ) -> Iterator[
        tuple[int, Float[Tensor, "row token d_row"], Float[Tensor, "column token d_column"]]
    ]:
        """(document, its vectors as rows, its vectors as columns), row by row of the batch."""
        yield from zip(self.documents, self.rows.blocks(), self.columns.blocks(), strict=True)

    def sampled(
        self,
    ) -> Iterator[
        tuple[int, Float[Tensor, "row sample d_row"], Float[Tensor, "column sample d_column"]]
    ]:
        """As `blocks`, but the sample of each document alone, in float64."""
        for (document, rows, columns), sample in zip(self.blocks(), self.samples, strict=True):
            yield document, rows[:, sample].double(), columns[:, sample].double()

    @property
    def same(self) -> bool:
        """Whether states are compared with themselves."""
        return self.rows is self.columns


def draw_samples(
    counts: list[int], documents: tuple[int, ...], size: int, seed: int
) -> tuple[Int[Tensor, "_"], ...]:
    """Which counted tokens of each document stand for it: at most `size`, drawn once for all.

    The draw depends on the document, its length and the seed alone, not on the batch.
    """
    return tuple(
        torch.from_numpy(
            np.sort(np.random.default_rng((seed, document)).choice(n, min(n, size), replace=False))
        )
        for n, document in zip(counts, documents, strict=True)
    )


def token_grams(vectors: Float[Tensor, "state token d"]) -> Float[Tensor, "state token token"]:
    """Inner products of all tokens with each other, in every state."""
    return einsum(vectors, vectors, "state a d, state b d -> state a b")
