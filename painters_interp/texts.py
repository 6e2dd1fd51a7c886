"""From texts to padded batches of tokens."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from .errors import TextError


@dataclass(frozen=True, eq=False)
class Batch:
    """Right-padded sequences; `mask` is 1 on real tokens, `indices` names the sequences."""

    tokens: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]
    indices: tuple[int, ...]


def tokenize(
    texts: Sequence[str], tokenizer: Any, context: int
) -> tuple[list[list[int]], list[int]]:
    """Token ids as the tokenizer makes them by default, in pieces of at most `context` tokens.

    Returns the pieces and, for each, the index of its text; a warning says how many texts came
    apart. Raises TextError for no texts at all and for a text that has fewer than two tokens,
    which would leave nothing after the first.
    """
    if isinstance(texts, str) or len(texts) == 0:
        raise TextError("texts must be a list of at least one string")
    pieces, owners, longer = [], [], 0
    for index, text in enumerate(texts):
        ids = tokenizer(text, verbose=False)["input_ids"]  # it would warn of what is cut below
        if len(ids) < 2:
            raise TextError(
                f"text {index} ({text[:40]!r}) has {len(ids)} token(s); two or more are needed"
            )
        longer += len(ids) > context
        for start in range(0, len(ids), context):
            # A last piece of one token would say nothing; it stays out.
            if len(piece := ids[start : start + context]) >= 2:
                pieces.append(piece)
                owners.append(index)
    if longer:
        warnings.warn(
            f"{longer} of {len(texts)} texts are longer than the context of {context} tokens; "
            "they are read in pieces, none of which sees the one before",
            stacklevel=2,
        )
    return pieces, owners


def padded(
    sequences: Sequence[Sequence[int]], indices: Sequence[int], device: torch.device
) -> Batch:
    """The sequences at `indices`, padded on the right with token 0, which the mask hides."""
    width = max(len(sequences[i]) for i in indices)
    tokens = torch.zeros((len(indices), width), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, index in enumerate(indices):
        length = len(sequences[index])
        tokens[row, :length] = torch.tensor(sequences[index])
        mask[row, :length] = 1
    return Batch(tokens.to(device), mask.to(device), tuple(indices))


def in_order(
    sequences: Sequence[Sequence[int]], batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """Batches of `batch_size` sequences in the order given."""
    for start in range(0, len(sequences), batch_size):
        yield padded(sequences, range(start, min(start + batch_size, len(sequences))), device)


def by_length(
    sequences: Sequence[Sequence[int]], max_tokens: int, device: torch.device
) -> Iterator[Batch]:
    """Batches of similar length, longest first, each of at most `max_tokens` padded tokens.

    A sequence longer than that is a batch of its own.
    """
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    while order:
        size = max(1, max_tokens // len(sequences[order[0]]))
        yield padded(sequences, order[:size], device)
        order = order[size:]
