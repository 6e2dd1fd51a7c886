"""`classify`: what a linear head makes of the final states under plans, as a table of scores."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import TaskError
from ..execution import Archive, as_plan
from ..models import Model, as_model, of_planned
from ..notices import say_nan
from ..plans import Plan
from ..progress import progress
from ..storage import Shelf, writable_folder
from ..strategies import full
from ..tables import Results, labelled
from ..tables.items import joined, summarise
from ..tables.labels import Plans, labels_for, with_intact
from .examples import Examples, Table, examples
from .features import POOLS as POOLS
from .features import pool_of
from .lessons import DECISIVE, Lesson
from .named import named
from .training import Tuning, refuse_untrainable

Task = str | Path | pd.DataFrame | Examples
Tasks = Task | Sequence[Task] | Mapping[str, Table]
_TRAINED = ("head", "all")


@of_planned
@counting(limit=1, seed=0)
def classify(
    model: Model,
    plans: Plans,
    tasks: Tasks,
    data: str | Path | None = None,
    train: str = "head",
    limit: int | float | None = None,
    seed: int = 0,
    *,
    pool: str | None = None,
    intact: bool = True,
    tuning: Tuning | None = None,
    store: str | Path | None = None,
) -> pd.DataFrame:
    """Score plans by what a linear head learns to read from the frozen model's final states.

    Every plan gets heads of its own, trained on the states under that plan (the paper's appendix
    A.9): logistic regression, ridge regression for numbers, on standardised states, its strength
    chosen on a fifth of the training set. The states of all plans come from one shared pass.

    Args:
        model: an encoder or a decoder, frozen; see `as_model`.
        plans: a list, a dict from label to plan, or an experiment's table, whose labels stay in
            the result.
        tasks: names (`learning.TASKS`: `probe_acceptability`, which is built in, or GLUE's, which
            are read from `data` or the hub); tables of your own, as `learning.examples` takes
            them: DataFrames, .csv, .jsonl; a dict from name to such a table; what `examples`
            returned.
        data: a folder with one folder per task, in it `train.jsonl` and `validation.jsonl`.
        train: "head", or "all": for each plan a copy of the model is fine-tuned, with the altered
            execution in place, and the intact model likewise; gradients go through the plan.
        limit: how many examples to learn from, and how many to score, at most; below 1 a share of
            them; all by default. Drawn with `seed`.
        seed: of what is drawn by chance.
        pool: which of a text's final states: "mean" of all (for encoders, unless given), "last"
            (for decoders) or "first".
        intact: whether the intact model comes first where it is not among the plans.
        tuning: how all weights are trained (`learning.Tuning`): epochs, rate, batch, and a folder
            for checkpoints.
        store: a folder in which answers are kept as they are found: of all plans in a task for
            heads, of each plan with "all". Asked again, of the same weights about the same
            examples and settings, only what is missing is learnt. Refused with hooks on the model.

    Returns:
        The table that `evaluate` returns: one row per labelled plan, task and metric of the task
        (Matthews' correlation for CoLA, F1 and accuracy for MRPC, Pearson's and Spearman's for
        STS-B, accuracy for the others), with standard errors, `chance` (always answering the
        majority of the training set), and the paired difference to the intact model. Intervals
        are over what is scored; heads trained on other examples would differ by more.

    Raises:
        TaskError: no such task, no data, no such column, labels that are missing or of one class.
        PlanError: no plans, or one of another depth.
        ModelError: a pool that is none; with "all", half precision.
        UnsupportedModelError: with "all" or a store, hooks on the model.
        OutputError: a folder of checkpoints, or a store, that cannot be written.

    Example:
        >>> table = classify(model, ["0 1 3-5"], "probe_acceptability", limit=40)
        >>> table[["plan", "metric", "n"]].values.tolist()
        [['0-5', 'acc', 40], ['0-5', 'mcc', 40], ['0 1 3-5', 'acc', 40], ['0 1 3-5', 'mcc', 40]]
    """
    model = as_model(model)
    labels = labels_for(plans, len(model.blocks))
    if intact:
        labels = with_intact(labels, str(full(len(model.blocks))))
    own: dict[str, Any] = {"pool": pool, "tuning": tuning, "store": store}
    found = classify_items(model, labels, tasks, data, train, limit, seed, **own)
    return Results(labelled(labels, summarise(found, intact=str(full(len(model.blocks))))))


@of_planned
@counting(limit=1, seed=0)
def classify_items(
    model: Model,
    plans: Plans,
    tasks: Tasks,
    data: str | Path | None = None,
    train: str = "head",
    limit: int | float | None = None,
    seed: int = 0,
    *,
    pool: str | None = None,
    tuning: Tuning | None = None,
    store: str | Path | None = None,
) -> pd.DataFrame:
    """What `classify` rests on: an item table (see `tables.items`), without labels.

    `item` is a row of the table of examples. For mcc, f1, pearson and spearman `value` is the
    answer and `reference` what is right.

    Args:
        model: As for all arguments, see `classify`.
        plans: As there.
        tasks: As there.
        data: As there.
        train: As there.
        limit: As there.
        seed: As there.
        pool: As there.
        tuning: As there.
        store: As there.

    Returns:
        The item table.

    Raises:
        PlanError: a plan that the model cannot run.
        TaskError: a task, its data or an option that is none.

    Example:
        >>> found = classify_items(model, plan, "probe_acceptability", limit=8)
        >>> found["item"].nunique()
        8
    """
    model = as_model(model)
    if train not in _TRAINED:
        raise TaskError(f"train={train!r} is not one of {', '.join(_TRAINED)}")
    recipe = _recipe(model, train, tuning)
    pool = pool_of(model, pool)
    archive = None if store is None else Archive.of(model, writable_folder(store), DECISIVE)
    labels = labels_for(plans, len(model.blocks))
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    chosen = [task.limited(limit, seed) for task in all_examples(tasks, data)]
    lessons = [Lesson.of(model, task, pool, seed, recipe) for task in chosen]
    found = joined(_learnt(lessons, distinct, archive))
    _say_unknown(found)
    return found


def _learnt(
    lessons: Sequence[Lesson], plans: Sequence[Plan], archive: Archive | None
) -> list[pd.DataFrame]:
    """The items of all lessons: those that are kept, and those of plans that are missing."""
    found: list[pd.DataFrame] = []
    todo: list[tuple[Lesson, list[Plan], Shelf | None]] = []
    for lesson in lessons:
        shelf = None if archive is None else lesson.shelf(archive)
        kept = None if shelf is None else shelf.read()
        there = set() if kept is None else {*kept["plan"]}
        if kept is not None:
            found.append(kept[kept["plan"].isin([str(plan) for plan in plans])])
        missing = [plan for plan in plans if str(plan) not in there]
        todo += [(lesson, group, shelf) for group in lesson.groups(missing)]
    if not todo:
        return found
    with progress("classifying", sum(lesson.calls(group) for lesson, group, _ in todo)) as advance:
        for lesson, group, shelf in todo:
            items = lesson.items(group, advance)
            if shelf is not None:
                shelf.write(items)
            found.append(items)
    return found


def _say_unknown(items: pd.DataFrame) -> None:
    """Warn of plans that leave an answer unknown, task by task."""
    for task, rows in items.groupby("task", observed=True, sort=False):
        known = rows["value"].notna().groupby(rows["plan"], observed=True).all()
        say_nan(f"task {task!r}: an answer", int((~known).sum()), len(known), "plans")


def _recipe(model: TransformerBridge, train: str, tuning: Tuning | None) -> Tuning | None:
    """How all weights are trained; None for a frozen model."""
    if train == "head":
        if tuning is not None:
            raise TaskError('tuning=... says how all weights are trained; add train="all"')
        return None
    refuse_untrainable(model)
    recipe = tuning or Tuning()
    recipe.refuse_unwritable()
    return recipe


def all_examples(tasks: Tasks, data: str | Path | None = None) -> list[Examples]:
    """The examples that `tasks` mean, each under a name of its own. Raises TaskError."""
    if isinstance(tasks, Mapping):
        found = [examples(table, name=str(name)) for name, table in tasks.items()]
    else:
        kinds = (str, Path, pd.DataFrame, Examples)
        if not isinstance(tasks, (*kinds, Iterable)):
            raise TaskError(f"{str(tasks)[:60]!r} is no task; give a name, a table or a file")
        found = [_examples(task, data) for task in several(tasks, *kinds)]
    if not found:
        raise TaskError("no tasks; give at least one")
    names = [task.name for task in found]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"two tasks are called {double!r}; give a dict from name to table")
    return found


def _examples(task: Any, data: str | Path | None) -> Examples:
    if isinstance(task, Examples):
        return task
    if isinstance(task, pd.DataFrame | Path) or str(task).endswith((".csv", ".jsonl")):
        return examples(task)
    if not isinstance(task, str):
        raise TaskError(f"{str(task)[:60]!r} is no task; give a name, a table or a file")
    return named(task, data)
