"""The forms in which plans are given, as one table of labelled plans, and results joined to it."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..arguments import several
from ..errors import PlanError, TableError
from ..plans import Plan
from .columns import MEASURED, SCORE, is_index, require, typed


def labels_of(table: pd.DataFrame) -> pd.DataFrame:
    """The labelled plans of a table, each once, without what was measured of them.

    Args:
        table: A result table.

    Returns:
        The labels, with `plan`.

    Example:
        >>> labels_of(table)[["label", "plan"]].values.tolist()
        [['intact', '0-5'], ['skip', '0-2 5']]
    """
    require(table, "plan")
    measured = {*MEASURED, *SCORE, "cache"} - {"plan"}
    return table[[c for c in table if c not in measured and not is_index(c)]].drop_duplicates()


def labelled(labels: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Every row of `labels`, which has a `plan`, once for each of its plan's results.

    Args:
        labels: A table of labelled plans.
        results: A table with a `plan`, such as `items.summarise` makes.

    Returns:
        The labels in front, then the results.

    Raises:
        TableError: if a plan has no result.

    Example:
        >>> names = pd.DataFrame({"label": ["mine", "also mine"], "plan": "0-2 5"})
        >>> labelled(names, painters.items.summarise(answers))[["label", "value"]].values.tolist()
        [['mine', 0.5], ['also mine', 0.5]]
    """
    require(labels, "plan")
    require(results, "plan")
    if missing := sorted({*labels["plan"]} - {*results["plan"]}):
        raise TableError(f"no results of plan {missing[0]!r}; evaluate it too")
    own = [str(c) for c in labels if c not in results]
    joined = labels[[*own, "plan"]].merge(results, on="plan", how="left")
    return typed(joined[[*own, *results.columns]])


Plans = Plan | str | Sequence[Plan | str] | Mapping[str, Plan | str] | pd.DataFrame


def labels_for(plans: Plans, n_layers: int) -> pd.DataFrame:
    """A table with a canonical plan per row, and whatever labels came with it.

    What an earlier evaluation measured is no label, so its table can be evaluated again.

    Args:
        plans: One plan, a list, a dict from label to plan, or a table with a column `plan`, whose
            repeated rows count once.
        n_layers: The number of layers of the model.

    Returns:
        The labels, with `plan` and `n_layers`.

    Raises:
        PlanError: for no plans, or one that `n_layers` layers cannot run.

    Example:
        >>> labels_for({"skip": "0 1 2 5"}, 6)[["label", "plan"]].values.tolist()
        [['skip', '0-2 5']]
    """
    if plans is None:
        raise PlanError("plans=None are no plans; give one, several, or a planned model")
    if isinstance(plans, pd.DataFrame):
        table = labels_of(plans)
    elif isinstance(plans, Mapping):
        table = pd.DataFrame({"label": list(plans), "plan": list(plans.values())})
    else:
        table = pd.DataFrame({"plan": several(plans, str, Plan)}, dtype=object)
    if table.empty:
        raise PlanError("no plans; give at least one, such as the intact model's")
    return table.assign(plan=[str(Plan.of(plan, n_layers)) for plan in table["plan"]])


def with_intact(labels: pd.DataFrame, intact: str) -> pd.DataFrame:
    """`labels`, headed by the plan `intact` if it is not among theirs.

    The row is called "intact"; what all others have in common (their experiment) it has, too.
    """
    if intact in set(labels["plan"]):
        return labels
    row = {str(c): labels[c].iloc[0] for c in labels if labels[c].nunique(dropna=False) == 1}
    row |= {c: "intact" for c in ("label", "variant") if c in labels} | {"plan": intact}
    headed = labels.reset_index(drop=True).reindex(range(-1, len(labels)))
    for column, value in row.items():
        headed.loc[-1, column] = value
    known = {column: labels[column].dtype for column in row}
    return typed(headed.astype(known).reset_index(drop=True))
