"""`evaluate`: plans and tasks in, one tidy table out; `score_items`: the items it rests on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..execution import Plans, as_plan, labels_for
from ..items import item_table, summarise
from ..models import identity
from ..plans import Plan, shared_calls
from ..progress import Advance, progress
from ..strategies import full
from ..tables import MODEL, labelled
from .metrics import Metric, metrics
from .requests import digest
from .scoring import Answers, Questions, prepare, score

def evaluate(
    model: TransformerBridge,
    plans: Plans,
    tasks: Sequence[str] | Questions,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Score plans on lm-eval tasks, all plans on the same items in one shared pass.

    `plans` is a list, a dict from label to plan, or an experiment's table, whose labels stay in
    the result. `tasks` are names of loglikelihood or multiple-choice tasks, from the hub, from
    the folder `data`, or built in (`evaluation.PROBES`); or what `prepare` returned. `limit` is
    the number of items per task (all by default).

    Returns one row per labelled plan, task and metric: the labels, then model, revision, dtype,
    plan, task, version, metric, value, stderr, n, chance, higher_is_better, seed, and before the
    seed the difference to the intact model, where it is among the plans: delta, delta_low,
    delta_high, p, p_adjusted (see `items.summarise`). Raises PlanError, TaskError and
    UnsupportedModelError.
    """
    labels = labels_for(model, plans)
    items = score_items(model, labels, tasks, data, limit, num_fewshot, seed)
    return labelled(labels, summarise(items, intact=str(full(len(model.blocks)))))


def score_items(
    model: TransformerBridge,
    plans: Plans,
    tasks: Sequence[str] | Questions,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What `evaluate` rests on: an item table (see `items`), a row per plan, task, metric, item.

    Takes what `evaluate` takes; each distinct plan is scored once, and labels are left out
    (`tables.labelled` puts them back).
    """
    labels = labels_for(model, plans)
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    if not isinstance(tasks, Questions):
        tasks = prepare(model, tasks, data, limit, num_fewshot, seed)
    with progress("scoring", tasks.tokens * shared_calls(distinct)) as advance:
        return _scored(model, distinct, tasks, advance)


def _scored(
    model: TransformerBridge, plans: Sequence[Plan], questions: Questions, advance: Advance
) -> pd.DataFrame:
    answers = score(model, plans, questions, advance)
    asked = {task.config.task: digest(task) for task in questions.tasks}
    parts = [
        _rows(metric).assign(plan=str(plan), task=task, version=version, requests=asked[task])
        for index, plan in enumerate(plans)
        for task, version, found in _metrics(index, questions, answers)
        for metric in found
    ]
    facts = {name: fact for name, fact in identity(model).items() if name in MODEL}
    return item_table(pd.concat(parts, ignore_index=True).assign(**facts, seed=questions.seed))


def _metrics(
    index: int, questions: Questions, answers: Answers
) -> Iterator[tuple[str, str, list[Metric]]]:
    """Name, version and metrics of every task under one plan."""
    start = 0
    for task in questions.tasks:
        span = slice(start, start := start + len(task.instances))
        given = zip(
            answers.loglikelihood[index, span].tolist(),
            answers.greedy[index, span].tolist(),
            strict=True,
        )
        yield task.config.task, str(task.VERSION), metrics(task, list(given))


def _rows(metric: Metric) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": metric.name,
            "item": metric.items,
            "value": metric.values,
            "reference": metric.reference,
            "chance": metric.chance,
            "aggregation": metric.aggregation,
            "higher_is_better": metric.higher_is_better,
        }
    )
