"""The final state of every text under every plan, pooled over its tokens: one vector each.

All plans go through one walk of shared beginnings. What is pooled is what the model's own head, or
one for classification, would be given: behind the final norm, where there is one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import ModelError, TextError
from ..execution import (
    applied,
    copies_of,
    face_of,
    measuring,
    ready,
    record_on,
    user_hooks,
    walk,
)
from ..models import device_of, numbers
from ..plans import Plan, shared_calls
from ..progress import Advance
from ..strategies import full
from ..streams import see_states
from ..texts import Batch, batched, context_of, padded, refuse_unknown
from .examples import Text

_TOKENS_AT_ONCE = {"cpu": 512, "cuda": 16384}
POOLS = ("mean", "first", "last")


@dataclass(frozen=True, eq=False)
class Sequences:
    """Texts as the model reads them.

    `types` tells the two texts of a pair apart, where the model has embeddings for that.
    """

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...] | None
    truncated: Bool[np.ndarray, " text"]

    def calls(self, plans: Sequence[Plan]) -> int:
        """Token-layer calls that the states of these under `plans` take, padding left out."""
        return sum(map(len, self.ids)) * shared_calls(plans)


def sequences(model: TransformerBridge, texts: Sequence[Text]) -> Sequences:
    """Token ids as the tokenizer makes them, pairs as an encoder's joins them, cut to the context.

    For a decoder, which knows no pairs, a line break joins them. Raises TextError for a text of no
    tokens, or with one that the model has no embedding of.
    """
    tokenizer: Any = model.tokenizer
    if tokenizer is None:
        raise TextError(f"{model.cfg.model_name} has no tokenizer to read texts with")
    pairs = len(texts[0]) == 2
    if pairs and ready(model).causal:
        texts, pairs = [("\n".join(text),) for text in texts], False
    columns = [list(column) for column in zip(*texts, strict=True)]
    context = context_of(model)
    whole = tokenizer(*columns, verbose=False)
    truncated = np.array([len(ids) > context for ids in whole["input_ids"]])
    if truncated.any():
        whole = tokenizer(*columns, truncation=True, max_length=context)
    for index, ids in enumerate(whole["input_ids"]):
        if not ids:
            raise TextError(f"text {index} ({texts[index][0][:40]!r}) has no tokens; leave it out")
        refuse_unknown(model, ids, f"text {index} ({texts[index][0][:40]!r})")
    rows = tuple(tuple(ids) for ids in whole["input_ids"])
    types = tuple(map(tuple, whole.get("token_type_ids", ()))) if pairs else ()
    known = getattr(model.original_model.config, "type_vocab_size", 0)
    told_apart = max(map(max, types), default=known) < known
    return Sequences(rows, types if told_apart else None, truncated)


def pool_of(model: TransformerBridge, pool: str | None) -> str:
    """The pool that is named; unless one is, the mean for encoders, for decoders the last token.

    Raises ModelError.
    """
    if pool is None:
        return "last" if ready(model).causal else "mean"
    if pool not in POOLS:
        raise ModelError(f"pool={pool!r} is not one of {', '.join(POOLS)}")
    return pool


@torch.no_grad()
def final_features(
    model: TransformerBridge,
    plans: Sequence[Plan],
    texts: Sequences,
    pool: str,
    advance: Advance = lambda calls: None,
) -> Float[np.ndarray, "plan text d_model"]:
    """Every text's pooled final state under each of the distinct `plans`.

    Float32, or float64 for a float64 model; read where nobody watches, as scores are, by the stock
    model over the same tensors. On a model with hooks of the user every plan runs by
    itself, and each text in a pass of its own, as the hooks would see them. Memory: plans times
    texts times d_model numbers.
    """
    found = _room_for(model, len(plans), texts)
    with measuring(model):
        if user_hooks(model):
            for index, plan in enumerate(plans):
                with applied(model, plan):
                    for row, ids in enumerate(texts.ids):
                        found[index, row] = numbers(_watched(model, texts, row, pool))[0]
                        advance(len(ids) * len(plan.calls))
            return found
        calls, face = shared_calls(plans), face_of(model, plans)
        for batch in batched(model, texts.ids, _TOKENS_AT_ONCE):
            inputs = types_of(texts, batch)
            recording = record_on(face, model, batch.tokens, batch.mask, **inputs)
            copies = copies_of(model, recording, len(plans))
            for places, stream in walk(model, plans, recording, copies=copies):
                vectors = numbers(pooled(stream, batch.mask, pool, face.states))
                for place in places:
                    found[place, [*batch.indices]] = vectors
            advance(calls * int(batch.mask.sum()))
    return found


@torch.no_grad()
def state_features(
    model: TransformerBridge,
    texts: Sequences,
    pool: str,
    advance: Advance = lambda calls: None,
) -> Float[np.ndarray, "state text d_model"]:
    """Every text's pooled state at every depth of the intact model, in one pass.

    State 0 is the embedding output, the last one is before the final norm. Hooks on the model
    act, on texts that are padded on the right. No state is held longer than it takes to pool it.
    """
    depth = len(model.blocks)
    found = _room_for(model, depth + 1, texts)
    for batch in batched(model, texts.ids, _TOKENS_AT_ONCE):

        def keep(state: int, stream: Tensor, batch: Batch = batch) -> None:
            found[state, [*batch.indices]] = numbers(pooled(stream, batch.mask, pool))

        _show_states(model, texts, batch, keep)
        advance(depth * int(batch.mask.sum()))
    return found


def _room_for(
    model: TransformerBridge, times: int, texts: Sequences
) -> Float[np.ndarray, "time text d_model"]:
    """Where a vector of every text goes, so many times: float32 at least."""
    dtype = torch.promote_types(next(model.original_model.parameters()).dtype, torch.float32)
    shape = (times, len(texts.ids), int(model.cfg.d_model))
    return np.empty(shape, dtype=str(dtype).removeprefix("torch."))


def _show_states(
    model: TransformerBridge, texts: Sequences, batch: Batch, see: Callable[[int, Tensor], object]
) -> None:
    """Show every state of one batch, with its number: the streams of all beginnings of all layers.

    Hooks of the user see the pass of the model itself.
    """
    inputs = types_of(texts, batch)
    if user_hooks(model):
        see_states(model, batch.tokens, batch.mask, None, see, **inputs)
        return
    whole = full(len(model.blocks))
    beginnings = [Plan(whole.steps[:stop], whole.n_layers) for stop in range(1, whole.depth + 1)]
    with measuring(model):
        recording = record_on(face_of(model), model, batch.tokens, batch.mask, **inputs)
        see(0, recording.stream)
        for [last], stream in walk(model, beginnings, recording):
            see(last + 1, stream)


def types_of(texts: Sequences, batch: Batch) -> dict[str, Tensor]:
    """What tells the two texts of a pair apart, under the name that models take it by."""
    if texts.types is None:
        return {}
    return {"token_type_ids": padded(texts.types, batch.indices, batch.tokens.device).tokens}


def pooled(
    stream: Float[Tensor, "batch pos d_model"],
    mask: Int[Tensor, "batch pos"],
    pool: str,
    finished: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> Float[Tensor, "batch d_model"]:
    """One vector a text, of right-padded ones: `finished` of the rows that the pool is of."""
    if pool == "first":
        return finished(stream[:, 0])
    if pool == "last":
        return finished(stream[torch.arange(len(stream)), mask.sum(dim=1) - 1])
    real = mask.bool()
    rows = finished(stream[real])
    owners = real.nonzero()[:, 0]
    # Summed in float32 at least: half precision has no room for sums of many.
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    sums = wide.new_zeros((len(stream), wide.shape[-1])).index_add_(0, owners, wide)
    return sums / mask.sum(dim=1, keepdim=True)


def _watched(
    model: TransformerBridge, texts: Sequences, row: int, pool: str
) -> Float[Tensor, "1 d_model"]:
    """The pooled final state of one text, in a pass of the model itself under the plan applied."""
    batch = padded(texts.ids, [row], device_of(model))
    root = model.original_model.base_model
    inputs = {"input_ids": batch.tokens, "attention_mask": batch.mask}
    output: Any = root(**inputs, **types_of(texts, batch))
    return pooled(output.last_hidden_state, batch.mask, pool)
