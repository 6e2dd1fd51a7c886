"""The columns of a result table, and functions from table to table.

A result table is tidy: one row per (plan, task, metric). The columns in `MEASURED` say what was
measured and what produced it; every other column is a label of the experiment that the plan
belongs to (`experiment`, `variant`, `layer`, `other`, `first`, `affected`, `shuffle_seed`, ...).
"""

from collections.abc import Set
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from ..errors import TableError
from ..notices import warn
from .columns import DIFFERENCE, MODEL, RESULT, SCORE, TASK, TASK_RUN, is_index, require, typed

# What differs between the tasks of one plan, and between the shuffles of one window.
_PER_TASK = {*TASK, *RESULT, *DIFFERENCE, *SCORE}
_PER_SHUFFLE = {"shuffle_seed", "distance", "value", "stderr", *DIFFERENCE, *SCORE}

_PREFERRED = ("acc", "exact_match", "mcc", "f1", "acc_norm")


def is_intact(table: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows are the unaltered model: `variant` (of an experiment) or `label` says "intact".

    Args:
        table: A table with labels.

    Returns:
        A truth per row.

    Raises:
        TableError: if there is no column to tell by.

    Example:
        >>> is_intact(table).tolist()
        [True, False]
    """
    found = pd.Series(False, index=table.index)
    for column in ("variant", "label"):
        if column in table:
            found |= table[column].eq("intact").fillna(False).astype(bool)
    return found


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """One metric per task: accuracy where there is one, else exact match, MCC, F1, else the first.

    lm-eval appends the name of a filter after a comma (`exact_match,strict-match`): of several
    filters the one listed first counts, as in lm-eval's own printout.

    Args:
        table: A result table.

    Returns:
        Its rows of these metrics.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> primary(table)["metric"].unique().tolist()
        ['acc']
    """
    require(table, "task", "metric")
    tasks, metrics = (table[column].astype(object) for column in ("task", "metric"))
    best = {task: _best(rows) for task, rows in metrics.groupby(tasks)}
    return table[metrics == tasks.map(best)]


def _best(metrics: "pd.Series[str]") -> str:
    listed = list(dict.fromkeys(metrics))
    rank = {name: i for i, name in enumerate(_PREFERRED)}
    return min(listed, key=lambda metric: rank.get(metric.split(",")[0], len(rank)))


def normalise(table: pd.DataFrame) -> pd.DataFrame:
    """Add `score`, on the paper's scale: 0 is chance and 1 the intact model, per task and metric.

    Metrics without a chance level, and those where less is better, have no such scale; their rows
    are left out. Where the intact model is not above chance there is none either: such tasks have
    the score NaN, are named in a warning, and no median takes them in.

    Args:
        table: A result table with rows of the intact model.

    Returns:
        Its rows with `score`, and `score_stderr`, which is `stderr` in the same unit.

    Raises:
        TableError: if no metric has a scale, or a task no intact row.

    Example:
        >>> normalise(table)[["value", "chance", "score"]].values.tolist()
        [[0.875, 0.25, 1.0], [0.5, 0.25, 0.4]]
    """
    scores = on_scale(table)
    if flat := unscaled(scores):
        warn(
            f"task {', '.join(map(repr, flat))}: the intact model is not above chance, so no score "
            "can be scaled; left out"
        )
    return scores


def on_scale(table: pd.DataFrame) -> pd.DataFrame:
    """`normalise` without a word of the tasks that have no scale."""
    require(table, "task", "metric", "value", "chance", "higher_is_better")
    table = typed(table)
    upwards = table["higher_is_better"].eq(True).fillna(False).astype(bool)
    table = table[upwards & table["chance"].notna()]
    if table.empty:
        raise TableError("no metric here has a chance level and improves upwards; nothing to scale")
    unit = _intact_values(table) - table["chance"].to_numpy(dtype=float)
    unit = np.where(unit > 0, unit, np.nan)
    scores: dict[str, Any] = {"score": (table["value"] - table["chance"]) / unit}
    if "stderr" in table:
        scores["score_stderr"] = table["stderr"] / unit
    return table.assign(**scores)


def unscaled(table: pd.DataFrame) -> list[str]:
    """The tasks of scored rows on which the intact model, of one run, is not above chance."""
    intact = table.loc[is_intact(table)]
    return [str(task) for task in intact.loc[intact["score"].isna().to_numpy(), "task"].unique()]


def above_chance(table: pd.DataFrame, errors: float = 2.0) -> pd.DataFrame:
    """The rows of tasks on which the intact model of the same run is clearly better than guessing.

    Clearly: by more than `errors` standard errors. On other tasks the scale from chance to intact
    is noise, and so would be a median over tasks that takes them in.

    Args:
        table: A result table with rows of the intact model.
        errors: How many standard errors are clear.

    Returns:
        The rows of these tasks, all plans.

    Raises:
        TableError: if a column or the intact model is missing.

    Example:
        >>> above_chance(table)["task"].unique().tolist()
        ['facts']
    """
    require(table, "task", "metric", "value", "stderr", "chance")
    rows = table[is_intact(table)]
    intact = typed(rows)
    margin = intact["value"] - intact["chance"] - errors * intact["stderr"].fillna(0.0)
    keys = [c for c in TASK_RUN if c in table]
    clear = rows.loc[margin.gt(0).to_numpy(), keys].drop_duplicates()
    return table.merge(clear, on=keys)


def _intact_values(table: pd.DataFrame) -> Float[np.ndarray, " row"]:
    """For each row what the unaltered model reaches in the same run."""
    keys = [c for c in TASK_RUN if c in table]
    # The experiments of a suite each carry an intact row: the same measurement, joined repeatedly.
    intact = table.loc[is_intact(table), [*keys, "value"]].drop_duplicates()
    if (twice := intact.duplicated(keys)).any():
        task = intact.loc[twice, "task"].iloc[0]
        raise TableError(f"task {task!r}: several intact rows disagree; keep one run per table")
    joined = table[keys].merge(intact, on=keys, how="left", indicator=True)
    if (without := joined["_merge"].eq("left_only")).any():
        task = joined.loc[without, "task"].iloc[0]
        raise TableError(
            f"task {task!r}: no row of the intact model; "
            'evaluate the full plan too, with variant (or label) "intact"'
        )
    return joined["value"].to_numpy(dtype=float)


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is if it has a `score`, else its primary metrics, normalised.

    Args:
        table: A result table.

    Returns:
        A table with `score`.

    Raises:
        TableError: as `normalise`.

    Example:
        >>> scored(table)["score"].tolist()
        [1.0, 0.4]
    """
    return table if "score" in table else normalise(primary(table))


def scaled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of tasks that have a `score` under some plan of the same model.

    Args:
        table: What `normalise` returns.

    Returns:
        Its rows of these tasks, all plans.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> len(scaled(normalise(table)))
        2
    """
    within = [c for c in (*MODEL, "task") if c in table]
    known = table["score"].groupby([table[c] for c in within], dropna=False).transform("count")
    return table[known.to_numpy() > 0]


def median_over_tasks(table: pd.DataFrame) -> pd.DataFrame:
    """One row per labelled plan: the median of `score` over its tasks, and `tasks`, their number.

    Tasks without a scale (see `normalise`) do not count; where none has one, medians are NaN. So
    is that of a plan which has no number on a task that counts.

    Args:
        table: What `normalise` returns, of one metric per task.

    Returns:
        The labels, `score` and `tasks`.

    Raises:
        TableError: if a task counts twice (two metrics: see `primary`), or if some plan of an
            experiment lacks a task: a median over other tasks would look like an effect of the
            plan.

    Example:
        >>> median_over_tasks(normalise(table))[["label", "score"]].values.tolist()
        [['intact', 1.0], ['skip', 0.4]]
    """
    require(table, "task", "score")
    keys = _labels(table, _PER_TASK)
    if not keys:
        raise TableError("the table does not say which plan a row belongs to; add a column plan")
    counted = scaled(table)
    groups = (counted if len(counted) else table).groupby(keys, dropna=False, sort=False)
    medians = groups.agg(
        score=("score", _median), tasks=("task", "nunique"), rows=("task", "size")
    ).reset_index()
    if (medians.pop("rows") > medians["tasks"]).any():
        raise TableError("a task has several rows for one plan; keep one metric of one run")
    within = [c for c in (*MODEL, "experiment") if c in medians]
    most = medians.groupby(within, dropna=False)["tasks"].transform("max") if within else None
    short = medians["tasks"] < (medians["tasks"].max() if most is None else most)
    for _, row in medians[short].head(1).iterrows():
        labels = ", ".join(f"{c} {row[c]}" for c in keys if pd.notna(row[c]))
        raise TableError(f"scores of {row['tasks']} tasks only, fewer than other plans: {labels}")
    return medians if len(counted) else medians.assign(tasks=0)


def _labels(table: pd.DataFrame, measured: Set[str]) -> list[str]:
    """The columns that tell plans apart."""
    return [str(c) for c in table if c not in measured and not is_index(c)]


def _median(scores: "pd.Series[float]") -> float:
    return float(np.median(scores.to_numpy(dtype=float)))  # NaN where one of them is


def summarise_seeds(table: pd.DataFrame, of: str = "score") -> pd.DataFrame:
    """Mean of column `of` over the shuffles of a window, with `low`, `high` and `seeds`.

    Rows that differ in nothing but their shuffle become one, without a plan. `low` to `high` is a
    95 % interval: where the table has intervals (`score_low`, `score_high`), over items, from the
    mean of the lower ends to that of the upper ones (for these shuffles, whose items are the same);
    without them Student's over shuffles, and of a row alone low = high = value. `distance` becomes
    the mean distance from the identity.

    Args:
        table: A table with labels of an experiment and the column `of`.
        of: The column that is averaged.

    Returns:
        A row for each set of labels but the shuffle's seed.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> labels = painters.experiments.variants(6, [1], seeds=3)
        >>> found = summarise_seeds(labels.assign(score=range(len(labels))))
        >>> found.query("variant == 'random'")[["score", "seeds"]].values.tolist()
        [[5.0, 3.0]]
    """
    require(table, of)
    if {"plan", "shuffle_seed"} <= set(table):
        table = table.assign(plan=table["plan"].where(table["shuffle_seed"].isna()))
    keys = _labels(table, _PER_SHUFFLE | {of, f"{of}_low", f"{of}_high"})
    banded = {f"{of}_low", f"{of}_high"} <= set(table)
    low, high = (f"{of}_{end}" if banded else of for end in ("low", "high"))
    named: dict[str, Any] = {of: (of, "mean"), "low": (low, "mean"), "high": (high, "mean")}
    named["seeds"] = (of, "size")
    if not banded:
        named["low"], named["high"] = ((of, partial(_student, side=side)) for side in (-1, 1))
    if "distance" in table:
        named["distance"] = ("distance", "mean")
    means: pd.DataFrame = table.groupby(keys, dropna=False, sort=False).agg(**named)
    return means.reset_index()


def _student(values: "pd.Series[float]", side: int) -> float:
    """An end of Student's 95 % interval of a mean; of a single value, that value."""
    numbers = values.to_numpy(dtype=float)
    if len(numbers) < 2:
        return float(numbers.mean())
    half = stats.t.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return float(numbers.mean() + side * half)
