"""`classify`: what a linear head makes of the final states under plans, as a table of scores."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import TaskError
from ..execution import as_plan
from ..models import Model, as_model, identity, of_planned
from ..notices import say_nan
from ..plans import Plan
from ..progress import Advance, progress
from ..storage import writable_folder
from ..strategies import full
from ..tables import MODEL, Results, labelled
from ..tables.items import item_table, joined, summarise
from ..tables.labels import Plans, labels_for, with_intact
from .examples import METRICS, Examples, Table, examples
from .features import POOLS as POOLS
from .features import Sequences, final_features, pool_of, sequences
from .heads import STRENGTHS, fitted
from .named import named
from .training import Tuning, refuse_untrainable
from .tuning import tuned_answers, tuning_calls

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
        UnsupportedModelError: with "all", hooks on the model.
        OutputError: a folder of checkpoints that cannot be written.

    Example:
        >>> table = classify(model, ["0 1 3-5"], "probe_acceptability", limit=40)
        >>> table[["plan", "metric", "n"]].values.tolist()
        [['0-5', 'acc', 40], ['0-5', 'mcc', 40], ['0 1 3-5', 'acc', 40], ['0 1 3-5', 'mcc', 40]]
    """
    model = as_model(model)
    labels = labels_for(plans, len(model.blocks))
    if intact:
        labels = with_intact(labels, str(full(len(model.blocks))))
    found = classify_items(model, labels, tasks, data, train, limit, seed, pool=pool, tuning=tuning)
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
    labels = labels_for(plans, len(model.blocks))
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    chosen = [task.limited(limit, seed) for task in all_examples(tasks, data)]
    read = [[sequences(model, part.texts) for part in (t.train, t.scored)] for t in chosen]
    total = sum(_calls(distinct, learnt, scored, recipe) for learnt, scored in read)
    with progress("classifying", total) as advance:
        parts = [
            _items(model, distinct, task, learnt, scored, pool, seed, recipe, advance)
            for task, (learnt, scored) in zip(chosen, read, strict=True)
        ]
    return joined(parts)


def _recipe(model: TransformerBridge, train: str, tuning: Tuning | None) -> Tuning | None:
    """How all weights are trained; None for a frozen model."""
    if train == "head":
        if tuning is not None:
            raise TaskError('tuning=... says how all weights are trained; add train="all"')
        return None
    refuse_untrainable(model)
    recipe = tuning or Tuning()
    if recipe.folder is not None:
        writable_folder(recipe.folder)
    return recipe


def _calls(
    plans: Sequence[Plan], learnt: Sequences, scored: Sequences, recipe: Tuning | None
) -> int:
    if recipe is None:
        return learnt.calls(plans) + scored.calls(plans)
    return sum(tuning_calls(recipe, plan, learnt, scored) for plan in plans)


def all_examples(tasks: Tasks, data: str | Path | None = None) -> list[Examples]:
    """The examples that `tasks` mean, each under a name of its own. Raises TaskError."""
    if isinstance(tasks, Mapping):
        found = [examples(table, name=str(name)) for name, table in tasks.items()]
    else:
        kinds = (str, Path, pd.DataFrame, Examples)
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


def _items(
    model: TransformerBridge,
    plans: Sequence[Plan],
    task: Examples,
    learnt: Sequences,
    scored: Sequences,
    pool: str,
    seed: int,
    recipe: Tuning | None,
    advance: Advance,
) -> pd.DataFrame:
    """The item table of one task."""
    if recipe is None:
        answers = _of_heads(model, plans, task, learnt, scored, pool, seed, advance)
    else:
        answers = [
            tuned_answers(model, plan, task, learnt, scored, pool, seed, recipe, advance)
            for plan in plans
        ]
    broken = sum(bool(np.isnan(some).any()) for some in answers)
    say_nan(f"task {task.name!r}: an answer", broken, len(plans), "plans")
    parts = [
        part.assign(plan=str(plan))
        for plan, some in zip(plans, answers, strict=True)
        for part in _rows(task, some)
    ]
    facts = {name: fact for name, fact in identity(model).items() if name in MODEL}
    named = {"task": task.name, "version": task.version}
    rows = pd.concat(parts, ignore_index=True).assign(**facts, **named, seed=seed)
    cut = dict(zip(task.scored.rows.tolist(), scored.truncated.tolist(), strict=True))
    asked = _digest(task, pool, recipe)
    return item_table(rows.assign(requests=asked, truncated=rows["item"].map(cut)))


def _of_heads(
    model: TransformerBridge,
    plans: Sequence[Plan],
    task: Examples,
    learnt: Sequences,
    scored: Sequences,
    pool: str,
    seed: int,
    advance: Advance,
) -> list[Float[np.ndarray, " question"]]:
    """Answers under each plan: features of all plans, then a head for each."""
    trained = final_features(model, plans, learnt, pool, advance)
    asked = final_features(model, plans, scored, pool, advance)
    return [
        _answers(task, features, questions, seed)
        for features, questions in zip(trained, asked, strict=True)
    ]


def _answers(
    task: Examples,
    features: Float[np.ndarray, "text d_model"],
    questions: Float[np.ndarray, "question d_model"],
    seed: int,
) -> Float[np.ndarray, " question"]:
    """A head's answers; NaN to what is not finite, and to all where what it learns from is not."""
    answers = _no_answers(task)
    if not np.isfinite(features).all():
        return answers
    head = fitted(features, task.train.right, len(task.classes), seed)
    known = np.isfinite(questions).all(axis=1)
    if known.any():
        answers[known] = head.answers(questions[known])
    return answers


def _no_answers(task: Examples) -> Float[np.ndarray, " question"]:
    return np.full(len(task.scored), np.nan)


def _rows(task: Examples, answers: Float[np.ndarray, " question"]) -> list[pd.DataFrame]:
    """What each metric of the task says of each answer."""
    right, unknown = task.scored.right, np.isnan(answers)
    alone = np.where(unknown, np.nan, answers == right)
    nothing = np.full(len(right), np.nan)
    return [
        pd.DataFrame(
            {
                "metric": metric,
                "item": task.scored.rows,
                "value": alone if metric == "acc" else answers,
                "reference": nothing if metric == "acc" else right,
                "chance": _chance(task, metric),
                "aggregation": METRICS[metric],
                "higher_is_better": True,
            }
        )
        for metric in task.metrics
    ]


def _chance(task: Examples, metric: str) -> Float[np.ndarray, " question"]:
    """What is reached by always answering the majority of what is learnt from, item by item."""
    right = task.scored.right
    if metric not in ("acc", "f1"):
        return np.zeros(len(right))
    values, counts = np.unique(task.train.right, return_counts=True)
    hit = right == values[counts.argmax()]
    if metric == "acc":
        return np.asarray(hit, dtype=float)
    share = hit.mean() if values[counts.argmax()] == 1 else 0.0
    return np.full(len(right), 2 * share / (1 + share))


def _digest(task: Examples, pool: str, recipe: Tuning | None) -> str:
    """What was asked, and what is trained how: items of two runs are the same only if it is."""
    how = STRENGTHS if recipe is None else recipe
    return hashlib.sha256(f"{task.digest()} {pool} {how}".encode()).hexdigest()[:16]
