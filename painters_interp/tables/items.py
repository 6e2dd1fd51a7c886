"""Tables of single items, and the statistics that follow from them.

An item table has one row per (plan, task, metric, item): what lm-eval says of that one document
under that plan. All plans of a run answer the same items, so they are compared item by item,
which shows far smaller differences than two standard errors would.

    item              lm-eval's doc_id
    value             a number whose aggregation over items is the metric
    reference         what it is read against (right label, number of words), NaN if nothing
    aggregation       a name in `aggregations.AGGREGATIONS`
    chance            what guessing reaches on this item, NaN if the metric has no such level
    truncated         whether what was asked was longer than the context and cut on the left
    higher_is_better  of the metric
    requests          digest of what was asked: items of two runs are the same only if it is

and model, revision, dtype, plan, task, version, metric, seed as in a result table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from .. import statistics
from ..arguments import counting
from ..errors import TableError
from ..notices import warn
from ..statistics.aggregations import AGGREGATIONS
from .columns import (
    DIFFERENCE,
    MEASURED,
    MODEL,
    TASK,
    TASK_RUN,
    as_numbers,
    one_table,
    require,
    typed,
)
from .published import Files, rows_of
from .runs import Run
from .showing import Results

_METRIC = ("aggregation", "higher_is_better")
RUN = (*TASK_RUN, "requests")
COLUMNS = (*MODEL, "plan", *TASK, "item", "value", "reference", "chance", "truncated",
           *_METRIC, "requests", "seed")  # fmt: skip
# Few distinct texts, each in very many rows.
_TEXTS = (*MODEL, "plan", *TASK, "aggregation", "requests")


def item_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` as an item table: its columns in order, texts as categories.

    Args:
        rows: A table with the columns of one; others are left out.

    Returns:
        The item table.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> tuple(item_table(answers.assign(mine=1)).columns) == COLUMNS
        True
    """
    require(rows, *COLUMNS)
    known = _known(rows[[*COLUMNS]].reset_index(drop=True))
    return known.astype(dict.fromkeys(_TEXTS, "category"))


def _known(items: pd.DataFrame) -> pd.DataFrame:
    """Items whose numbers and truths are such, whatever the table went through. TableError."""
    require(items, *COLUMNS)
    found = typed(items)
    for column in ("truncated", "higher_is_better"):
        if str(found[column].dtype) != "boolean" or found[column].isna().any():
            odd = found.loc[~found[column].isin([True, False]), column].iloc[0]
            raise TableError(f"column {column!r} holds True and False; {odd!r} is neither")
    numbers = pd.to_numeric(found["item"], errors="coerce").astype("Float64")
    if (odd := (numbers.isna() | numbers.mod(1).ne(0)).to_numpy(dtype=bool)).any():
        value = found.loc[odd, "item"].astype(object).iloc[0]
        raise TableError(f"column 'item' holds whole numbers; {value!r} is none")
    return found.assign(item=numbers.astype("Int64"), reference=as_numbers(found["reference"]))


