"""The passes over the texts: what is paired with what, and what is left out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import MeasureError
from ..execution import as_plan
from ..measures import (
    MEASURES,
    Curve,
    DocumentPair,
    DocumentStates,
    Massive,
    Matrix,
    Measure,
    Result,
    draw_sample,
    fetched,
    massive_tokens,
    together,
)
from ..models import device_of, lacks_float64, widened
from ..notices import warn
from ..plans import Plan, Step
from ..progress import Advance, progress
from ..streams import Streams, captured
from ..texts import Batch, in_order, in_pieces
from .results import Similarity

SHUFFLED = "shuffled tokens"
WITHOUT = "_without_massive"
# Texts of the first pass. A mean over a few thousand tokens is known well enough, and a pass over
# hundreds of texts would double the time.
_FIRST_TEXTS = 16


@dataclass(frozen=True)
class View:
    """One way to look at the streams: with massive activations or without."""

    suffix: str
    dropped: bool


VIEWS = {
    "keep": (View("", False),),
    "drop": (View("", True),),
    "both": (View("", False), View(WITHOUT, True)),
}


class Document(NamedTuple):
    """The streams of a text, or of a piece of one that is longer than the context.

    All but the states are on the processor, so that nothing waits for a device to know which
    tokens count. `heavy`: where massive activations are. `doubtful`: whether all may not be finite.
    """

    states: Float[Tensor, "state pos d_model"]
    mask: Int[Tensor, " pos"]
    tokens: Int[Tensor, " pos"]
    text: int
    heavy: Bool[Tensor, "state pos"]
    doubtful: bool


@dataclass(frozen=True, eq=False)
class Source:
    """One model's streams on the texts, as often as they are asked for."""

    model: TransformerBridge
    plan: Plan | None
    pieces: list[list[int]]
    owners: list[int]
    batch_size: int

    @classmethod
    def of(
        cls,
        model: TransformerBridge,
        texts: Sequence[str],
        plan: Plan | str | None,
        batch_size: int,
    ) -> "Source":
        """The texts as `model` reads them."""
        value = None if plan is None else as_plan(plan, model)
        return cls(model, value, *in_pieces(model, texts), batch_size)

    @property
    def _per_token(self) -> int:
        return len(self.model.blocks if self.plan is None else self.plan.layer_calls)

    @property
    def name(self) -> str:
        """What the model is called in tables."""
        return str(self.model.cfg.model_name)

    @property
    def calls(self) -> int:
        """Token-layer calls of one pass, padding included."""
        batches = in_order(self.pieces, self.batch_size, torch.device("cpu"))
        return sum(batch.tokens.numel() for batch in batches) * self._per_token

    def part(self, chosen: Collection[int]) -> "Source":
        """The same model on some of the texts."""
        kept = [k for k, owner in enumerate(self.owners) if owner in chosen]
        pieces = [self.pieces[k] for k in kept]
        return replace(self, pieces=pieces, owners=[self.owners[k] for k in kept])

    def documents(self, advance: Advance) -> Iterator[Document]:
        """The pieces of the texts, one by one."""
        return chain.from_iterable(self.batches(advance))

    def batches(self, advance: Advance) -> Iterator[Iterator[Document]]:
        """The pieces of the texts, one by one, batch by batch.

        Views of their batch, which goes when nobody holds one any more: so nobody should while
        the next batch is read.
        """

        def documents_of(batch: Streams, home: Batch) -> Iterator[Document]:
            heavy, doubtful = _seen(batch.states.unbind(1), home.mask)
            rows = zip(home.mask, home.tokens, batch.texts, heavy, doubtful, strict=True)
            for row, facts in enumerate(rows):
                yield Document(batch.states[:, row], *facts)
            advance(batch.tokens.numel() * self._per_token)

        batches = captured(self.model, self.pieces, self.owners, self.plan, self.batch_size)
        at_home = in_order(self.pieces, self.batch_size, torch.device("cpu"))
        return map(documents_of, batches, at_home)


def _seen(
    each: Sequence[Float[Tensor, "state pos d_model"]], mask: Int[Tensor, "batch pos"]
) -> tuple[Bool[Tensor, "batch state pos"], list[bool]]:
    """Where massive activations are, and which texts may not be finite; fetched once a batch.

    A sum takes one reading of the streams, and is finite almost always if they are.
    """
    heavy = torch.stack([*map(massive_tokens, each, mask)])
    wide = torch.promote_types(each[0].dtype, torch.float32)
    finite = torch.stack([one.sum(dtype=wide) for one in each]).isfinite()
    found = torch.cat([heavy.flatten(1), ~finite[:, None]], dim=1).cpu()
    return found[:, :-1].reshape(heavy.shape), found[:, -1].tolist()


