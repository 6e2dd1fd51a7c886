"""Two models reading the same tokens: what stitching fits and judges its maps on."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import TextError
from ..execution import Recording, record, walk
from ..models import device_of
from ..plans import Plan, Step
from ..texts import Batch, Texts, as_texts, context_of, in_order, in_pieces, pad_of


@dataclass(frozen=True, eq=False)
class PairBatch:
    """One batch as both models read it; `documents` says which document each row is of."""

    batch: Batch
    documents: tuple[int, ...]
    source: Recording
    target: Recording


@dataclass(frozen=True, eq=False)
class ModelPair:
    """Two models and the documents both read, each in pieces that fit either context."""

    source: TransformerBridge
    target: TransformerBridge
    documents: Sequence[Sequence[list[int]]]
    batch_size: int

    @property
    def n_source(self) -> int:
        return len(self.source.blocks)

    @property
    def n_target(self) -> int:
        return len(self.target.blocks)

    def tokens(self, documents: Sequence[int]) -> int:
        return sum(len(piece) for d in documents for piece in self.documents[d])

    def read(self, documents: Sequence[int]) -> Iterator[PairBatch]:
        pieces = [(d, piece) for d in documents for piece in self.documents[d]]
        pieces.sort(key=lambda owned: -len(owned[1]))  # alike lengths, less padding
        sequences = [piece for _, piece in pieces]
        pad = min(map(pad_of, (self.source, self.target)))  # a token of both
        for batch in in_order(sequences, self.batch_size, torch.device("cpu"), pad):
            recordings = [
                record(m, *on_device_of(m, batch.tokens, batch.mask))
                for m in (self.source, self.target)
            ]
            yield PairBatch(batch, tuple(pieces[i][0] for i in batch.indices), *recordings)


def shared_tokens(
    source: TransformerBridge, target: TransformerBridge, texts: Texts
) -> list[list[list[int]]]:
    """For each text its pieces, as both tokenizers make them; TextError where they differ."""
    texts, models = as_texts(texts), (source, target)
    context = min(map(context_of, models))
    read = [_documents(m, texts, context) for m in models]
    for index, (a, b) in enumerate(zip(*read, strict=True)):
        if a != b:
            raise TextError(
                f"text {index} ({texts[index][:40]!r}) is other tokens to "
                f"{source.cfg.model_name} than to {target.cfg.model_name}; stitching compares "
                "streams token by token: take two models with one tokenizer"
            )
    return read[0]


def _documents(
    model: TransformerBridge, texts: Sequence[str], context: int
) -> list[list[list[int]]]:
    documents: list[list[list[int]]] = [[] for _ in texts]
    for piece, owner in zip(*in_pieces(model, texts, context), strict=True):
        documents[owner].append(piece)
    return documents


def split(documents: int, test_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Documents to fit on and to judge on, drawn with `seed`."""
    if not 0 < test_share < 1:
        raise TextError(f"test_share={test_share} is not a share; use one between 0 and 1")
    if documents < 3:
        raise TextError(
            f"{documents} text(s) cannot be split; give at least three: two to fit, one to judge"
        )
    order = list(range(documents))
    random.Random(seed).shuffle(order)
    count = min(max(1, round(test_share * documents)), documents - 2)
    return sorted(order[count:]), sorted(order[:count])


def on_device_of(model: TransformerBridge, *tensors: Tensor) -> list[Tensor]:
    """The tensors where the weights of `model` are."""
    device = device_of(model)
    return [tensor.to(device) for tensor in tensors]


def through(
    model: TransformerBridge, recording: Recording, stream: Tensor, start: int, stop: int
) -> Tensor:
    """`stream` after layers start..stop-1."""
    if start == stop:
        return stream
    plan = Plan(tuple(map(Step.of, range(start, stop))), len(model.blocks))
    [(_, after)] = walk(model, [plan], Recording(stream, recording.calls))
    return after


def states_at(
    model: TransformerBridge, recording: Recording, wanted: Iterable[int]
) -> dict[int, Tensor]:
    """The residual stream at the depths `wanted`, in one pass to the last of them."""
    found, stream, depth = {}, recording.stream, 0
    for state in sorted(set(wanted)):
        stream = through(model, recording, stream, depth, state)
        found[state], depth = stream, state
    return found
