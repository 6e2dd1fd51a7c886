"""Texts written greedily under many plans at once, through one schedule; or under one, alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from ..execution import applied
from ..execution.faces import Face
from ..execution.layer_arguments import Arguments
from ..models import device_of
from ..plans import Plan
from ..plans.schedules import schedule
from ..progress import Advance
from .cascade import Cascade, laid_out
from .ending import Ending
from .reading import Padded, read
from .rooms import Room
from .rows import Rows
from .trie import Ids, Level, Row, levels

# Rows that have ended are computed further until so many of all have: leaving them out copies.
_ENDED = 0.25

See = Callable[[Float[Tensor, "row vocab"]], object]
# From the logits of some rows, in order, to the next token of each, and the rows that go on.
Choose = Callable[
    [Float[Tensor, "row vocab"], Sequence[int]], tuple[Int[Tensor, " row"], Sequence[int]]
]


@dataclass(frozen=True)
class Written:
    """The tokens of a text; None where a logit was NaN, for which any token would do."""

    tokens: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Style:
    """How texts are written, besides under which plans.

    `shares` says whether attention may be over keys and values that several rows know.
    """

    ending: Ending
    tokenizer: Any
    pad: int
    averaged: bool = False
    shares: bool = False


def written(
    face: Face,
    plans: Sequence[Plan],
    prompts: Sequence[Ids],
    style: Style,
    windows: Sequence[int | None],
    advance: Advance = lambda calls: None,
    see: See = lambda logits: None,
) -> list[list[Written]]:
    """What the model writes after every prompt under every plan, as [plan][prompt].

    `see` is shown the logits of each next token, for the rows that are left.
    """
    texts = _Texts(len(plans) * len(prompts), style)

    def likeliest(logits: Tensor, rows: Sequence[int]) -> tuple[Tensor, Sequence[int]]:
        see(logits)
        largest = logits.to(torch.float32).max(-1)  # NaN, where there is one
        lost = largest.values.isnan()
        return largest.indices, texts.add(rows, *_fetched(largest.indices, lost))

    decode(face, plans, prompts, style, windows, likeliest, advance)
    found = texts.found()
    return [found[k : k + len(prompts)] for k in range(0, len(found), len(prompts))]


def decode(
    face: Face,
    plans: Sequence[Plan],
    prompts: Sequence[Ids],
    style: Style,
    windows: Sequence[int | None],
    choose: Choose,
    advance: Advance = lambda calls: None,
) -> None:
    """Read every prompt under every plan, and then the tokens that `choose` puts behind each.

    Rows are (plan, prompt), plan by plan. A row that does not go on may be shown again.
    """
    merged = schedule(plans)
    # Memories are averaged behind a whole prompt, and not while a part of it is read by another.
    reads = (Level(tuple(map(Row, prompts))),) if style.averaged else levels(prompts)
    room_of = _rooms(reads, style, face.device)
    rooms = [room_of(windows[entry.layer]) for entry in merged]
    rows = Rows(face, plans, merged, len(prompts), rooms)
    streams = read(face, plans, reads, windows, style.pad, rows.fill, advance)
    rows.settle()
    if style.averaged:
        rows.average(reads[-1].width)
    logits = face.logits(streams.flatten(0, 1))
    del streams
    batch = Padded.of([ids for _ in plans for ids in prompts], style.pad, face.device)
    computed: Sequence[int] = range(len(rows))
    while True:
        following, going = choose(logits, computed)
        if not going:
            return
        batch = batch.then(following)
        if len(going) <= (1 - _ENDED) * len(rows):
            on = set(going)
            left = [place for place, row in enumerate(computed) if row in on]
            rows.keep(left)
            batch = batch.at(torch.tensor(left, device=face.device))
            computed = going
        rows.learn(*(_recorded(face, batch, count) for count in (2, 3)))
        with face.running(rows.run):
            logits = face.root(**batch.inputs(face, 1)).logits[:, -1]
        if style.averaged:
            rows.average(1)
        advance(rows.calls)


def _rooms(
    reads: Sequence[Level], style: Style, device: torch.device
) -> Callable[[int | None], Room]:
    """Makes the room of an entry whose layer sees so far back; None for no bound.

    What slides, and what is averaged, each row has for itself.
    """
    new = style.ending.new
    columns = reads[-1].width + new
    layout = laid_out(reads, new, device) if style.shares and not style.averaged else None

    def room_of(window: int | None) -> Room:
        if layout is None or (window is not None and window < columns):
            return Room(columns, window)
        return Cascade(layout, new)

    return room_of


def _recorded(face: Face, batch: Padded, count: int) -> Sequence[Arguments]:
    """What layers would be called with if the batch had so many rows, like its most padded one.

    A batch without pads may come without a mask.
    """
    padded = batch.mask.sum(dim=1).argmin()
    return face.recorded(batch.at(padded.expand(count)).inputs(face, 1))[1]


def _fetched(
    following: Int[Tensor, " row"], unknown: Bool[Tensor, " row"]
) -> tuple[list[int], list[bool]]:
    """What a step has to know of its tokens: a device is waited for once."""
    tokens, lost = torch.stack([following, unknown.to(following)]).tolist()
    return tokens, [*map(bool, lost)]


class _Texts:
    """The texts of all rows, as they grow."""

    def __init__(self, count: int, style: Style) -> None:
        self._style = style
        self._tokens: list[list[int]] = [[] for _ in range(count)]
        self._unknown = [False] * count
        self._ended = [False] * count

    def add(
        self, rows: Sequence[int], following: Sequence[int], unknown: Sequence[bool]
    ) -> list[int]:
        """One more token for each of `rows`; returns those that go on."""
        for row, token, lost in zip(rows, following, unknown, strict=True):
            if self._ended[row]:
                continue
            tokens = self._tokens[row]
            tokens.append(token)
            self._unknown[row] = lost
            self._ended[row] = (
                lost
                or len(tokens) == self._style.ending.new
                or self._style.ending.reached(tokens, self._style.tokenizer)
            )
        return [row for row in rows if not self._ended[row]]

    def found(self) -> list[Written]:
        """The texts of all rows."""
        return [
            Written(None if unknown else tuple(tokens))
            for tokens, unknown in zip(self._tokens, self._unknown, strict=True)
        ]


def written_alone(
    model: TransformerBridge,
    plan: Plan,
    prompts: Sequence[Ids],
    style: Style,
    advance: Advance = lambda calls: None,
) -> list[Written]:
    """The same under one plan by the model's own `generate`, with all its settings."""
    texts = _Texts(len(prompts), style)
    watch = _Watch(texts, len(prompts) * len(plan.calls), advance)
    with applied(model, plan, cache="averaged" if style.averaged else "exact"):
        root = model.original_model
        batch = Padded.of(prompts, style.pad, device_of(model))
        root.generate(
            batch.tokens,
            attention_mask=batch.mask,
            max_new_tokens=style.ending.new,
            do_sample=False,
            pad_token_id=style.pad,
            logits_processor=LogitsProcessorList([watch.logits]),
            stopping_criteria=StoppingCriteriaList([watch]),
        )
    return texts.found()


class _Watch(StoppingCriteria):  # type: ignore[misc]
    """Notes each token that is chosen, and says which rows have ended."""

    def __init__(self, texts: _Texts, calls: int, advance: Advance) -> None:
        self._texts, self._calls, self._advance = texts, calls, advance
        self.logits = _Nan()

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self._advance(self._calls)
        rows = range(len(input_ids))
        going = {*self._texts.add(rows, *_fetched(input_ids[:, -1], self.logits.unknown))}
        ended = [row not in going for row in rows]
        return torch.tensor(ended, device=input_ids.device)


class _Nan(LogitsProcessor):  # type: ignore[misc]
    """Looks at the logits, and leaves them as they are."""

    unknown: Tensor

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.unknown = scores.isnan().any(-1)
        return scores
