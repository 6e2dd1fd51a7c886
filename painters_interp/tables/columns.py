"""The columns of a result table: which there are, of what type, and what is missing."""

import pandas as pd

from ..errors import TableError

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


SCORE = ("score", "score_stderr", "score_low", "score_high")


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