@dataclass(frozen=True, eq=False)
class _Known:
    """What a first pass found in one model: the mean of each state, and massive dimensions."""

    mean: Float[Tensor, "state d_model"] | None = None
    dimensions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Survey:
    """One question put to the streams of one model, or of two.

    `centred`: whether the means of a first pass are needed. `sample`: tokens per document.
    """

    sources: tuple[Source, ...]
    shuffled: bool
    skip_first: bool
    views: tuple[View, ...]
    centred: bool
    sample: int
    seed: int

    @property
    def matched(self) -> bool:
        """Whether the tokens of two models are those of the same texts, one by one."""
        a, b = self.sources[0], self.sources[-1]
        return (a.pieces, a.owners) == (b.pieces, b.owners)

    def run(self, names: tuple[str, ...]) -> Similarity:
        """Read the streams once, after a first pass over some texts if means are needed."""
        kinds = dict.fromkeys(MEASURES[name].accumulator for name in names)
        found: list[dict[type[Measure], Measure]] = [{k: k() for k in kinds} for _ in self.views]
        carriers = [Massive() for _ in self.sources]
        first = [source.part(self._first_texts()) for source in self.sources]
        first = first if self.centred or any(view.dropped for view in self.views) else []
        total = sum(source.calls for source in (*first, *self.sources))
        with progress("similarity", total) as advance:
            known = [self._look(s, advance) for s in first] or [_Known() for _ in self.sources]
            pairs = self._by_token if self.matched else self._by_document
            batches = pairs(known, carriers, advance)
            place = device_of(self.sources[0].model)
            if lacks_float64(place) and any(kind.sampled for kind in kinds):
                batches = map(fetched, batches)
            for _ in map(partial(_take_in, found), chain.from_iterable(batches)):
                pass
        results: dict[str, Result] = {}
        for view, accumulators in zip(self.views, found, strict=True):
            for name in names:
                recipe = MEASURES[name]
                result = recipe.result(accumulators[recipe.accumulator])
                results[name + view.suffix] = self._named(result)
                _say_undefined(name + view.suffix, result)
        return Similarity(results, self._carried(carriers), self._compared())

    def _named(self, result: Result) -> Result:
        """With the model that rows and columns are states of, if they are of two."""
        if not isinstance(result, Matrix) or len(self.sources) < 2:
            return result
        rows, columns = (f"state of {source.name}" for source in self.sources)
        return replace(result, row_axis=rows, column_axis=columns)

    def _compared(self) -> dict[str, Any]:
        source, plan = self.sources[0], self.sources[0].plan
        return {
            "source": source.name,
            "target": SHUFFLED if self.shuffled else self.sources[-1].name,
            "plan": None if plan is None else str(plan),
            "depths": None if plan is None else _depths(plan),
            "texts": self._documents,
        }

    def _first_texts(self) -> set[int]:
        drawn = np.random.default_rng(self.seed).permutation(self._documents)[:_FIRST_TEXTS]
        return {int(i) for i in drawn}

    @property
    def _documents(self) -> int:
        return len(set(self.sources[0].owners))

    def _look(self, source: Source, advance: Advance) -> _Known:
        """The first pass over one model's streams."""
        massive, sums, tokens = Massive(), [], 0
        for document in source.documents(advance):
            massive.update(*document[:5])
            reading = DocumentStates(document.states, self._counted(document))
            sums.append(reading.vectors.sum(1))
            tokens += reading.count
        total = widened(torch.stack(sums)).sum(0)
        return _Known((total / tokens).to(sums[0]), tuple(massive.dimensions))

    def _counted(self, document: Document) -> Bool[Tensor, " pos"]:
        counted = document.mask.bool()  # a copy
        if self.skip_first:
            counted[0] = False
        return counted

    def _readings(
        self, document: Document, known: _Known, heavy: Bool[Tensor, " pos"]
    ) -> list[DocumentStates]:
        """A document in every view; `heavy` tokens carry massive activations."""
        mean = None if known.mean is None or not self.centred else known.mean
        reading = DocumentStates(document.states, self._counted(document), mean)
        if document.doubtful:
            reading.refuse_not_finite(document.text)
        return [
            reading.without(known.dimensions, heavy) if view.dropped else reading
            for view in self.views
        ]

    def _by_token(
        self, known: list[_Known], carriers: list[Massive], advance: Advance
    ) -> Iterator[Iterator[list[DocumentPair]]]:
        """A pair for every view, document by document, tokens matched one by one; in batches."""
        streams = [source.batches(advance) for source in self.sources]
        return map(partial(self._batch_pairs, known, carriers), *streams)

    def _batch_pairs(
        self, known: list[_Known], carriers: list[Massive], *batches: Iterator[Document]
    ) -> Iterator[list[DocumentPair]]:
        """A batch of each model, in every view."""
        yield from map(partial(self._pairs, known, carriers), *batches)
        for batch in batches[1:]:  # the first one ended this; the others count theirs, too
            next(batch, None)

    def _pairs(
        self, known: list[_Known], carriers: list[Massive], *documents: Document
    ) -> list[DocumentPair]:
        """One document of each model, in every view."""
        heavy = [c.update(*d[:5]) for c, d in zip(carriers, documents, strict=True)]
        in_any = torch.stack(heavy).any(0)
        readings = [self._readings(d, k, in_any) for d, k in zip(documents, known, strict=True)]
        return [
            self._pair(rows, columns, documents[0].text)
            for rows, columns in zip(readings[0], readings[-1], strict=True)
        ]

    def _pair(self, rows: DocumentStates, columns: DocumentStates, text: int) -> DocumentPair:
        sample = draw_sample(rows.count, text, self.sample, self.seed)
        columns = columns.shuffled(text, self.seed) if self.shuffled else columns
        return _pair(rows, columns, text, sample)

    def _by_document(
        self, known: list[_Known], carriers: list[Massive], advance: Advance
    ) -> Iterator[Iterator[list[DocumentPair]]]:
        """One pair for every view: all documents as the points of one cloud."""
        clouds = [self._cloud(*one, advance) for one in zip(self.sources, known, carriers,
                                                            strict=True)]  # fmt: skip
        sample = draw_sample(self._documents, 0, self.sample, self.seed)
        yield iter([[_pair(a, b, 0, sample) for a, b in zip(*clouds, strict=True)]])

    def _cloud(
        self, source: Source, known: _Known, massive: Massive, advance: Advance
    ) -> list[DocumentStates]:
        """The mean vector of each document, in every view."""
        sums: list[dict[int, tuple[Tensor, int]]] = [{} for _ in self.views]
        for document in source.documents(advance):
            heavy = massive.update(*document[:5])
            for held, reading in zip(sums, self._readings(document, known, heavy), strict=True):
                before, tokens = held.get(document.text, (0.0, 0))
                total = before + reading.vectors.sum(1)
                held[document.text] = (total, tokens + reading.count)
        return [_as_cloud(held) for held in sums]

    def _carried(self, carriers: list[Massive]) -> pd.DataFrame:
        """The massive activations of each model."""
        tables = [
            carrier.table().assign(model=source.name)
            for carrier, source in zip(carriers, self.sources, strict=True)
        ]
        return pd.concat(tables, ignore_index=True)


