"""The columns of a result table, and functions from table to table.

A result table is tidy: one row per (plan, task, metric). The columns in `MEASURED` say what was
measured and what produced it; every other column is a label of the experiment that the plan
belongs to (`experiment`, `variant`, `layer`, `other`, `first`, `affected`, `shuffle_seed`, ...).
"""

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import pandas as pd

from .errors import TableError

MODEL = ("model", "revision", "dtype")
TASK = ("task", "version", "metric")
RESULT = ("value", "stderr", "n", "chance", "higher_is_better")
# Of the value's difference to the intact model's, on the same items (see `items.summarise`).
DIFFERENCE = ("delta", "delta_low", "delta_high", "p", "p_adjusted")
MEASURED = (*MODEL, "plan", *TASK, *RESULT, *DIFFERENCE, "seed")

TEXT = (
    *(*MODEL, "plan", *TASK, "experiment", "variant", "label", "measure", "token"),
    *("source", "source_revision", "target", "target_revision", "map"),
)
INTEGER = (
    *("n_layers", "layer", "other", "first", "affected", "shuffle_seed", "times", "n", "seed"),
    *("dropped", "changed_at", "source_state", "target_state"),
    *("n_documents", "n_tokens", "train_tokens"),
)
BOOLEAN = ("higher_is_better", "selected")

# One run of one task: inside it, chance and the intact model's value are single numbers.
_RUN = (*MODEL, *TASK, "seed")
_SCORE = ("score", "score_stderr", "score_low", "score_high")
# What differs between the tasks of one plan, and between the shuffles of one window.
_PER_TASK = {*TASK, *RESULT, *DIFFERENCE, *_SCORE}
_PER_SHUFFLE = {"shuffle_seed", "distance", "value", "stderr", *DIFFERENCE, *_SCORE}
_PREFERRED = ("acc", "exact_match", "mcc", "f1", "acc_norm")
_PACKAGES = ("painters_interp", "torch", "transformers", "transformer_lens", "lm_eval")


def require(table: pd.DataFrame, *columns: str) -> None:
    """Raise TableError, naming what is missing and what is there, unless `table` has `columns`."""
    if missing := [c for c in columns if c not in table]:
        have = ", ".join(map(str, table.columns)) or "none"
        raise TableError(f"the table lacks the columns {', '.join(missing)}; it has {have}")
    if table.empty:
        raise TableError(f"the table has no rows; needed: rows with {', '.join(columns)}")


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of counts and truths that may be missing: no 3 becomes a 3.0."""
    kinds = dict.fromkeys(INTEGER, "Int64") | dict.fromkeys(BOOLEAN, "boolean")
    return table.astype({column: kind for column, kind in kinds.items() if column in table})


def labels_of(table: pd.DataFrame) -> pd.DataFrame:
    """The labelled plans of a table, each once, without what was measured of them."""
    require(table, "plan")
    measured = [c for c in table if c in (*MEASURED, *_SCORE, "cache") and c != "plan"]
    return table.drop(columns=measured).drop_duplicates() if measured else table


def labelled(labels: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Every row of `labels`, which has a `plan`, once for each of its plan's results.

    Raises TableError if a plan has no result.
    """
    require(labels, "plan")
    require(results, "plan")
    if missing := sorted({*labels["plan"]} - {*results["plan"]}):
        raise TableError(f"no results of plan {missing[0]!r}; evaluate it too")
    own = [str(c) for c in labels if c not in results]
    joined = labels[[*own, "plan"]].merge(results, on="plan", how="left")
    return typed(joined[[*own, *results.columns]])


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


def from_matrices(matrices: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Labelled square matrices as one tidy table: measure, row, column, value."""
    parts = [
        matrix.rename_axis(index="row", columns="column")
        .melt(ignore_index=False, value_name="value")
        .reset_index()
        .assign(measure=name)[["measure", "row", "column", "value"]]
        for name, matrix in matrices.items()
    ]
    if not parts:
        raise TableError("no matrices; needed: at least one, by name")
    return pd.concat(parts, ignore_index=True)


def to_matrices(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The inverse of `from_matrices`: name to matrix, rows and columns in the stored order."""
    require(table, "measure", "row", "column", "value")
    return {
        str(name): part.pivot(index="row", columns="column", values="value").reindex(
            index=part["row"].unique(), columns=part["column"].unique()
        )
        for name, part in table.groupby("measure", sort=False)
    }


def provenance(**facts: Any) -> dict[str, Any]:
    """What produced some numbers: the given facts, and the versions of Python and the packages.

    Holds no time of day, so that the same work writes the same file.
    """
    return {**facts, "python": platform.python_version(), "packages": _versions()}


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions
