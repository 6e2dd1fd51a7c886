"""`evaluate`: plans and tasks in, one tidy table out; `score_items`: the items it rests on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import TaskError
from ..execution import as_plan
from ..models import Model, as_model, of_planned
from ..progress import progress
from ..strategies import full
from ..tables import Results, labelled
from ..tables.items import joined, summarise
from ..tables.labels import Plans, labels_for, with_intact
from .harness.included import Include
from .harness.own import OwnTask
from .jobs import Job, archive_for, pending
from .measurements import MEASUREMENTS, TASK_METRICS
from .questions import Questions, prepare

Tasks = str | OwnTask | Sequence[str | OwnTask] | Questions


@of_planned
@counting(limit=1, num_fewshot=0, seed=0)
def evaluate(
    model: Model,
    plans: Plans,
    tasks: Tasks,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    cache: str = "exact",
    store: str | Path | None = None,
    metrics: str | Sequence[str] = (),
    intact: bool = True,
    *,
    include: Include = None,
    trust: bool = False,
    chat: bool = False,
) -> pd.DataFrame:
    """Score plans on lm-eval tasks, all plans on the same items in one shared pass.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: A plan, a list, a dict from label to plan, or an experiment's table, whose labels
            stay in the result.
        tasks: Names of lm-eval tasks, from the hub, from the folder `data`, or built in
            (`evaluation.PROBES`), or paths of tasks' YAML files; tasks of your own, as
            `painters.task` makes them; or what `prepare` returned.
        data: A folder with a folder per task, which holds `<split>.jsonl`.
        limit: The number of items per task, below 1 a share of them; all by default.
        num_fewshot: How many solved examples stand before each item; the task's own number by
            default.
        seed: Of the choice of items and examples, and of the bootstrap.
        cache: "exact", or "averaged" to write texts as the paper's code does (see `applied`).
            Log-likelihoods are computed in one pass and know no cache, so that is refused where no
            task writes text. Where one does, a column `cache` says which it was.
        store: A folder in which results are kept as they are found. Asked again, of the same
            weights about the same items, only plans that are missing are run, and a run that was
            cut off goes on. Refused with hooks on the model, which it would not see. A file of the
            store that is damaged is named in a warning, and its plans are run again.
        metrics: Wanted besides the tasks' own: `kl`, the KL divergence from the intact model, in
            nats per token of the items' texts.
        intact: Whether the intact model is scored, too; without it there are no differences.
        include: Folders with tasks as lm-eval's YAML files.
        trust: Whether code that such a file brings may run; without it the task is refused.
        chat: Whether prompts are put into the tokenizer's chat template, shots as turns, as lm-eval
            does.

    Returns:
        One row per labelled plan, task and metric: the labels, then model, revision, dtype, plan,
        task, version, metric, value, stderr, n, n_truncated (how many of the n lost tokens on the
        left to fit in the context), chance, higher_is_better; the difference to the intact model:
        delta, delta_low, delta_high, p, p_adjusted (see `items.summarise`); and seed. The intact
        model comes first where it is not among the plans.

    Raises:
        PlanError: a plan that the model cannot run.
        TaskError: a task, its data or an option that is none.
        UnsupportedModelError: a model without next-token probabilities, or with hooks and a store.

    Example:
        >>> evaluate(model, {"skip": plan}, "probe_facts", limit=2)["label"].unique().tolist()
        ['intact', 'skip']
    """
    model = as_model(model)
    labels = _labels(model, plans, intact)
    asked: dict[str, Any] = {"data": data, "limit": limit, "num_fewshot": num_fewshot}
    asked |= {"include": include, "trust": trust, "chat": chat}
    parts = _questions(model, tasks, seed, asked, one_by_one=store is not None)
    items = _items(model, labels, parts, cache, store, metrics)
    return _results(model, labels, parts, items, cache)


@of_planned
@counting(limit=1, num_fewshot=0, seed=0)
def score_items(
    model: Model,
    plans: Plans,
    tasks: Tasks,
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    cache: str = "exact",
    store: str | Path | None = None,
    metrics: str | Sequence[str] = (),
    intact: bool = True,
    *,
    include: Include = None,
    trust: bool = False,
    chat: bool = False,
) -> pd.DataFrame:
    """What `evaluate` rests on: an item table (see `items`), a row per plan, task, metric, item.

    Each distinct plan is scored once, and labels are left out (`tables.labelled` puts them back).

    Args:
        model: As for all arguments, see `evaluate`.
        plans: As there.
        tasks: As there.
        data: As there.
        limit: As there.
        num_fewshot: As there.
        seed: As there.
        cache: As there.
        store: As there.
        metrics: As there.
        intact: As there.
        include: As there.
        trust: As there.
        chat: As there.

    Returns:
        The item table.

    Raises:
        PlanError: a plan that the model cannot run.
        TaskError: a task, its data or an option that is none.
        UnsupportedModelError: a model without next-token probabilities.

    Example:
        >>> score_items(model, plan, "probe_facts", limit=2)["item"].nunique()
        2
    """
    model = as_model(model)
    labels = _labels(model, plans, intact)
    asked: dict[str, Any] = {"data": data, "limit": limit, "num_fewshot": num_fewshot}
    asked |= {"include": include, "trust": trust, "chat": chat}
    parts = _questions(model, tasks, seed, asked, one_by_one=store is not None)
    return _items(model, labels, parts, cache, store, metrics)


def results(
    model: Model,
    plans: Plans,
    questions: Questions,
    items: pd.DataFrame,
    cache: str = "exact",
) -> pd.DataFrame:
    """What `evaluate` returns, from what `score_items` returned for the same arguments.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: As in `evaluate`.
        questions: What `prepare` returned.
        items: What `score_items` returned.
        cache: As in `evaluate`.

    Returns:
        A row per labelled plan, task and metric.

    Example:
        >>> questions = painters.evaluation.prepare(model, "probe_facts", limit=2)
        >>> rows = score_items(model, plan, questions)
        >>> results(model, plan, questions, rows)["plan"].unique().tolist()
        ['0-2 5']
    """
    model = as_model(model)
    return _results(model, labels_for(plans, len(model.blocks)), [questions], items, cache)


def _labels(model: TransformerBridge, plans: Plans, intact: bool) -> pd.DataFrame:
    labels = labels_for(plans, len(model.blocks))
    return with_intact(labels, str(full(len(model.blocks)))) if intact else labels


def _results(
    model: TransformerBridge,
    labels: pd.DataFrame,
    parts: Sequence[Questions],
    items: pd.DataFrame,
    cache: str,
) -> pd.DataFrame:
    if any(part.prompts.requests for part in parts):
        labels = labels.assign(cache=cache)
    return Results(labelled(labels, summarise(items, intact=str(full(len(model.blocks))))))


def _questions(
    model: TransformerBridge, tasks: Tasks, seed: int, asked: Mapping[str, Any], one_by_one: bool
) -> list[Questions]:
    """The tasks, all together or one by one: then one that is kept is not run for another."""
    if isinstance(tasks, Questions):
        for name, value in asked.items():
            if value not in (None, False):
                raise TaskError(
                    f"{name}={value!r} applies before tasks are prepared; give it to prepare"
                )
        return [tasks]
    names = several(tasks, str, OwnTask, Mapping, Path, pd.DataFrame)
    groups = [[name] for name in names] if one_by_one else [names]
    return [prepare(model, group, seed=seed, **asked) for group in groups]


def _items(
    model: TransformerBridge,
    labels: pd.DataFrame,
    parts: Sequence[Questions],
    cache: str,
    store: str | Path | None,
    metrics: str | Sequence[str],
) -> pd.DataFrame:
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    measured = _measured(metrics)
    _refuse_idle_cache(parts, cache)
    found: list[pd.DataFrame] = []
    jobs: list[Job] = []
    archive = None if store is None else archive_for(model, store)
    for name in measured:
        for part in parts:
            if archive is None:
                jobs.append(Job(MEASUREMENTS[name], part, distinct, cache))
                continue
            kept, missing = pending(model, distinct, part, name, cache, archive)
            found += kept
            jobs += missing
    return joined([*found, *_done(model, jobs)])


def _refuse_idle_cache(parts: Sequence[Questions], cache: str) -> None:
    if cache != "exact" and not any(part.prompts.requests for part in parts):
        raise TaskError(
            f"cache={cache!r} changes how texts are written, and none of these tasks writes any; "
            "leave it out"
        )


def _measured(metrics: str | Sequence[str]) -> list[str]:
    further = [name for name in MEASUREMENTS if name != TASK_METRICS]
    names = several(metrics)
    for name in names:
        if name not in further:
            raise TaskError(
                f"no metric {name!r} can be added to those of the tasks; there is "
                f"{', '.join(further)}"
            )
    return [TASK_METRICS, *dict.fromkeys(names)]


def _done(model: TransformerBridge, jobs: Sequence[Job]) -> list[pd.DataFrame]:
    found = []
    total = sum(job.measurement.calls(model, job.plans, job.questions) for job in jobs)
    if not jobs:
        return []
    with progress("scoring", total) as advance:
        for job in jobs:
            items = job.measurement.items(model, job.plans, job.questions, job.cache, advance)
            job.keep(items)
            found.append(items)
    return found