def _take_in(found: list[dict[type[Measure], Measure]], views: list[DocumentPair]) -> None:
    for pair, accumulators in zip(views, found, strict=True):
        for accumulator in accumulators.values():
            accumulator.update(pair)


def _pair(
    rows: DocumentStates, columns: DocumentStates, text: int, sample: Int[Tensor, " sample"]
) -> DocumentPair:
    return DocumentPair(*together(rows, columns), text, sample)


def _say_undefined(name: str, result: Result) -> None:
    """Warn where a measure has no value for some documents, or for none."""
    if isinstance(result, (Matrix, Curve)):
        documents = np.isnan(result.per_document).reshape(len(result.documents), -1)
        wrong, all_of, noun = int(documents.any(axis=1).sum()), len(documents), "documents"
        then = "; each entry is the mean of the documents that have it"
    else:
        wrong, all_of, noun = int(np.isnan(result.values).sum()), len(result.values), "places"
        then = " (tokens all alike, or too few of them)"
    if wrong:
        warn(f"{name} is undefined somewhere in {wrong} of {all_of} {noun}{then}")


def _as_cloud(sums: dict[int, tuple[Tensor, int]]) -> DocumentStates:
    if empty := [text for text, (_, tokens) in sums.items() if not tokens]:
        raise MeasureError(f"text {empty[0]} has no token that counts, so no mean vector")
    means = torch.stack([total / tokens for _, (total, tokens) in sorted(sums.items())])
    states = rearrange(means, "document state d -> state document d")
    return DocumentStates(states, torch.ones(states.shape[1], dtype=torch.bool))


def _depths(plan: Plan) -> list[float]:
    """The depth of each state of a plan, in layers of the intact model.

    What the plan begins and ends with stands where it stands there; all between at even steps.
    """
    steps, n = plan.steps, plan.n_layers
    first = next((k for k, step in enumerate(steps) if k >= n or step != Step.of(k)), len(steps))
    most = min(len(steps), n) - first
    last = next((k for k in range(most) if steps[-1 - k] != Step.of(n - 1 - k)), most)
    known = {k: k for k in range(first + 1)}
    known |= {len(steps) - k: n - k for k in range(last, -1, -1) if len(steps) - k > first}
    return [float(d) for d in np.interp(range(len(steps) + 1), [*known], [*known.values()])]
