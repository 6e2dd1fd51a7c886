"""`evaluate`: plans and tasks in, one tidy table out; `score_items`: the items it rests on."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..errors import TaskError
from ..execution import Plans, as_plan, labels_for
from ..items import joined, summarise
from ..progress import progress
from ..strategies import full
from ..tables import labelled
from .itemised import MEASUREMENTS, TASK_METRICS
from .resuming import Job, pending
from .scoring import Questions, prepare


def evaluate(
    model: TransformerBridge,
    plans: Plans,
    tasks: Sequence[str] | Questions,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Score plans on lm-eval tasks, all plans on the same items in one shared pass.

    `plans` is a list, a dict from label to plan, or an experiment's table, whose labels stay in
    the result. `tasks` are names of loglikelihood or multiple-choice tasks, from the hub, from
    the folder `data`, or built in (`evaluation.PROBES`); or what `prepare` returned. `limit` is
    the number of items per task (all by default). `metrics` are wanted besides the tasks' own:
    `kl`, the KL divergence from the intact model, in nats per token of the items' texts.

    `store` is a folder in which results are kept as they are found. Asked again, of the same
    weights about the same items, only plans that are missing are run, and a run that was cut off
    goes on; what hooks on the model do is not seen by it.

    Returns one row per labelled plan, task and metric: the labels, then model, revision, dtype,
    plan, task, version, metric, value, stderr, n, chance, higher_is_better; the difference to the
    intact model, where it is among the plans: delta, delta_low, delta_high, p, p_adjusted (see
    `items.summarise`); and seed. Raises PlanError, TaskError, UnsupportedModelError, and
    TableError for a file of the store that cannot be read.
    """
    labels = labels_for(model, plans)
    items = score_items(model, labels, tasks, data, limit, num_fewshot, seed, store, metrics)
    return labelled(labels, summarise(items, intact=str(full(len(model.blocks)))))


def score_items(
    model: TransformerBridge,
    plans: Plans,
    tasks: Sequence[str] | Questions,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """What `evaluate` rests on: an item table (see `items`), a row per plan, task, metric, item.

    Takes what `evaluate` takes; each distinct plan is scored once, and labels are left out
    (`tables.labelled` puts them back).
    """
    distinct = [as_plan(text, model) for text in labels_for(model, plans)["plan"].unique()]
    measured = _measured(metrics)
    if isinstance(tasks, Questions):
        parts = [tasks]
    elif store is None or isinstance(tasks, str):
        parts = [prepare(model, tasks, data, limit, num_fewshot, seed)]
    else:  # one by one, so that a task that is kept is not run for another one that is not
        parts = [prepare(model, [name], data, limit, num_fewshot, seed) for name in tasks]
    found: list[pd.DataFrame] = []
    jobs: list[Job] = []
    for name in measured:
        for part in parts:
            if store is None:
                jobs.append(Job(MEASUREMENTS[name], part, distinct))
                continue
            kept, missing = pending(model, distinct, part, name, store)
            found += kept
            jobs += missing
    return joined([*found, *_done(model, jobs)])


def _measured(metrics: Sequence[str]) -> list[str]:
    further = [name for name in MEASUREMENTS if name != TASK_METRICS]
    if isinstance(metrics, str):
        raise TaskError(f"metrics must be a list of names out of {', '.join(further)}")
    for name in metrics:
        if name not in further:
            raise TaskError(
                f"no metric {name!r} can be added to those of the tasks; there is "
                f"{', '.join(further)}"
            )
    return [TASK_METRICS, *dict.fromkeys(metrics)]


def _done(model: TransformerBridge, jobs: Sequence[Job]) -> list[pd.DataFrame]:
    found = []
    total = sum(job.measurement.calls(model, job.plans, job.questions) for job in jobs)
    if not jobs:
        return []
    with progress("scoring", total) as advance:
        for job in jobs:
            items = job.measurement.items(model, job.plans, job.questions, advance)
            job.keep(items)
            found.append(items)
    return found