def from_lm_eval(runs: Mapping[str, Files] | Iterable[str | Path]) -> pd.DataFrame:
    """An item table of runs that lm-eval has logged, so that published samples can be compared.

    `compare(table, "first", "second")` and `summarise(table, intact="first")` then give paired
    differences, as between two plans. Results that lie beside the samples are read, too: a metric
    that does not come out as they say, or is no number for every document, is left out with a
    warning.

    Args:
        runs: from a label, which stands in the column `plan`, to the run's files
            (samples_<task>_<date>.jsonl), or a folder of them; or folders and files alone, which
            are called by their folders' names.

    Returns:
        Items of all runs; model, revision, dtype and seed are missing, truncated is False:
        samples do not say them. `chance` is that of as many choices as were scored.

    Raises:
        TableError: files that are no samples, two of one task in a run, or runs on different
            documents, answers or versions of a task.

    Example:
        >>> lines = ['{"doc_id": 0, "doc": "a", "acc": 1.0}', '{"doc_id": 1, "doc": "b", "acc": 0}']
        >>> for name in ("one", "two"):
        ...     (tmp_path / name).mkdir()
        ...     _ = (tmp_path / name / "samples_task.jsonl").write_text("\\n".join(lines))
        >>> table = painters.items.from_lm_eval([tmp_path / "one", tmp_path / "two"])
        >>> painters.items.compare(table, "one", "two")[["task", "delta", "n"]].values.tolist()
        [['task', 0.0, 2]]
    """
    return item_table(rows_of(runs))


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several item tables as one; the first to have a run and a plan counts.

    Args:
        tables: Item tables, which may overlap.

    Returns:
        One item table, in which no plan has an item twice.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> len(joined([answers, answers])) == len(answers)
        True
    """
    return item_table(one_table(tables).drop_duplicates([*RUN, "plan", "item"]))


def runs(items: pd.DataFrame) -> Iterator[Run]:
    """The runs of an item table, in order of first appearance.

    Args:
        items: An item table.

    Yields:
        A run per model, task, metric and set of items.

    Raises:
        TableError: if two plans of a run were scored on different items.

    Example:
        >>> [(run.facts["task"], run.plans, run.n) for run in runs(answers)]
        [('facts', ('0-5', '0-2 5'), 8)]
    """
    items = _known(items)
    keys = [*RUN, *_METRIC]
    for values, rows in items.groupby(keys, sort=False, observed=True, dropna=False):
        facts: dict[str, Any] = dict(zip(keys, values, strict=True))
        yield _run({key: None if pd.isna(facts[key]) else facts[key] for key in keys}, rows)


def _run(facts: dict[str, Any], rows: pd.DataFrame) -> Run:
    if facts["aggregation"] not in AGGREGATIONS:
        raise TableError(
            f"no aggregation {facts['aggregation']!r}; there are {', '.join(AGGREGATIONS)}"
        )
    codes, plans = pd.factorize(rows["plan"].astype(object))
    rows = rows.iloc[np.lexsort((rows["item"].to_numpy(dtype=int), codes))]
    counts = np.bincount(codes)
    items = np.split(rows["item"].to_numpy(dtype=int), np.cumsum(counts)[:-1])
    for plan, own in zip(plans, items, strict=True):
        if len(set(own)) < len(own):
            raise TableError(f"task {facts['task']!r}: plan {plan!r} has an item several times")
        if not np.array_equal(own, items[0]):
            raise TableError(
                f"task {facts['task']!r}: plans {plans[0]!r} and {plan!r} were scored on different "
                f"items ({len(items[0])} and {len(own)}); score both on the same"
            )
    shape = (len(plans), len(items[0]))
    values, reference = (
        rows[c].to_numpy(dtype=float).reshape(shape) for c in ("value", "reference")
    )
    _warn_of_nan(facts, plans, values)
    chance = rows["chance"].to_numpy(dtype=float).reshape(shape)[0]
    truncated = rows["truncated"].to_numpy(dtype=bool).reshape(shape)[0]
    return Run(facts, tuple(plans), values, reference, chance, truncated)


def _warn_of_nan(facts: dict[str, Any], plans: Any, values: Float[np.ndarray, "..."]) -> None:
    for plan, wrong in zip(plans, np.isnan(values).sum(axis=1), strict=True):
        if wrong:
            warn(
                f"task {facts['task']!r}, metric {facts['metric']!r}: {wrong} items of plan "
                f"{plan!r} are not numbers, so neither are its statistics"
            )


@counting(seed=0)
def summarise(items: pd.DataFrame, intact: str | None = None, seed: int = 0) -> pd.DataFrame:
    """From an item table to a result table: one row per plan, task and metric (`MEASURED`).

    `stderr` is lm-eval's closed form for means, else the spread over bootstrap samples. Against
    the plan `intact`, where it is in the same run: `delta`, the value's difference, with its
    paired 95 % interval `delta_low`, `delta_high`; `p`; and `p_adjusted` after Benjamini and
    Hochberg over the plans of the same task and metric. For metrics that are 0 or 1 per item the
    interval is Bonett and Price's (`statistics.proportions`) and p of McNemar's exact test; for
    others they are a bootstrap-t (`statistics.studentised`) of each item's influence and a
    sign-flip test. NaN without `intact`, for a single item, where too few items change to tell,
    and for the p of the intact model itself.

    Args:
        items: An item table.
        intact: The plan to compare with, as its text.
        seed: Of the bootstrap and of the flips.

    Returns:
        The result table, plans in the order of the items.

    Raises:
        TableError: if two plans of a run were scored on different items.

    Example:
        >>> summarise(answers, intact="0-5")["delta"].tolist()
        [0.0, -0.375]
    """
    found = [_summary(run, intact, seed) for run in runs(items)]
    table = pd.concat(found, ignore_index=True)
    order = {plan: place for place, plan in enumerate(items["plan"].unique())}
    ordered = table.sort_values("plan", key=lambda plans: plans.map(order), kind="stable")
    return typed(ordered[[*MEASURED]].reset_index(drop=True))


def _summary(run: Run, intact: str | None, seed: int) -> pd.DataFrame:
    resampled = run.resampled(seed)
    table = pd.DataFrame({"plan": run.plans, "value": run.value, "stderr": run.stderr(resampled)})
    table = table.assign(n=run.n, n_truncated=run.truncated.sum(), chance=run.chance.mean())
    table = table.assign(**dict.fromkeys(DIFFERENCE, np.nan))
    if intact in run.plans:
        table = table.assign(**_differences(run, run.plans.index(intact), seed))
    return table.assign(**{c: run.facts[c] for c in (*MODEL, *TASK, "higher_is_better", "seed")})


def _differences(run: Run, base: int, seed: int) -> dict[str, Any]:
    others = [place for place in range(len(run.plans)) if place != base]
    p = np.full(len(run.plans), np.nan)
    if others:
        p[others] = run.p_values(others, base, seed)
    low, high = run.interval(range(len(run.plans)), base, seed)
    with np.errstate(invalid="ignore"):  # infinite perplexities
        delta = run.value - run.value[base]
    return {
        "delta": delta,
        "delta_low": low,
        "delta_high": high,
        "p": p,
        "p_adjusted": statistics.adjusted(p),
    }


@counting(seed=0)
def compare(items: pd.DataFrame, first: str, second: str, seed: int = 0) -> pd.DataFrame:
    """Two plans on the same items: one row per run, that is per task and metric.

    Args:
        items: An item table.
        first: A plan, as its text.
        second: The plan that it is compared with.
        seed: Of the bootstrap and of the flips.

    Returns:
        `delta` is the value of `first` less that of `second`, with its paired 95 % interval and `p`
        as in `summarise`.

    Raises:
        TableError: if a plan is not in the table, or if one of them was measured in a run (model,
            dtype, task version, items, ...) where the other was not.

    Example:
        >>> compare(answers, "0-2 5", "0-5")[["task", "delta"]].values.tolist()
        [['facts', -0.375]]
    """
    both = items[items["plan"].isin([first, second])]
    for plan in (first, second):
        if not both["plan"].eq(plan).any():
            known = ", ".join(map(repr, items["plan"].unique()[:5]))
            raise TableError(f"no items of plan {plan!r}; the table has {known}")
    found = [*runs(both)]
    _refuse_unpaired(found, first, second)
    rows = [_comparison(run, run.plans.index(first), run.plans.index(second), seed)
            for run in found]  # fmt: skip
    return Results(typed(pd.DataFrame(rows)))


def _refuse_unpaired(found: Sequence[Run], first: str, second: str) -> None:
    for run in found:
        if first == second or len(run.plans) == 2:
            continue
        [plan] = run.plans
        other, mine = (second if plan == first else first), run.facts
        there = [
            r.facts for r in found if other in r.plans and _question(r.facts) == _question(mine)
        ]
        if not there:
            where = f"task {mine['task']!r}, metric {mine['metric']!r}"
            raise TableError(f"plan {other!r} was not measured on {where}, where {plan!r} was")
        # The nearest miss says best what is wrong.
        nearest = min(there, key=lambda facts: sum(facts[c] != mine[c] for c in RUN))
        named = "; ".join(f"{c} {mine[c]} and {nearest[c]}" for c in RUN if nearest[c] != mine[c])
        raise TableError(
            f"plans {plan!r} and {other!r} are not paired ({named}); score both in one run"
        )


def _question(facts: dict[str, Any]) -> tuple[str, str]:
    return facts["task"], facts["metric"]


def _comparison(run: Run, first: int, second: int, seed: int) -> dict[str, Any]:
    low, high = run.interval([first], second, seed)
    return {
        **{c: run.facts[c] for c in (*MODEL, *TASK)},
        "plan": run.plans[first],
        "against": run.plans[second],
        "value": run.value[first],
        "against_value": run.value[second],
        "delta": run.value[first] - run.value[second],
        "delta_low": low[0],
        "delta_high": high[0],
        "p": run.p_values([first], second, seed)[0],
        "n": run.n,
        "seed": run.facts["seed"],
    }
