"""Residual streams, read at TransformerLens hook points and handed on batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from .arguments import counting
from .execution import applied, as_plan, measuring, ready
from .models import Model, as_model, device_of
from .plans import Plan
from .strategies import full
from .terminal import Brief
from .texts import Batch, Texts, as_texts, in_order, in_pieces, pad_of


@dataclass(frozen=True, eq=False, repr=False)
class Streams(Brief):
    """The residual stream of one batch at every depth.

    State 0 is the embedding output, state k the stream after layer k-1 (under a plan: after step
    k-1), before the final norm. `texts` says which text each row comes from.
    """

    states: Float[Tensor, "state batch pos d_model"]
    mask: Int[Tensor, "batch pos"]
    tokens: Int[Tensor, "batch pos"]
    texts: tuple[int, ...]


@counting(batch_size=1)
def capture(
    model: Model,
    texts: Texts,
    plan: Plan | str | None = None,
    batch_size: int = 8,
) -> Iterator[Streams]:
    """Yield the residual streams of `texts`, batch by batch, in the order given.

    Args:
        model: read in eval mode, with the hooks that are on it: what they change is in the
            streams. Between two batches it is as it was.
        texts: one string or any number of them, read as the tokenizer makes them by default
            (`model("text")` of TransformerLens prepends a beginning-of-text token). Those longer
            than the context are read in pieces.
        plan: None for the intact model, read at `blocks.{i}.hook_resid_pre` / `hook_resid_post`;
            a plan is read at `steps.{s}.hook_resid_pre` / `hook_resid_post`.
        batch_size: texts in one pass.

    Yields:
        `.states` (state, batch, pos, d_model), depth + 1 of them, in the model's dtype and on its
        device; `.mask`, 1 on real tokens, and `.tokens` (batch, pos), padded on the right;
        `.texts`, the index of each row's text. Nothing is computed past the last state.

    Raises:
        TextError: no texts, or one that is no string, has fewer than two tokens, or a token that
            the model has no embedding of; named by its index.
        PlanError: a plan of another depth, or one that is applied already.

    Example:
        >>> batch = next(iter(capture(model, "one text")))
        >>> batch.states.shape[0] == len(model.blocks) + 1
        True
    """
    model = as_model(model)
    ready(model)
    value = None if plan is None else as_plan(plan, model)
    pieces, owners = in_pieces(model, as_texts(texts))
    return captured(model, pieces, owners, value, batch_size)


def captured(
    model: TransformerBridge,
    pieces: Sequence[Sequence[int]],
    owners: Sequence[int],
    plan: Plan | None,
    batch_size: int,
) -> Iterator[Streams]:
    """`capture` of what `in_pieces` made of the texts."""
    for batch in in_order(pieces, batch_size, device_of(model), pad_of(model)):
        ready(model)  # since the last batch the caller may have applied a plan
        rows = tuple(owners[i] for i in batch.indices)
        # Under no name: the streams may go as soon as the caller is done with them.
        yield Streams(_states(model, batch, plan), batch.mask, batch.tokens, rows)


class _LastStateRead(Exception):
    """Ends a pass at its last state: the final norm and the head would run for nothing."""


@torch.no_grad()
def see_states(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    plan: Plan | None,
    see: Callable[[int, Float[Tensor, "batch pos d_model"]], object],
    **inputs: Tensor,
) -> None:
    """Show every state of one batch to `see`, with its number, as the pass goes on.

    `inputs` are what else the model takes. Nothing is computed past the last state. All states come
    to where the model takes its tokens, also of a model whose layers are spread over devices.
    """
    where, depth = ("blocks", len(model.blocks)) if plan is None else ("steps", plan.depth)
    points = [f"{where}.0.hook_resid_pre"]
    points += [f"{where}.{k}.hook_resid_post" for k in range(depth)]
    place, home = iter(range(len(points))), device_of(model)

    def read(tensor: Tensor, hook: Any) -> None:
        see(state := next(place), tensor.to(home))
        if state == len(points) - 1:
            raise _LastStateRead

    hooks = [(point, read) for point in points]
    # Of the intact model, too: under a plan no mask leaves a row of padding without a key, whose
    # NaN would reach real tokens.
    under = applied(model, plan or full(len(model.blocks)))
    with measuring(model), under, model.hooks(fwd_hooks=hooks), suppress(_LastStateRead):
        model(tokens, attention_mask=mask, **inputs)


def _states(
    model: TransformerBridge, batch: Batch, plan: Plan | None
) -> Float[Tensor, "state batch pos d_model"]:
    depth = len(model.blocks) if plan is None else plan.depth
    states: list[Tensor] = []

    def keep(state: int, tensor: Tensor) -> None:
        if not states:  # filled as the pass goes on: a stack at its end would hold all twice
            states.append(tensor.new_empty((depth + 1, *tensor.shape)))
        states[0][state] = tensor

    see_states(model, batch.tokens, batch.mask, plan, keep)
    return states[0]
