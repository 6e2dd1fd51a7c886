"""The logit lens: what the model would say if a state were its last."""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting
from ..errors import PatchError
from ..execution import as_plan, head, measuring, run
from ..models import Model, as_model, of_planned
from ..notices import say_nan
from ..plans import Plan
from ..strategies import full
from .prompts import Answer, Prompt, Text, answer_ids, prompt, refuse_masked, state_list


@torch.no_grad()
@of_planned
@counting(top=1)
def readout(
    model: Model,
    text: Text,
    plan: Plan | str | None = None,
    positions: Sequence[int] | int = -1,
    *,
    states: Sequence[int] | int | None = None,
    top: int = 3,
    watch: Answer | Iterable[Answer] = (),
) -> pd.DataFrame:
    """The likeliest next tokens by each state, through the model's own final norm and head.

    State k is the stream before layer k (step k of `plan`); the last one is the model's answer.

    Args:
        model: Whatever `load_model` takes or returns.
        text: The prompt.
        plan: The plan that it is read under.
        positions: Where in the prompt; negative ones count from the end.
        states: Which states; all by default.
        top: How many tokens are named.
        watch: Tokens that are reported, too, whatever their rank.

    Returns:
        One row per (position, state, token), with `rank` (0 is the likeliest of the vocabulary) and
        `logprob` (nats).

    Raises:
        PatchError: for positions, states and tokens that do not fit.
        PlanError: a plan that the model cannot run.
        UnsupportedModelError: masked language models.

    Example:
        >>> readout(model, "a cat sat", states=[0, 6], top=1)["state"].tolist()
        [0, 6]
    """
    model = as_model(model)
    refuse_masked(model)
    plan = full(len(model.blocks)) if plan is None else as_plan(plan, model)
    chosen = state_list(states, plan.depth, range(plan.depth + 1))
    if not 0 < top <= model.cfg.d_vocab:
        raise PatchError(f"top={top} is no number of tokens; 1..{model.cfg.d_vocab} fits")
    read = prompt(model, text)
    places, watched = read.places(positions), answer_ids(model, watch)
    with measuring(model):
        found = run(model, read.tokens, plan).states
        with head(model) as logits_of:
            parts = [
                _read(model, read, place, chosen, logits_of(found[chosen, place]), top, watched)
                for place in places
            ]
    table = pd.concat(parts, ignore_index=True)
    say_nan(f"the answer of {read}", int(table["logprob"].isna().sum()), len(table), "rows")
    return table


def _read(
    model: TransformerBridge,
    read: Prompt,
    place: int,
    states: Sequence[int],
    logits: Tensor,
    top: int,
    watched: Sequence[int],
) -> pd.DataFrame:
    """The rows of one position, state by state."""
    logprobs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    rows = []
    for state, row in zip(states, logprobs, strict=True):
        best = row.topk(top).indices.tolist()
        for token in dict.fromkeys([*best, *watched]):
            rank = best.index(token) if token in best else int((row > row[token]).sum())
            rows.append((place, state, model.tokenizer.decode([token]), rank, float(row[token])))
    table = pd.DataFrame(rows, columns=["position", "state", "token", "rank", "logprob"])
    return table.assign(after=read.pieces[place])
