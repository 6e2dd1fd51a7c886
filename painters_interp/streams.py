"""Residual streams, read at TransformerLens hook points and handed on batch by batch."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from .execution import applied, as_plan, ready
from .models import Model, as_model
from .plans import Plan
from .texts import Batch, in_order, tokenize


@dataclass(frozen=True, eq=False)
class Streams:
    """The residual stream of one batch at every depth.

    State 0 is the embedding output, state k the stream after layer k-1 (under a plan: after step
    k-1), before the final norm. `texts` says which text each row comes from.
    """

    states: Float[Tensor, "state batch pos d_model"]
    mask: Int[Tensor, "batch pos"]
    tokens: Int[Tensor, "batch pos"]
    texts: tuple[int, ...]


def capture(
    model: Model,
    texts: Sequence[str],
    plan: Plan | str | None = None,
    batch_size: int = 8,
) -> Iterator[Streams]:
    """Yield the residual streams of `texts`, batch by batch, in the order given.

    Without a plan the intact model is read at `blocks.{i}.hook_resid_pre` / `hook_resid_post`;
    under a plan at `steps.{s}.hook_resid_pre` / `hook_resid_post` (plan.depth + 1 states).
    Texts longer than the context are read in pieces. Nothing is computed past the last state.

    Raises TextError for no texts or a text of fewer than two tokens.
    """
    model = as_model(model)
    ready(model)
    value = None if plan is None else as_plan(plan, model)
    pieces, owners = in_pieces(model, texts)
    device = next(model.original_model.parameters()).device

    def batches() -> Iterator[Streams]:
        for batch in in_order(pieces, batch_size, device):
            ready(model)  # since the last batch the caller may have applied a plan
            rows = tuple(owners[i] for i in batch.indices)
            # Under no name: the streams may go as soon as the caller is done with them.
            yield Streams(_states(model, batch, value), batch.mask, batch.tokens, rows)

    return batches()


def in_pieces(model: TransformerBridge, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
    """Token ids of `texts` in pieces that fit the context of `model`, and whose piece each is."""
    # The tokenizer knows of position embeddings that take no token, such as RoBERTa's two.
    context = min(model.cfg.n_ctx, model.tokenizer.model_max_length)
    return tokenize(texts, model.tokenizer, context)


class _LastStateRead(Exception):
    """Ends a pass at its last state: the final norm and the head would run for nothing."""


@torch.no_grad()
def _states(
    model: TransformerBridge, batch: Batch, plan: Plan | None
) -> Float[Tensor, "state batch pos d_model"]:
    where, depth = ("blocks", len(model.blocks)) if plan is None else ("steps", plan.depth)
    points = [f"{where}.0.hook_resid_pre"]
    points += [f"{where}.{k}.hook_resid_post" for k in range(depth)]
    states: list[Tensor] = []
    place = iter(range(len(points)))

    def read(tensor: Tensor, hook: Any) -> None:
        if not states:  # filled as the pass goes on: a stack at its end would hold all twice
            states.append(tensor.new_empty((len(points), *tensor.shape)))
        states[0][state := next(place)] = tensor
        if state == len(points) - 1:
            raise _LastStateRead

    hooks = [(point, read) for point in points]
    under = nullcontext() if plan is None else applied(model, plan)
    with under, model.hooks(fwd_hooks=hooks), suppress(_LastStateRead):
        model(batch.tokens, attention_mask=batch.mask)
    return states[0]
