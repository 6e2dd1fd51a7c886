"""Across layers: the stream before layer i of one run, put before layer j of another.

Where the target run goes on as before, layer j reads what layer i would have read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PatchError
from ..execution import as_plan, head, measuring, resume_from, run
from ..models import Model, as_model, numbers, of_planned
from ..notices import say_nan
from ..plans import Plan
from ..progress import Advance, progress
from ..statistics import of_mean
from ..strategies import full
from .metrics import Metric, Standard, check_metric, measured, read_positions, score_of
from .prompts import Prompt, Text, answers_for, prompts, refuse_masked, state_list


@dataclass(frozen=True, eq=False)
class _Cross:
    """Two prompts, the places (source, target) that are moved, and where the target is read."""

    source: Prompt
    target: Prompt
    places: tuple[tuple[int, int], ...]
    read: tuple[int, ...]
    answers: tuple[int, ...]

    @property
    def first(self) -> int:
        return min(position for _, position in self.places)


@of_planned
def crossing(
    model: Model,
    source: Text | Iterable[Text],
    target: Text | Iterable[Text] | None = None,
    metric: Metric = "kl",
    plan: Plan | str | None = None,
    positions: Sequence[int] | int | None = None,
    *,
    source_positions: Sequence[int] | int | None = None,
    answers: Any = None,
    read: Sequence[int] | int | None = None,
    source_states: Sequence[int] | int | None = None,
    target_states: Sequence[int] | int | None = None,
) -> pd.DataFrame:
    """Can layer j read what layer i wrote? State i of one run becomes state j of another.

    State k is the stream before layer k (step k of `plan`), the last one is read out without a
    layer, as by a logit lens. Every source is computed once, the sources of one target go through
    the model together, and positions before the first patched one keep their keys and values.

    Args:
        model: Whatever `load_model` takes or returns.
        source: The prompt that gives the streams, or several, whose results are averaged.
        target: The prompt that takes them; none for the same one.
        metric: Averaged over the positions `read`: "kl" from the unpatched target run and "loss" of
            the target's next tokens (nats); "logit_difference", "probability", "logprob" of
            `answers`, or a function from logits (row, vocab) to one number per row.
        plan: The plan that both runs are under.
        positions: Positions of the target that are patched, all by default; negative ones count
            from the end.
        source_positions: Positions of the source that they come from; the same by default.
        answers: One token, or a (right, wrong) pair, for each prompt.
        read: Positions at which the metric is read: by default from the first patched position on
            for "kl" and "loss", else the last token.
        source_states: The values of i; all by default.
        target_states: The values of j; all by default.

    Returns:
        One row per (source_state, target_state): `value` with a bootstrap interval over prompts
        `low`, `high` (NaN for fewer than 4 prompts), and `unpatched`, the target run's own metric.

    Raises:
        PatchError: for prompts, positions, states and answers that do not fit.
        PlanError: a plan that the model cannot run.
        UnsupportedModelError: masked language models.

    Example:
        >>> found = crossing(model, "a cat sat", source_states=[2], target_states=[2, 3])
        >>> found["value"].gt(1e-3).tolist()  # its own state changes nothing
        [False, True]
    """
    model = as_model(model)
    refuse_masked(model)
    name = check_metric(metric)
    plan = full(len(model.blocks)) if plan is None else as_plan(plan, model)
    every = range(plan.depth + 1)
    sources = state_list(source_states, plan.depth, every)
    targets = state_list(target_states, plan.depth, every)
    befores, single = prompts(model, source)
    afters = befores if target is None else prompts(model, target)[0]
    if len(befores) != len(afters):
        raise PatchError(f"{len(befores)} sources and {len(afters)} targets; give one for each")
    given = answers_for(model, answers, len(befores), single)
    crosses = [
        _cross(a, b, metric, positions, source_positions, read, answer)
        for a, b, answer in zip(befores, afters, given, strict=True)
    ]
    calls = sum(s.size for j in targets for s in plan.steps[j:])
    total = sum(_tokens(model, plan, c) for c in crosses) * len(sources) * calls
    with measuring(model), progress("crossing", total) as advance:
        found = [_matrix(model, c, metric, plan, sources, targets, advance) for c in crosses]
    for cross, values in zip(crosses, found, strict=True):
        wrong = int(np.isnan(values).sum())
        say_nan(f"{name} of the prompt {cross.target}", wrong, len(values), "patches")
    return _table(np.stack(found), sources, targets).assign(metric=name, prompts=len(crosses))


def _cross(
    source: Prompt,
    target: Prompt,
    metric: Metric,
    positions: Sequence[int] | int | None,
    source_positions: Sequence[int] | int | None,
    read: Sequence[int] | int | None,
    answers: tuple[int, ...],
) -> _Cross:
    taken = positions if source_positions is None else source_positions
    a, b = source.places(taken), target.places(positions)
    if len(a) != len(b):
        raise PatchError(
            f"{len(a)} positions of the source {source} for {len(b)} of the target {target}; "
            "give positions= and source_positions= of equal length"
        )
    places = tuple(zip(a, b, strict=True))
    return _Cross(
        source, target, places, tuple(read_positions(metric, target, min(b), read)), answers
    )


def _tokens(model: TransformerBridge, plan: Plan, cross: _Cross) -> int:
    """Tokens that go through every layer after a patch."""
    return len(cross.target) - resume_from(model, plan, len(cross.target), cross.first)


@torch.no_grad()
def _matrix(
    model: TransformerBridge,
    cross: _Cross,
    metric: Metric,
    plan: Plan,
    sources: Sequence[int],
    targets: Sequence[int],
    advance: Advance,
) -> Float[np.ndarray, " value"]:
    """The metric of the unpatched target run, then of every (source, target)."""
    target = run(model, cross.target.tokens, plan, cross.first)
    taken, put = torch.tensor(cross.places, device=target.states.device).T
    given = run(model, cross.source.tokens, plan).states[sources][:, taken]
    read = torch.tensor(cross.read, device=put.device)
    with head(model) as logits_of:
        own = target.states[-1, read]
        score = score_of(metric, _standard(logits_of(own), cross))
        values = [measured(logits_of, own[None], score)]
        for j in targets:
            # Rows are made and read as they are run: all sources at once would fill the memory.
            for some in torch.split(given, target.rows_at_once):
                streams = target.states[j, target.start :].repeat(len(some), 1, 1)
                streams[:, put - target.start] = some
                finals = target.resume(j, streams, advance)
                values.append(measured(logits_of, finals[:, read - target.start], score))
    return numbers(torch.cat(values))


def _standard(logits: Tensor, cross: _Cross) -> Standard:
    """The unpatched run at the positions read, and the tokens that follow them (0 for none)."""
    after = torch.nn.functional.pad(cross.target.tokens[0, 1:], (0, 1))
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return Standard(logits.to(dtype), after[list(cross.read)], cross.answers)


def _table(
    found: Float[np.ndarray, "prompt value"], sources: Sequence[int], targets: Sequence[int]
) -> pd.DataFrame:
    values = found[:, 1:]
    low, high = of_mean(values)
    return pd.DataFrame(
        {
            "source_state": np.tile(sources, len(targets)),
            "target_state": np.repeat(targets, len(sources)),
            "value": values.mean(axis=0),
            "low": low,
            "high": high,
            "unpatched": found[:, 0].mean(),
        }
    )
