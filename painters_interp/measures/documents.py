"""The residual streams of one document as the measures see them: what counts, centred, sampled."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import MeasureError
from ..models import widened
from ..notices import NOT_FINITE


@dataclass(frozen=True, eq=False)
class DocumentStates:
    """The residual streams of one model on a document, or on a piece of one.

    `counted` says which tokens the measures take in. `mean` is what is subtracted where a measure
    centres; without it, the document's own mean over its counted tokens.
    """

    states: Float[Tensor, "state pos d_model"]
    counted: Bool[Tensor, " pos"]
    mean: Float[Tensor, "state d_model"] | None = None

    @cached_property
    def places(self) -> Int[Tensor, " token"]:
        """The positions of the counted tokens, where `counted` is: on the processor, best."""
        return torch.nonzero(self.counted).flatten()

    @cached_property
    def vectors(self) -> Float[Tensor, "state token d_model"]:
        """The counted tokens, in float32 or better."""
        return self._at(self.places)

    def some(self, sample: Int[Tensor, " sample"]) -> Float[Tensor, "state sample d_model"]:
        """Some of the counted tokens, in float32 or better."""
        return self._at(self.places[sample])

    def _at(self, places: Int[Tensor, " place"]) -> Float[Tensor, "state place d_model"]:
        chosen = self.states.index_select(1, places.to(self.states.device))
        return chosen.to(torch.promote_types(chosen.dtype, torch.float32))

    @property
    def rounding(self) -> float:
        """How far vectors may be apart that are the same but for rounding, as a share of both."""
        return min(16 * torch.finfo(self.states.dtype).eps, 2**-7)

    @cached_property
    def count(self) -> int:
        """How many tokens count."""
        return len(self.places)

    @cached_property
    def lengths(self) -> Float[Tensor, "state token"]:
        """Euclidean length of every vector."""
        found: Tensor = torch.linalg.vector_norm(self.vectors, dim=-1)
        return found

    @cached_property
    def deviations(self) -> Float[Tensor, "state token d_model"]:
        """Vectors less the mean of the document."""
        return self.vectors - self.vectors.mean(1, keepdim=True)

    @property
    def centred(self) -> Float[Tensor, "state token d_model"]:
        """Vectors less `mean`, or less the mean of the document; 0 where only rounding is left."""
        left = self.deviations if self.mean is None else self.vectors - self.mean[:, None]
        length = torch.linalg.vector_norm(left, dim=-1)
        return left.masked_fill((length <= self.rounding * self.lengths)[..., None], 0)

    def to(self, place: torch.device, widest: torch.dtype) -> "DocumentStates":
        """The same streams on a device, in `widest` where they are wider than that."""
        kind = widest if self.states.dtype.itemsize > widest.itemsize else self.states.dtype
        if (self.states.device, self.states.dtype) == (place, kind):
            return self
        mean = None if self.mean is None else self.mean.to(widest).to(place)
        return DocumentStates(self.states.to(kind).to(place), self.counted, mean)

    @cached_property
    def updates(self) -> Float[Tensor, "layer token d_model"]:
        """What each layer added to the stream."""
        return self.vectors[1:] - self.vectors[:-1]

    def shuffled(self, document: int, seed: int) -> "DocumentStates":
        """The same streams with the counted tokens in another order.

        The order depends on the document and the seed alone. No token stays in its place where
        there are two or more.
        """
        states = self.states.clone()
        places = self.places.to(states.device)
        cycle = np.random.default_rng((seed, document)).permutation(self.count)
        order = torch.as_tensor(cycle, device=places.device)
        # Each place of a random cycle takes what stands at the next one.
        states[:, places[order]] = self.states[:, places[order.roll(1)]]
        return DocumentStates(states, self.counted, self.mean)

    def without(
        self, dimensions: tuple[int, ...], tokens: Bool[Tensor, " pos"]
    ) -> "DocumentStates":
        """The same streams with `dimensions` set to zero and `tokens` not counted."""
        which = torch.tensor(dimensions, dtype=torch.long, device=self.states.device)
        states = self.states.index_fill(-1, which, 0)
        mean = None if self.mean is None else self.mean.index_fill(-1, which, 0)
        return DocumentStates(states, self.counted & ~tokens.to(self.counted.device), mean)

    def refuse_not_finite(self, document: int) -> None:
        """Raise MeasureError, naming state and text, if a counted token is NaN or infinite."""
        # A sum takes one reading of the streams, and is finite almost always if they are.
        if self.vectors.sum().isfinite() or self.vectors.isfinite().all():
            return
        state = int(torch.nonzero(~self.vectors.isfinite().all(-1))[0, 0])
        raise MeasureError(f"state {state} of text {document} is NaN or infinite: {NOT_FINITE}")


@dataclass(frozen=True, eq=False)
class DocumentPair:
    """Two readings of the same tokens: rows and columns of a matrix between their states.

    `rows is columns` where a model is compared with itself. `sample` says which of the counted
    tokens the measures look at that compare tokens with tokens, and work with their square.
    `fetched` is what those hold, where it came home with that of other pairs.
    """

    rows: DocumentStates
    columns: DocumentStates
    document: int
    sample: Int[Tensor, " sample"]
    fetched: tuple[Tensor, ...] | None = None

    @property
    def same(self) -> bool:
        """Whether states are compared with themselves."""
        return self.rows is self.columns

    @cached_property
    def cosines(self) -> Float[Tensor, "token row column"]:
        """Cosine of every token's state with its other states."""
        return cosines(self.rows.vectors, self.columns.vectors)

    @cached_property
    def sampled(
        self,
    ) -> tuple[Float[Tensor, "row sample d_row"], Float[Tensor, "column sample d_column"]]:
        """The vectors of the sample, as rows and as columns, in float64."""
        both = self.fetched or tuple(map(widened, self.chosen()))
        return both[0], both[-1]

    def chosen(self) -> list[Float[Tensor, "state sample d"]]:
        """The vectors of the sample where they are; once, where rows and columns are the same."""
        sides = [self.rows] if self.same else [self.rows, self.columns]
        return [side.some(self.sample) for side in sides]

    @cached_property
    def alike(self) -> tuple[Bool[Tensor, " row"], Bool[Tensor, " column"]]:
        """In which states of the rows and of the columns all tokens of the sample are alike."""
        rows, columns = self.sampled
        found = same_tokens(rows, self.rows.rounding)
        return found, found if self.same else same_tokens(columns, self.columns.rounding)

    @cached_property
    def distances(
        self,
    ) -> tuple[Float[Tensor, "row sample sample"], Float[Tensor, "column sample sample"]]:
        """Euclidean distances within the sample, in the rows' and in the columns' states."""
        rows, columns = self.sampled
        apart = _distances(rows)
        return apart, apart if self.same else _distances(columns)


