"""`evaluate`: plans and tasks in, one tidy table out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError, TaskError
from ..execution import as_plan
from ..models import identity
from ..plans import Plan
from ..progress import progress
from ..tables import MEASURED, MODEL, require, typed
from .metrics import metrics
from .questions import Questions, prepare
from .responses import Answers
from .scoring import score

Plans = Sequence[Plan | str] | Mapping[str, Plan | str] | pd.DataFrame


def evaluate(
    model: TransformerBridge,
    plans: Plans,
    tasks: Sequence[str] | Questions,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    cache: str = "exact",
) -> pd.DataFrame:
    """Score plans on lm-eval tasks, all plans on the same items in one shared pass.

    `plans` is a list, a dict from label to plan, or an experiment's table, whose labels stay in
    the result. `tasks` are names of lm-eval tasks, from the hub, from the folder `data`, or
    built in (`evaluation.PROBES`); or what `prepare` returned. `limit` is the number of items per
    task (all by default). `cache="averaged"` writes texts as the paper's code does (see
    `applied`); log-likelihoods are computed in one pass and know no cache, so it is refused where
    no task writes text. Where one does, a column `cache` says which it was.

    Returns one row per labelled plan, task and metric: the labels, then model, revision, dtype,
    plan, task, version, metric, value, stderr, n, chance, higher_is_better, seed. Raises
    PlanError, TaskError and UnsupportedModelError.
    """
    labels = _labelled(model, plans)
    distinct = {text: as_plan(text, model) for text in labels["plan"]}
    if not isinstance(tasks, Questions):
        tasks = prepare(model, tasks, data, limit, num_fewshot, seed)
    if cache != "exact" and not tasks.prompts.requests:
        raise TaskError(
            f"cache={cache!r} changes how texts are written, and none of these tasks writes any; "
            "leave it out"
        )
    values = list(distinct.values())
    with progress("scoring", tasks.calls(values)) as advance:
        answers = score(model, values, tasks, advance, cache)
    rows = [row for i, text in enumerate(distinct) for row in _rows(text, i, tasks, answers)]
    facts = {name: fact for name, fact in identity(model).items() if name in MODEL}
    results = pd.DataFrame(rows).assign(**facts, seed=tasks.seed)
    results = results.astype({"stderr": float, "chance": float})  # None to NaN, also in all rows
    if tasks.prompts.requests:
        labels = labels.assign(cache=cache)
    return typed(labels.merge(results, on="plan", how="left")[_columns(labels)])


def _labelled(model: TransformerBridge, plans: Plans) -> pd.DataFrame:
    """A table with a canonical plan per row, and whatever labels came with it.

    What an earlier evaluation measured is no label, so its table can be evaluated again.
    """
    if isinstance(plans, pd.DataFrame):
        require(plans, "plan")
        measured = [c for c in plans if c in (*MEASURED, "cache") and c != "plan"]
        table = plans.drop(columns=measured).drop_duplicates() if measured else plans
    elif isinstance(plans, Mapping):
        table = pd.DataFrame({"label": list(plans), "plan": list(plans.values())})
    else:
        table = pd.DataFrame({"plan": list(plans)}, dtype=object)
    if table.empty:
        raise PlanError("no plans; give at least one, such as the intact model's")
    return table.assign(plan=[str(as_plan(plan, model)) for plan in table["plan"]])


def _columns(labels: pd.DataFrame) -> list[str]:
    return [*(str(c) for c in labels if c not in MEASURED), *MEASURED]


def _rows(
    plan: str, index: int, questions: Questions, answers: Answers
) -> Iterator[dict[str, Any]]:
    start = 0
    for task in questions.tasks:
        span = slice(start, start := start + len(task.instances))
        given = answers.responses(index, questions.readings[span])
        named = {"plan": plan, "task": task.config.task, "version": str(task.VERSION)}
        for metric in metrics(task, given):
            found = asdict(metric)
            yield {**named, "metric": found.pop("name"), **found}
