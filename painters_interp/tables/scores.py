"""The paper's scale with intervals, and choices that are not judged by the items they were made on.

From a result table and the items that it rests on; no model is needed.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from jaxtyping import Float

from .. import statistics
from ..arguments import counting, several
from ..errors import TableError
from ..notices import warn
from .columns import MODEL, TASK, TASK_RUN, require, typed
from .items import joined, runs, summarise
from .labels import labelled, labels_of
from .results import is_intact, median_over_tasks, on_scale, primary, scaled, scored, unscaled
from .runs import Run

# Of one model, over all tasks.
_WITHIN = (*MODEL, "seed")
Resampled = Float[np.ndarray, "resample"]


@counting(seed=0)
def score_intervals(table: pd.DataFrame, items: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The primary metrics of `table`, normalised, with `score_low` and `score_high`.

    95 % bootstrap intervals: items are drawn anew for the plan, the intact model and chance
    together (`runs.Run.resampled_against`).

    Args:
        table: A result table.
        items: The items that it rests on.
        seed: Of the bootstrap.

    Returns:
        What `tables.normalise` returns, with the two ends. They are NaN for a single item, and
        where the intact model is not above chance in 97.5 % of the samples, for then there is no
        scale.

    Raises:
        TableError: as `tables.normalise`, and where `items` lacks a row of the table.

    Example:
        >>> found = score_intervals(table, answers)
        >>> found["score_low"].le(found["score"]).tolist()
        [True, True]
    """
    rows = scored(table)
    found = _resampled(rows, items, seed)
    samples = [found[key] for key in _keys(rows, TASK_RUN)]
    low, high = statistics.percentiles(np.stack(samples, axis=1))
    return rows.assign(score_low=low, score_high=high)


