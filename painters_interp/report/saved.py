"""A table in a folder, and the items it rests on: what a figure is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import TableError
from ..storage import FORMATS, read_provenance, read_table
from ..tables import MODEL, TASK, Results, typed
from ..terminal import Brief

_KEY = [*MODEL, "plan", *TASK, "seed"]
# Of a sweep, which may ask a task in several ways.
_ASKED = ("limit", "shots")

ITEMS = ".items.parquet"

_NUMBERS = {
    *("value", "stderr", "chance", "delta", "delta_low", "delta_high", "p", "p_adjusted"),
    *("low", "high", "place", "row", "column", "normalised", "kl", "kl_low", "kl_high"),
    *("nats", "tokens", "position", "state"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Saved(Brief):
    """A table as it was written, and what produced it (nothing, where none says).

    `items` is None where the table does not rest on any.
    """

    table: pd.DataFrame
    items: pd.DataFrame | None
    provenance: Mapping[str, Any]


def items_beside(path: str | Path) -> Path:
    """Where the items of the table at `path` (with or without its ending) lie.

    Args:
        path: The table's.

    Returns:
        The path of the items, whether there are any or not.

    Example:
        >>> items_beside("runs/mine/variants.csv").name
        'variants.items.parquet'
    """
    return _beside(path, ITEMS)


def _beside(path: str | Path, ending: str) -> Path:
    path = Path(path)
    name = path.stem if path.suffix in FORMATS else path.name
    return path.with_name(f"{name}{ending}")


def read(path: str | Path) -> Saved:
    """The table at `path`, with its items where they lie beside it.

    Args:
        path: The table's, with or without its ending.

    Returns:
        The table and its items.

    Raises:
        TableError: for a file that cannot be read, and for items that the table does not rest on:
            those of another run.

    Example:
        >>> path = painters.store.write_table(table, tmp_path / "read", {})
        >>> len(read(path).table)
        2
    """
    table, items = read_table(path), items_beside(path)
    _refuse_words(table, Path(path).name)
    facts = read_provenance(path) if _beside(path, ".json").is_file() else {}
    if not items.is_file():
        return Saved(Results(table), None, facts)
    rows = read_table(items)
    if not _rests_on(table, rows):
        raise TableError(
            f"{items} holds the items of another run than {Path(path).name}; delete it, or write "
            "both again"
        )
    return Saved(Results(table), rows, facts)


def _refuse_words(table: pd.DataFrame, name: str) -> None:
    """Raise TableError where a word stands in a column of numbers."""
    for column in _NUMBERS & {*map(str, table)}:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if (words := table.loc[numbers.isna() & table[column].notna(), column]).size:
            raise TableError(f"{name}: {column} {words.iloc[0]!r} is no number; write it again")


def _rests_on(table: pd.DataFrame, items: pd.DataFrame) -> bool:
    """Whether every row of the table is of items that are there, as many, with the same mean."""
    if not {*_KEY, "value", "n"} <= set(table) or not {*_KEY, "value"} <= set(items):
        return False
    key = [*_KEY, *(c for c in _ASKED if c in table and c in items)]
    of_items = items.astype(dict.fromkeys(key, object)).groupby(key, dropna=False)
    means = of_items.agg(
        items=("value", "size"), mean=("value", "mean"), aggregation=("aggregation", "first")
    )
    rows = typed(table)[[*key, "value", "n"]].astype(dict.fromkeys(key, object))
    there = means.reset_index().astype(dict.fromkeys(key, object))
    joined = rows.merge(there, on=key, how="left")
    of_mean = joined[joined["aggregation"].eq("mean")]
    return bool(
        joined["items"].eq(joined["n"].astype(float)).all()
        and np.allclose(of_mean["mean"].astype(float), of_mean["value"], equal_nan=True)
    )
