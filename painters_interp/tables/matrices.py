"""Labelled matrices as one tidy table, and back."""

from collections.abc import Mapping

import pandas as pd

from ..errors import TableError
from .columns import require


def from_matrices(matrices: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Labelled square matrices as one tidy table: measure, row, column, value.

    Args:
        matrices: Square matrices by name, with the same labels for rows and columns.

    Returns:
        A row for each entry of each matrix.

    Raises:
        TableError: if there is no matrix, or if one is not square or not labelled.

    Example:
        >>> matrix = pd.DataFrame([[1.0, 0.5], [0.5, 1.0]])
        >>> len(from_matrices({"cosine": matrix}))
        4
    """
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


def to_matrices(table: pd.DataFrame, value: str = "value") -> dict[str, pd.DataFrame]:
    """The inverse of `from_matrices`: name to matrix, rows and columns in the stored order.

    Args:
        table: What `from_matrices` made, or a table of `similarity`.
        value: The column that the entries are of.

    Returns:
        The matrices by name.

    Raises:
        TableError: if a column is missing.

    Example:
        >>> matrix = pd.DataFrame([[1.0, 0.5], [0.5, 1.0]])
        >>> to_matrices(from_matrices({"cosine": matrix}))["cosine"].equals(matrix)
        True
    """
    require(table, "measure", "row", "column", value)
    return {
        str(name): part.pivot(index="row", columns="column", values=value).reindex(
            index=part["row"].unique(), columns=part["column"].unique()
        )
        for name, part in table.groupby("measure", sort=False)
    }


def sides_of(table: pd.DataFrame) -> tuple[str, str] | None:
    """The models whose states are rows and columns, or the null in place of one; None if alike.

    Args:
        table: Of `similarity`.

    Returns:
        Both names.

    Example:
        >>> sides_of(pd.DataFrame({"source": ["a"], "target": ["shuffled tokens"]}))
        ('a', 'shuffled tokens')
    """
    if not {"source", "target"} <= {*table}:
        return None
    [sides] = table[["source", "target"]].drop_duplicates().itertuples(index=False, name=None)
    return (str(sides[0]), str(sides[1]))