@counting(seed=0)
def median_intervals(table: pd.DataFrame, items: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """`tables.median_over_tasks` of the scores, with `score_low` and `score_high`.

    95 % bootstrap intervals of the median: the items of all tasks are drawn anew at once, each
    task's on their own, for all plans together. NaN where one of its scores has none; tasks
    without a scale do not count. The tasks are taken as given; how another choice of tasks would
    have come out is not in it.

    Args:
        table: A result table.
        items: The items that it rests on.
        seed: Of the bootstrap.

    Returns:
        A row per labelled plan.

    Raises:
        TableError: as `score_intervals` and `tables.median_over_tasks`.

    Example:
        >>> median_intervals(table, answers)["score"].tolist()
        [1.0, 0.4]
    """
    medians, samples = resampled_medians(table, items, seed)
    low, high = statistics.percentiles(samples)
    return medians.assign(score_low=low, score_high=high)


@counting(seed=0)
def resampled_medians(
    table: pd.DataFrame, items: pd.DataFrame, seed: int = 0
) -> tuple[pd.DataFrame, Float[np.ndarray, "resample row"]]:
    """`tables.median_over_tasks` of the scores, and the same on bootstrap samples of the items.

    The samples are those that `median_intervals` rests on: of all rows together, so that what is
    computed from several of them stays paired.

    Args:
        table: A result table.
        items: The items that it rests on.
        seed: Of the bootstrap.

    Returns:
        The medians, a row per labelled plan, and their values on the samples, shape (resample,
        row).

    Raises:
        TableError: as `median_intervals`.

    Example:
        >>> medians, samples = resampled_medians(table, answers)
        >>> samples.shape[1] == len(medians)
        True
    """
    rows = scored(table)
    counted = scaled(rows)
    rows = counted if len(counted) else rows
    found = _resampled(rows, items, seed)
    of_plan: dict[tuple[object, ...], list[Resampled]] = {}
    for key in dict.fromkeys(_keys(rows, TASK_RUN)):
        *measure, plan = key
        named = dict(zip(TASK_RUN, measure, strict=True))
        of_plan.setdefault((*(named[c] for c in _WITHIN), plan), []).append(found[key])
    medians = median_over_tasks(rows)
    samples = [np.median(of_plan[key], axis=0) for key in _keys(medians, _WITHIN)]
    return medians, np.stack(samples, axis=1)


def _keys(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[object, ...]]:
    require(table, "plan", *columns)
    rows = table[[*columns, "plan"]].astype(object).itertuples(index=False, name=None)
    return [tuple(map(_plain, row)) for row in rows]


def _plain(value: Any) -> Any:
    """A value as the same one after it went through CSV, which takes the version "1" for 1."""
    if pd.isna(value):
        return None
    try:
        return float(value)
    except ValueError:
        return value


def _resampled(
    table: pd.DataFrame, items: pd.DataFrame, seed: int
) -> dict[tuple[object, ...], Resampled]:
    """Bootstrap samples of the score for every (measure, plan) of the table."""
    keys = _keys(table, TASK_RUN)
    measures, intact = {key[:-1] for key in keys}, _intact(table)
    found: dict[tuple[object, ...], Resampled] = {}
    for run in runs(items[items["task"].isin(table["task"].unique())]):
        measure = tuple(_plain(run.facts[c]) for c in TASK_RUN)
        if measure not in measures:
            continue
        scores = _scale(run, intact[measure], seed)
        for place, plan in enumerate(run.plans):
            if (key := (*measure, _plain(plan))) in found:
                raise TableError(
                    f"task {run.facts['task']!r}: plan {plan!r} was scored on two sets of items; "
                    "keep those that the table is of"
                )
            found[key] = scores[:, place]
    for key in keys:
        if key not in found:
            named = dict(zip((*TASK_RUN, "plan"), key, strict=True))
            raise TableError(
                f"no items of plan {named['plan']!r}, task {named['task']!r}, metric "
                f"{named['metric']!r}; give the items that the table is of"
            )
    return found


def _intact(table: pd.DataFrame) -> dict[tuple[object, ...], object]:
    """The plan of the intact model for every measure."""
    return {key[:-1]: key[-1] for key in _keys(table[is_intact(table)], TASK_RUN)}


def _scale(run: Run, intact: object, seed: int) -> Float[np.ndarray, "resample plan"]:
    plans = [*map(_plain, run.plans)]
    if intact not in plans:
        raise TableError(f"task {run.facts['task']!r}: no items of the intact model, {intact!r}")
    base = plans.index(intact)
    values, chance = run.resampled_against(base, seed)
    chance = chance[:, None]
    unit = values[:, [base]] - chance
    unscaled = unit <= 0
    if unscaled.mean() > (1 - statistics.LEVEL) / 2:
        return np.full_like(values, np.nan)
    # Samples without a scale could be anything: half of them at each end.
    ends = np.where(np.arange(len(unit)) % 2, np.inf, -np.inf)[:, None]
    scores = (values - chance) / np.where(unscaled, 1.0, unit)
    return np.where(unscaled, ends, scores)


@counting(seed=0)
def halves(items: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables with a random half of every task's items each, the same for all plans.

    Args:
        items: An item table.
        seed: With the task's name, of the draw, which depends on the set of items alone.

    Returns:
        The two item tables; of an odd number of items the second has one more.

    Raises:
        TableError: for a task of a single item.

    Example:
        >>> first, second = halves(answers)
        >>> first["item"].nunique(), second["item"].nunique()
        (4, 4)
    """
    require(items, "task", "item")
    first, numbers = np.zeros(len(items), dtype=bool), items["item"].to_numpy(dtype=int)
    for task, places in items.groupby("task", observed=True).indices.items():
        known = np.unique(numbers[places])
        if len(known) < 2:
            raise TableError(f"task {task!r} has one item, which cannot be halved")
        order = np.random.default_rng(crc32(f"{seed} {task}".encode())).permutation(known)
        first[places] = np.isin(numbers[places], order[: len(order) // 2])
    return items[first], items[~first]


@counting(seed=0)
def select_and_report(
    table: pd.DataFrame, items: pd.DataFrame, by: str | Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """The best plan of each group `by`, chosen on half of the items and judged on the others.

    For example the number of loops k for every number M of affected layers (Fig. 10):
    `select_and_report(table, items, by="affected")`. The best of many plans is partly the
    luckiest; on items that did not choose it, luck does not repeat.

    A task on which the intact model is not above chance on one half of the items is left out
    there, with a warning: of the choice, or of the judgement. Where no task is left to choose by,
    no plan is `selected`; where none is left to judge by, scores are NaN.

    Args:
        table: A result table, whose tasks and labels are taken.
        items: The items that it rests on.
        by: The columns whose values make a group.
        seed: Of the halves and of the bootstrap.

    Returns:
        One row per labelled plan: the labels, `selection_score` (median over tasks on the half that
        chooses), `selected`, and on the other half `score`, `score_low`, `score_high`. The intact
        model has no part in the choice; of equal plans the first listed is chosen.

    Raises:
        TableError: as `median_intervals`, and for a task of a single item.

    Example:
        >>> select_and_report(table, answers, by="label")["selected"].tolist()
        [False, True]
    """
    groups = several(by)
    require(table, *groups)
    choosing, judging = halves(items, seed)
    selection = median_over_tasks(_again(table, choosing, "chooses"))
    result = median_intervals(_again(table, judging, "judges"), judging, seed)
    result = result.assign(selection_score=selection["score"].to_numpy(), selected=False)
    known = result[[*groups, "selection_score"]].notna().all(axis=1)
    candidates = result[~is_intact(result) & known]
    within = [*groups, *(c for c in (*_WITHIN, "experiment") if c in result)]
    best = candidates.groupby(within, dropna=False, sort=False)["selection_score"].idxmax()
    result.loc[best, "selected"] = True
    return typed(result)


def _again(table: pd.DataFrame, items: pd.DataFrame, half: str) -> pd.DataFrame:
    """The scores if only these items had been answered, on the labels, tasks, metrics of `table`.

    A warning says which tasks have no scale on this `half`, which "chooses" or "judges".
    """
    kept = joined([*_matching(primary(table), items)])
    scores = on_scale(labelled(labels_of(table), summarise(kept)))
    if flat := unscaled(scores):
        warn(
            f"task {', '.join(map(repr, flat))}: left out, as the intact model is not above chance "
            f"on the half of the items that {half}"
        )
    return scores


def _matching(table: pd.DataFrame, items: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for _, row in table[[*TASK]].drop_duplicates().iterrows():
        same = [items[c].astype(object).map(_plain).eq(_plain(row[c])) for c in TASK]
        yield items[np.logical_and.reduce(same)]
