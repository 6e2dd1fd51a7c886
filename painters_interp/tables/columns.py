"""The columns of a result table: which there are, of what type, and what is missing."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype, is_string_dtype

from ..errors import TableError

MODEL = ("model", "revision", "dtype")

TASK = ("task", "version", "metric")

# One run of one task: inside it, chance and the intact model's value are single numbers.
TASK_RUN = (*MODEL, *TASK, "seed")

RESULT = ("value", "stderr", "n", "n_truncated", "chance", "higher_is_better")

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
    *("n_documents", "n_tokens", "n_truncated", "train_tokens"),
)

BOOLEAN = ("higher_is_better", "selected", "truncated")


# Truths as programs write them that keep no types.
_TRUTHS = {"True": True, "TRUE": True, "true": True,
           "False": False, "FALSE": False, "false": False}  # fmt: skip


# What was measured, and never a label.
NUMBERS = ("value", "stderr", "chance", *DIFFERENCE, "score", "score_stderr", "score_low",
           "score_high")  # fmt: skip

SCORE = ("score", "score_stderr", "score_low", "score_high")


def require(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that lacks a column, or has a word in one of counts.

    Args:
        table: Any table.
        columns: Names of the columns that it must have.

    Raises:
        TableError: naming what is missing and what is there, or a count that is no number.

    Example:
        >>> require(table, "plan", "value")
    """
    if not isinstance(table, pd.DataFrame):
        raise TableError(f"{type(table).__name__} is no table; give a DataFrame")
    if missing := [c for c in columns if c not in table]:
        have = ", ".join(map(str, table.columns)) or "none"
        wanted = f"; needed: {', '.join(columns)}" if len(columns) > len(missing) else ""
        raise TableError(f"the table lacks the columns {', '.join(missing)}; it has {have}{wanted}")
    if table.empty:
        raise TableError(f"the table has no rows; needed: rows with {', '.join(columns)}")
    for column in {*columns} & {*INTEGER}:
        if not is_numeric_dtype(table[column].dtype):
            as_numbers(table[column])


def is_index(column: object) -> bool:
    """Whether a column was an index without a name, written to CSV by pandas and read again."""
    return str(column).startswith("Unnamed: ")


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of counts and truths that may be missing: no 3 becomes a 3.0.

    A column of counts or truths that holds something else is a label of the user's own, and stays
    as it is.

    Args:
        table: A table of this package, whatever program it went through.

    Returns:
        A copy, whose counts are of pandas' `Int64` and truths of its `boolean`.

    Raises:
        TableError: for a number that is none.

    Example:
        >>> typed(pd.DataFrame({"n": [3.0, None]}))["n"].tolist()
        [3, <NA>]
    """
    kinds = dict.fromkeys(INTEGER, "Int64") | dict.fromkeys(BOOLEAN, "boolean")
    kinds |= dict.fromkeys(NUMBERS, "float64")
    found = {name: _as(table[name], kind) for name, kind in kinds.items() if name in table}
    return table.assign(**{name: column for name, column in found.items() if column is not None})


def _as(column: "pd.Series[Any]", kind: str) -> "pd.Series[Any] | None":
    """The column as `kind`; None where it is that already, or where its values are others."""
    if str(column.dtype) == kind:
        return None
    if kind == "float64":
        return None if is_float_dtype(column.dtype) else as_numbers(column)
    if kind == "Int64" and is_string_dtype(column.dtype) and column.notna().any():
        return None
    try:
        if kind == "boolean" and not is_numeric_dtype(column.dtype):
            column = column.astype(object).map(lambda truth: _TRUTHS.get(truth, truth))
        return column.astype(kind)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return None


def as_numbers(column: "pd.Series[Any]") -> "pd.Series[float]":
    """The column in double precision, what is missing as NaN. TableError for what is no number."""
    numbers = pd.to_numeric(column.astype(object), errors="coerce").astype(float)
    if (wrong := column.notna() & numbers.isna()).any():
        value = column[wrong].iloc[0]
        if value == value and str(value).lower() not in ("nan", ""):
            raise TableError(f"column {column.name!r} holds numbers; {value!r} is none")
    return numbers


def one_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All rows of several tables, texts as texts, whatever few distinct ones each has of them."""
    plain = [t.astype(dict.fromkeys(t.select_dtypes("category"), object)) for t in tables]
    return pd.concat(plain, ignore_index=True)