def fetched(views: Iterable[list[DocumentPair]]) -> Iterator[list[DocumentPair]]:
    """The pairs of a batch of documents, in every view, with their samples.

    For a device without float64: all samples come home together, for each time it is waited for.

    Args:
        views: For each document its pairs, one in every view.

    Returns:
        The same, with what the samples hold, in float64 on the processor.

    Example:
        >>> rows = DocumentStates(torch.ones(2, 3, 4), torch.ones(3, dtype=torch.bool))
        >>> pair = DocumentPair(rows, rows, 0, torch.tensor([0, 2]))
        >>> [[found]] = fetched([[pair]])
        >>> found.sampled[0].shape
        torch.Size([2, 2, 4])
    """
    waiting = deque(views)
    chosen = [pair.chosen() for pairs in waiting for pair in pairs]
    if not chosen:
        return
    home = widened(torch.cat([side.flatten() for sides in chosen for side in sides]))
    parts = iter(torch.split(home, [side.numel() for sides in chosen for side in sides]))
    shapes = iter([[side.shape for side in sides] for sides in chosen])
    del chosen
    while waiting:  # what measures make of a document goes with it
        pairs = waiting.popleft()
        yield [
            replace(pair, fetched=tuple(next(parts).view(shape) for shape in next(shapes)))
            for pair in pairs
        ]


