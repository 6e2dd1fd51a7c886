"""How far a plan moves a model's predictions: KL(intact || plan), at every token of some texts.

Unlike a task's score it needs no answers and is defined at every position, so a few documents tell
hundreds of plans apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from . import intervals
from .errors import PlanError
from .execution import Head, as_plan, head, ready, record, walk
from .models import identity
from .plans import Plan, shared_calls
from .progress import Advance, progress
from .strategies import full
from .streams import in_pieces
from .tables import MODEL, require, typed
from .texts import Batch, in_order

Plans = Sequence[Plan | str] | Mapping[str, Plan | str] | pd.DataFrame

# Rows of logits held at a time; the intact model's are held beside them.
_ROWS = 256
# Finished plans compared together: the intact logits are computed once for all of them.
_TOGETHER = 32
_MEASURED = (*MODEL, "plan", "kl", "kl_low", "kl_high", "n_documents", "n_tokens", "seed")


def kl_to_intact(
    model: TransformerBridge,
    plans: Plans,
    texts: Sequence[str],
    batch_size: int = 8,
    seed: int = 0,
) -> pd.DataFrame:
    """KL(intact || plan) between the next-token distributions, in nats per token.

    `plans` is a list, a dict from label to plan, or an experiment's table, whose labels stay in
    the result. Every real token of every text counts once, so long documents weigh more. Returns
    one row per labelled plan: the labels, then model, revision, dtype, plan, kl, kl_low, kl_high
    (bootstrap over documents, drawn with `seed`), n_documents, n_tokens, seed.

    Raises PlanError for no plans or one of another depth, TextError for texts that cannot be read.
    """
    labels = _labelled(model, plans)
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    sums, counts = _sums(model, distinct, texts, batch_size)
    low, high = intervals.of_ratio(sums, counts, seed=seed)
    measured = pd.DataFrame(
        {
            "plan": [str(plan) for plan in distinct],
            "kl": sums.sum(axis=0) / counts.sum(),
            "kl_low": low,
            "kl_high": high,
        }
    )
    facts = {name: fact for name, fact in identity(model).items() if name in MODEL}
    facts |= {"n_documents": len(counts), "n_tokens": int(counts.sum()), "seed": seed}
    joined = labels.merge(measured.assign(**facts), on="plan", how="left")
    own = [str(c) for c in labels if c not in _MEASURED]
    return typed(joined[[*own, *_MEASURED]])


def _labelled(model: TransformerBridge, plans: Plans) -> pd.DataFrame:
    """A table with a canonical plan per row, and whatever labels came with it."""
    if isinstance(plans, pd.DataFrame):
        require(plans, "plan")
        table = plans[[c for c in plans if c not in _MEASURED or c == "plan"]].drop_duplicates()
    elif isinstance(plans, Mapping):
        table = pd.DataFrame({"label": list(plans), "plan": list(plans.values())})
    else:
        table = pd.DataFrame({"plan": list(plans)}, dtype=object)
    if table.empty:
        raise PlanError("no plans; give at least one, such as the intact model's")
    return table.assign(plan=[str(as_plan(plan, model)) for plan in table["plan"]])


@torch.no_grad()
def _sums(
    model: TransformerBridge, plans: Sequence[Plan], texts: Sequence[str], batch_size: int
) -> tuple[Float[np.ndarray, "document plan"], Float[np.ndarray, " document"]]:
    """Per document and plan the sum of KL over tokens, and per document the number of tokens."""
    ready(model)
    pieces, owners = in_pieces(model, texts)
    order = sorted(range(len(pieces)), key=lambda i: -len(pieces[i]))  # alike lengths, less padding
    device = next(model.original_model.parameters()).device
    batches = list(in_order([pieces[i] for i in order], batch_size, device))
    sums, counts = np.zeros((len(texts), len(plans))), np.zeros(len(texts))
    total = sum(batch.tokens.numel() for batch in batches) * shared_calls(plans)
    with progress("KL to the intact model", total) as advance:
        for batch in batches:
            found = _of_batch(model, plans, batch, advance)
            for row, index in enumerate(batch.indices):
                sums[owners[order[index]]] += found[:, row]
                counts[owners[order[index]]] += len(pieces[order[index]])
    return sums, counts


def _of_batch(
    model: TransformerBridge, plans: Sequence[Plan], batch: Batch, advance: Advance
) -> Float[np.ndarray, "plan batch"]:
    """The sum of KL over the real tokens of every row of a batch."""
    recording = record(model, batch.tokens, batch.mask)
    rows, places = torch.nonzero(batch.mask, as_tuple=True)
    [(_, stream)] = walk(model, [full(len(model.blocks))], recording)
    intact = stream[rows, places]
    sums = np.zeros((len(plans), len(batch.indices)))
    with head(model) as logits_of:
        for group in _groups(walk(model, plans, recording, advance), rows, places):
            streams = torch.stack([stream for _, stream in group])
            found = torch.zeros((len(group), len(batch.indices)), dtype=torch.float64)
            found.index_add_(1, rows.cpu(), _kl(logits_of, intact, streams))
            for (indices, _), sum_ in zip(group, found.numpy(), strict=True):
                sums[indices] = sum_
    return sums


def _groups(
    walked: Iterator[tuple[list[int], Tensor]], rows: Tensor, places: Tensor
) -> Iterator[list[tuple[list[int], Tensor]]]:
    """Finished plans, so many at a time, each with its residual stream at the real tokens."""
    while group := [(ends, stream[rows, places]) for ends, stream in islice(walked, _TOGETHER)]:
        yield group


def _kl(
    logits_of: Head,
    intact: Float[Tensor, "token d_model"],
    others: Float[Tensor, "plan token d_model"],
) -> Float[Tensor, "plan token"]:
    """KL(intact || other) at every token.

    The intact log-probabilities are computed for a few tokens at a time, and compared with those
    of all the others before the next ones: what is held does not grow with the texts.
    """
    dtype = torch.promote_types(intact.dtype, torch.float32)

    def logprobs(streams: Float[Tensor, "plan token d_model"]) -> Tensor:
        rows = rearrange(streams, "plan token d -> (plan token) d")
        found = logits_of(rows).to(dtype).log_softmax(-1)
        return rearrange(found, "(plan token) v -> plan token v", plan=len(streams))

    parts = []
    for start in range(0, intact.shape[0], _ROWS):
        tokens = slice(start, start + _ROWS)
        p = logprobs(intact[None, tokens])[0]
        weights, at_once = p.exp(), max(1, _ROWS // len(p))
        # In place: what is subtracted from is the largest thing in memory.
        kl = [
            torch.linalg.vecdot(weights, logprobs(some).neg_().add_(p))
            for some in torch.split(others[:, tokens], at_once)
        ]
        parts.append(torch.cat(kl).double().cpu())
    return torch.cat(parts, dim=1)
