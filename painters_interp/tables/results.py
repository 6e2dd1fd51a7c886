"""The columns of a result table, and functions from table to table.

A result table is tidy: one row per (plan, task, metric). The columns in `MEASURED` say what was
measured and what produced it; every other column is a label of the experiment that the plan
belongs to (`experiment`, `variant`, `layer`, `other`, `first`, `affected`, `shuffle_seed`, ...).
"""

from typing import Any

import pandas as pd

from ..errors import TableError
from .columns import DIFFERENCE, MODEL, RESULT, SCORE, TASK, require

# One run of one task: inside it, chance and the intact model's value are single numbers.
_RUN = (*MODEL, *TASK, "seed")


# What differs between the tasks of one plan, and between the shuffles of one window.
_PER_TASK = {*TASK, *RESULT, *DIFFERENCE, *SCORE}


_PER_SHUFFLE = {"shuffle_seed", "distance", "value", "stderr", *DIFFERENCE, *SCORE}


_PREFERRED = ("acc", "exact_match", "mcc", "f1", "acc_norm")


def is_intact(table: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows are the unaltered model: `variant` (of an experiment) or `label` says "intact"."""
    found = pd.Series(False, index=table.index)
    for column in ("variant", "label"):
        if column in table:
            found |= table[column].eq("intact").fillna(False).astype(bool)
    return found


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """One metric per task: accuracy where there is one, else exact match, MCC, F1, else the first.

    lm-eval appends the name of a filter after a comma (`exact_match,strict-match`): of several
    filters the one listed first counts, as in lm-eval's own printout.
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
    are left out. `score_stderr` is `stderr` in the same unit. Raises TableError if nothing is
    left, or if a task lacks its intact row, or if its intact model is at chance.
    """
    require(table, "task", "metric", "value", "chance", "higher_is_better")
    upwards = table["higher_is_better"].eq(True).fillna(False).astype(bool)
    table = table[upwards & table["chance"].notna()]
    if table.empty:
        raise TableError("no metric here has a chance level and improves upwards; nothing to scale")
    table = _with_intact(table)
    unit = table["intact"] - table["chance"]
    if (flat := unit.eq(0)).any():
        task = table.loc[flat, "task"].iloc[0]
        raise TableError(f"task {task!r}: the intact model is at chance, so no score can be scaled")
    scores: dict[str, Any] = {"score": (table["value"] - table["chance"]) / unit}
    if "stderr" in table:
        scores["score_stderr"] = table["stderr"] / unit.abs()
    return table.assign(**scores).drop(columns="intact")


def above_chance(table: pd.DataFrame, errors: float = 2.0) -> pd.DataFrame:
    """The rows of tasks on which the intact model is clearly better than guessing.

    Clearly: by more than `errors` standard errors. On other tasks the scale from chance to intact
    is noise, and so would be a median over tasks that takes them in.
    """
    require(table, "task", "metric", "value", "stderr", "chance")
    intact = table[is_intact(table)]
    margin = intact["value"] - intact["chance"] - errors * intact["stderr"].fillna(0.0)
    clear = intact.loc[margin > 0, ["task", "metric"]].drop_duplicates()
    return table.merge(clear, on=["task", "metric"])


def _with_intact(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `intact`: what the unaltered model reaches in the same run."""
    keys = [c for c in _RUN if c in table]
    # The experiments of a suite each carry an intact row: the same measurement, joined repeatedly.
    intact = table.loc[is_intact(table), [*keys, "value"]].drop_duplicates()
    intact = intact.rename(columns={"value": "intact"})
    if (twice := intact.duplicated(keys)).any():
        task = intact.loc[twice, "task"].iloc[0]
        raise TableError(f"task {task!r}: several intact rows disagree; keep one run per table")
    joined = table.merge(intact, on=keys, how="left").set_axis(table.index)
    if (without := joined["intact"].isna()).any():
        task = joined.loc[without, "task"].iloc[0]
        raise TableError(
            f"task {task!r}: no row of the intact model; "
            'evaluate the full plan too, with variant (or label) "intact"'
        )
    return joined


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is if it has a `score`, else its primary metrics, normalised."""
    return table if "score" in table else normalise(primary(table))


def median_over_tasks(table: pd.DataFrame) -> pd.DataFrame:
    """One row per labelled plan: the median of `score` over its tasks, and `tasks`, their number.

    Raises TableError if a task counts twice (two metrics: see `primary`), or if some plan of an
    experiment lacks a task: a median over other tasks would look like an effect of the plan.
    """
    require(table, "task", "score")
    keys = [str(c) for c in table if c not in _PER_TASK]
    if not keys:
        raise TableError("the table does not say which plan a row belongs to; add a column plan")
    groups = table.groupby(keys, dropna=False, sort=False)
    medians = groups.agg(
        score=("score", "median"), tasks=("task", "nunique"), rows=("task", "size")
    ).reset_index()
    if (medians.pop("rows") > medians["tasks"]).any():
        raise TableError("a task has several rows for one plan; keep one metric of one run")
    within = [c for c in (*MODEL, "experiment") if c in medians]
    most = medians.groupby(within, dropna=False)["tasks"].transform("max") if within else None
    short = medians["tasks"] < (medians["tasks"].max() if most is None else most)
    for _, row in medians[short].head(1).iterrows():
        labels = ", ".join(f"{c} {row[c]}" for c in keys if pd.notna(row[c]))
        raise TableError(f"scores of {row['tasks']} tasks only, fewer than other plans: {labels}")
    return medians


def summarise_seeds(table: pd.DataFrame, of: str = "score") -> pd.DataFrame:
    """Mean of column `of` over the shuffles of a window, with `low`, `high` and `seeds`.

    Rows that differ in nothing but their shuffle become one, without a plan, and `low` to `high`
    is their range. Where the table has intervals (`score_low`, `score_high`) it is the hull of
    the intervals; without them a row alone has low = high = value. `distance` becomes the mean
    distance from the identity.
    """
    require(table, of)
    if {"plan", "shuffle_seed"} <= set(table):
        table = table.assign(plan=table["plan"].where(table["shuffle_seed"].isna()))
    keys = [str(c) for c in table if c not in _PER_SHUFFLE | {of}]
    low, high = (f"{of}_{end}" if f"{of}_{end}" in table else of for end in ("low", "high"))
    named: dict[str, Any] = {of: (of, "mean"), "low": (low, "min"), "high": (high, "max")}
    named["seeds"] = (of, "size")
    if "distance" in table:
        named["distance"] = ("distance", "mean")
    means: pd.DataFrame = table.groupby(keys, dropna=False, sort=False).agg(**named)
    return means.reset_index()
