"""Rows of labelled plans, and the table that they make."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from .. import strategies as s
from ..plans import Layers, Plan, check_n_layers
from ..tables import require, typed

_LABELS = ("experiment", "variant", "layer", "other", "first", "affected", "shuffle_seed", "times")
_COLUMNS = (*_LABELS, "distance", "n_layers", "plan")

Row = dict[str, Any]


def intact(n_layers: Layers) -> pd.DataFrame:
    """The unaltered model alone: the row that every experiment has as its baseline.

    Args:
        n_layers: The number of layers, or the model.

    Returns:
        A table of one row, with the columns that the package lists.

    Raises:
        PlanError: if there is no such number of layers.

    Example:
        >>> intact(30)["plan"].tolist()
        ['0-29']
    """
    n_layers = check_n_layers(n_layers)
    return tabled("intact", n_layers, [])


def plans(table: pd.DataFrame) -> list[Plan]:
    """The distinct plans of an experiment's table, in order of first appearance.

    Args:
        table: A table with the columns `plan` and `n_layers`.

    Returns:
        Plans, none of them twice.

    Raises:
        TableError: if a column is missing.
        PlanError: if a text in the table is no plan.

    Example:
        >>> plans(intact(6))
        [Plan.parse('0-5', n_layers=6)]
    """
    require(table, "plan", "n_layers")
    distinct = table[["plan", "n_layers"]].drop_duplicates()
    return [
        Plan.parse(text, n_layers=int(n))
        for text, n in zip(distinct["plan"], distinct["n_layers"], strict=True)
    ]


def row(variant: str, plan: Plan, **labels: Any) -> Row:
    """A plan with its labels."""
    return {"variant": variant, "plan": str(plan), **labels}


def reordered(variant: str, plan: Plan, window: range, **labels: Any) -> Row:
    """A plan that runs the layers of a window in another order, with how far that is."""
    order = [layer for layer in plan.layer_calls if layer in window]
    return row(variant, plan, distance=_disorder(order), **labels)


def _disorder(order: Sequence[int]) -> float:
    pairs = list(combinations(order, 2))
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else 0.0


def tabled(experiment: str, n_layers: int, rows: Sequence[Row]) -> pd.DataFrame:
    """Rows of an experiment behind the intact model, with all columns there are."""
    baseline = row("intact", s.full(n_layers))
    table = pd.DataFrame([baseline, *rows]).reindex(columns=_COLUMNS)
    return typed(table.assign(experiment=experiment, n_layers=n_layers))