def together(
    rows: DocumentStates, columns: DocumentStates
) -> tuple[DocumentStates, DocumentStates]:
    """Streams of two models on the device of the rows, measured in one number format.

    In float64 if both are, else in float32, to which narrower ones are widened by `vectors` alone:
    how far they are rounded is told by the format that they come in.

    Args:
        rows: The first model's streams of a document.
        columns: The second's.

    Returns:
        Both, on one device and in one number format.

    Example:
        >>> counted = torch.ones(3, dtype=torch.bool)
        >>> narrow = DocumentStates(torch.zeros(2, 3, 4), counted)
        >>> wide = DocumentStates(torch.zeros(2, 3, 4).double(), counted)
        >>> {states.vectors.dtype for states in together(narrow, wide)}
        {torch.float32}
    """
    if columns is rows:
        return rows, rows
    kinds = {rows.states.dtype, columns.states.dtype}
    widest = torch.float64 if kinds == {torch.float64} else torch.float32
    place = rows.states.device
    return rows.to(place, widest), columns.to(place, widest)


def draw_sample(count: int, document: int, size: int, seed: int) -> Int[Tensor, " sample"]:
    """Which of a document's counted tokens stand for it: at most `size`, drawn once for all.

    The draw depends on the document, its length and the seed alone.

    Args:
        count: How many tokens the document has that count.
        document: Its number.
        size: The largest number of tokens drawn.
        seed: Of the draw.

    Returns:
        Ascending places among the tokens that count, shape (sample,).

    Example:
        >>> draw_sample(3, document=0, size=32, seed=0).tolist()
        [0, 1, 2]
    """
    drawn = np.random.default_rng((seed, document)).choice(count, min(count, size), replace=False)
    return torch.from_numpy(np.sort(drawn))


def cosines(
    rows: Float[Tensor, "row token d"], columns: Float[Tensor, "column token d"]
) -> Float[Tensor, "token row column"]:
    """Cosine of every token's vectors in one set of states with those in another.

    NaN where a vector is zero: it has no direction.
    """
    products = rows.transpose(0, 1) @ columns.permute(1, 2, 0)
    for vectors, axis in ((rows, 2), (columns, 1)):
        products /= torch.linalg.vector_norm(vectors, dim=-1).T.unsqueeze(axis)
    return products.clamp_(-1, 1)


def same_tokens(vectors: Float[Tensor, "state token d"], rounding: float) -> Bool[Tensor, " state"]:
    """In which states all tokens are one vector, but for `rounding`: no measure of how they lie."""
    apart = torch.linalg.vector_norm(vectors - vectors.mean(1, keepdim=True), dim=(1, 2))
    found: Tensor = apart <= rounding * torch.linalg.vector_norm(vectors, dim=(1, 2))
    return found


def without_rows(
    values: Float[Tensor, "row column"],
    rows: Bool[Tensor, " row"],
    columns: Bool[Tensor, " column"],
) -> Float[Tensor, "row column"]:
    """NaN at the rows and columns named."""
    undefined = rows[:, None] | columns
    return values.masked_fill(undefined, torch.nan)


def token_grams(vectors: Float[Tensor, "state token d"]) -> Float[Tensor, "state token token"]:
    """Inner products of all tokens with each other, in every state."""
    return einsum(vectors, vectors, "state a d, state b d -> state a b")


def _distances(vectors: Float[Tensor, "state sample d"]) -> Float[Tensor, "state sample sample"]:
    # Differences, not inner products: equal tokens are at distance 0, and ties stay ties.
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
