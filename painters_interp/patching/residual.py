"""Residual patching: the clean run's stream put into the corrupted run, one place at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PatchError
from ..execution import Head, as_plan, head, measuring, resume_from, run
from ..models import Model, as_model, numbers, of_planned
from ..notices import say_nan
from ..plans import Plan
from ..plans.sharing import shared_length
from ..progress import Advance, progress
from ..statistics import of_mean, percentiles, resamplings
from ..strategies import full
from .metrics import Metric, Standard, check_metric, measured, score_of
from .prompts import Prompt, Text, answers_for, listed, prompts, refuse_masked, state_list

Place = int | tuple[int, int]
"""A position in both prompts, or one in the clean and one in the corrupted prompt."""


@dataclass(frozen=True, eq=False)
class _PromptPair:
    """Two prompts and the places (clean, corrupted) where one is put into the other."""

    clean: Prompt
    corrupted: Prompt
    places: tuple[tuple[int, int], ...]
    answers: tuple[int, ...]

    def live(self) -> list[int]:
        """Indices of the places where a patch can change anything.

        As far as both prompts begin with the same tokens, a causal model's streams are the same.
        """
        same = shared_length(self.clean.ids, self.corrupted.ids)
        return [i for i, (a, b) in enumerate(self.places) if a != b or b >= same]


@of_planned
def patch_residual(
    model: Model,
    clean: Text | Iterable[Text],
    corrupted: Text | Iterable[Text],
    metric: Metric = "logit_difference",
    plan: Plan | str | None = None,
    positions: Sequence[Place] | int | None = None,
    *,
    answers: Any = None,
    states: Sequence[int] | int | None = None,
) -> pd.DataFrame:
    """How much of the clean run's answer each place of its residual stream carries.

    For every state k (the stream before layer k; before step k of `plan`) and position p, the
    corrupted run gets the clean run's stream there, and `metric` is read at its last token.

    Args:
        model: Whatever `load_model` takes or returns.
        clean: A prompt, or several.
        corrupted: As many prompts. All need the same number of tokens unless `positions` names
            places.
        metric: "logit_difference", "probability", "logprob", all of `answers`; "kl", from the clean
            run; in nats; or a function from logits (row, vocab) to one number per row.
        plan: The plan that both runs are under.
        positions: Positions of both (negative: from the end), or (clean, corrupted) pairs.
        answers: One token, or a (right, wrong) pair, for each prompt.
        states: Which states; all by default.

    Returns:
        One row per (state, position): `value` averaged over pairs with a bootstrap interval `low`,
        `high`; `normalised`, 0 the corrupted and 1 the clean run, with its own; the two runs' own
        metric as `corrupted` and `clean`. Intervals are NaN for fewer than 4 pairs.

    Raises:
        PatchError: for prompts, positions, states and answers that do not fit.
        PlanError: a plan that the model cannot run.
        UnsupportedModelError: masked language models.

    Example:
        >>> prompts = {"clean": "a cat sat", "corrupted": "a hat sat"}
        >>> found = patch_residual(model, **prompts, metric="kl", positions=[-1], states=[6])
        >>> found["value"].round(4).abs().tolist()  # the last state is the answer
        [0.0]
    """
    model = as_model(model)
    refuse_masked(model)
    name = check_metric(metric)
    if name == "loss":
        raise PatchError("metric 'loss' reads next tokens; none follows the last token of a prompt")
    plan = full(len(model.blocks)) if plan is None else as_plan(plan, model)
    chosen = state_list(states, plan.depth, range(plan.depth))
    pairs = _pairs(model, clean, corrupted, positions, answers)
    found = [np.empty((0,))] * len(pairs)
    calls = [sum(s.size for s in plan.steps[k:]) for k in chosen]
    total = sum(_tokens(model, plan, p) for p in pairs) * sum(calls)
    with measuring(model), progress("patching", total) as advance:
        for i, pair in enumerate(pairs):
            found[i] = _sweep(model, pair, metric, plan, chosen, advance)
            _say_nan(name, pair.corrupted, found[i])
    values = np.stack(found)  # (pair, 2 + state * place): the corrupted and the clean run first
    table = _table(values[:, 0], values[:, 1], values[:, 2:])
    labels = [
        {"state": k, "position": place, "token": token}
        for k in chosen
        for place, token in _labelled(pairs)
    ]
    return pd.concat([pd.DataFrame(labels), table], axis=1).assign(metric=name, pairs=len(pairs))


def _say_nan(metric: str, prompt: Prompt, values: Float[np.ndarray, " value"]) -> None:
    wrong = int(np.isnan(values).sum())
    say_nan(f"{metric} of the prompt {prompt}", wrong, len(values), "patches")


def _pairs(
    model: TransformerBridge, clean: Any, corrupted: Any, positions: Any, answers: Any
) -> list[_PromptPair]:
    (befores, single), (afters, _) = prompts(model, clean), prompts(model, corrupted)
    if len(befores) != len(afters):
        raise PatchError(
            f"{len(befores)} clean prompts and {len(afters)} corrupted ones; "
            "each needs its counterpart"
        )
    if positions is None and len(lengths := {len(p) for p in (*befores, *afters)}) > 1:
        raise PatchError(
            f"the prompts have different numbers of tokens ({', '.join(map(str, sorted(lengths)))})"
            "; give positions=, counted from the end (-1, -2, ...) or as (clean, corrupted) pairs"
        )
    given = answers_for(model, answers, len(befores), single, "pairs")
    return [
        _PromptPair(a, b, _places(a, b, positions), answer)
        for a, b, answer in zip(befores, afters, given, strict=True)
    ]


def _places(
    clean: Prompt, corrupted: Prompt, positions: Sequence[Place] | int | None
) -> tuple[tuple[int, int], ...]:
    named: Any = range(len(corrupted)) if positions is None else positions
    both = [(p, p) if isinstance(p, Integral) else tuple(p) for p in listed(named)]
    if not both:
        raise PatchError("no positions named; give at least one")
    if any(len(pair) != 2 for pair in both):
        raise PatchError(f"positions {both}: each is a number, or a (clean, corrupted) pair")
    return tuple((clean.at(a), corrupted.at(b)) for a, b in both)


def _tokens(model: TransformerBridge, plan: Plan, pair: _PromptPair) -> int:
    """Tokens that go through every layer from a patch on, over all places."""
    live = [pair.places[i][1] for i in pair.live()]
    start = resume_from(model, plan, len(pair.corrupted), min(live, default=0))
    return len(live) * (len(pair.corrupted) - start)


@torch.no_grad()
def _sweep(
    model: TransformerBridge,
    pair: _PromptPair,
    metric: Metric,
    plan: Plan,
    states: Sequence[int],
    advance: Advance,
) -> Float[np.ndarray, " value"]:
    """The metric of the corrupted run, of the clean run, and of every (state, place)."""
    live = pair.live()
    first = min((pair.places[i][1] for i in live), default=0)
    source = run(model, pair.clean.tokens, plan).states
    target = run(model, pair.corrupted.tokens, plan, first)
    with head(model) as logits_of:
        ends = torch.stack([target.states[-1, -1:], source[-1, -1:]])
        score = _score(metric, logits_of, ends[1], pair)
        baselines = measured(logits_of, ends, score)
        values = baselines[0].expand(len(states), len(pair.places)).clone()
        for i, k in enumerate(states if live else ()):
            # Rows are made and read as they are run: all places at once would fill the memory.
            for start in range(0, len(live), target.rows_at_once):
                some = live[start : start + target.rows_at_once]
                rows = torch.arange(len(some), device=ends.device)
                taken, put = torch.tensor([pair.places[p] for p in some], device=ends.device).T
                streams = target.states[k, target.start :].repeat(len(some), 1, 1)
                streams[rows, put - target.start] = source[k, taken]
                finals = target.resume(k, streams, advance)
                values[i, some] = measured(logits_of, finals[:, -1:], score)
    return numbers(torch.cat([baselines, values.flatten()]))


def _score(metric: Metric, logits_of: Head, clean: Tensor, pair: _PromptPair) -> Any:
    nothing = torch.zeros(1, dtype=torch.long, device=clean.device)
    dtype = torch.promote_types(clean.dtype, torch.float32)
    return score_of(metric, Standard(logits_of(clean).to(dtype), nothing, pair.answers))


def _table(
    corrupted: Float[np.ndarray, " pair"],
    clean: Float[np.ndarray, " pair"],
    values: Float[np.ndarray, "pair place"],
) -> pd.DataFrame:
    """Means over pairs; what is normalised is the mean effect, by the mean difference of runs."""
    low, high = of_mean(values)
    effects, whole = values - corrupted[:, None], clean - corrupted
    weights = resamplings(len(values))
    spread = percentiles(_ratio(weights @ effects, weights @ whole))
    return pd.DataFrame(
        {
            "value": values.mean(axis=0),
            "low": low,
            "high": high,
            "normalised": _ratio(effects.mean(axis=0)[None], whole.mean()[None])[0],
            "normalised_low": spread.low,
            "normalised_high": spread.high,
            "corrupted": corrupted.mean(),
            "clean": clean.mean(),
        }
    )


def _ratio(effects: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Effects in units of the whole; NaN where the two runs do not differ at all."""
    return effects / np.where(whole == 0, np.nan, whole)[:, None]


def _labelled(pairs: Sequence[_PromptPair]) -> list[tuple[int, str]]:
    """Each place's position in the (first) corrupted prompt, and the tokens found there.

    Both of them where clean and corrupted differ; where pairs differ, those of the first, and an
    ellipsis.
    """
    found = []
    for i, (_, position) in enumerate(pairs[0].places):
        seen = {(p.clean.pieces[p.places[i][0]], p.corrupted.pieces[p.places[i][1]]) for p in pairs}
        first = pairs[0].places[i]
        clean, corrupted = pairs[0].clean.pieces[first[0]], pairs[0].corrupted.pieces[first[1]]
        label = clean if clean == corrupted else f"{clean} / {corrupted.strip()}"
        found.append((position, label if len(seen) == 1 else f"{label} ..."))
    return found
