"""Tables on disk: rows as CSV or Parquet beside a JSON of what produced them.

Files appear whole or not at all, and the same table gives the same bytes. Tables of results are
CSV, which every program reads; tables of items, a hundred times longer, are Parquet.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from ..errors import TableError
from ..tables import BOOLEAN, INTEGER, TEXT, typed
from .files import write_whole

FORMATS = (".csv", ".parquet")


def write_table(table: pd.DataFrame, path: str | Path, provenance: Mapping[str, Any]) -> Path:
    """Write a table and, beside it, a `.json` (see `tables.provenance`); return the table's path.

    Parquet where `path` ends in `.parquet`, else CSV (the ending may be left out: dots in a name,
    such as `smollm2-1.7b`, stay). Numbers and types read back exactly; the row index is not
    written. Raises OutputError if the folder cannot be written.
    """
    path = _named(Path(path))
    facts = json.dumps(provenance, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    # The rows last: whoever finds a table finds what produced it, too.
    write_whole(path.with_suffix(".json"), f"{facts}\n".encode())
    return write_whole(path, _parquet(table) if path.suffix == ".parquet" else _csv(table))


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote, with the same types, given what that was given.

    Raises TableError, naming the file, if it is missing or cut short.
    """
    path = _named(Path(path))
    try:
        return _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except FileNotFoundError:
        raise TableError(f"no table at {path}; give the file that was written") from None
    except (pd.errors.EmptyDataError, ValueError, ArrowException) as error:
        raise TableError(f"{path} is not a table of this package: {error}") from error


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What produced the table at `path`."""
    beside = _named(Path(path)).with_suffix(".json")
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"no provenance at {beside}; write_table puts it beside a table") from None
    return dict(facts)


def _named(path: Path) -> Path:
    return path if path.suffix in FORMATS else path.with_name(f"{path.name}.csv")


def _csv(table: pd.DataFrame) -> bytes:
    return typed(table).to_csv(index=False, lineterminator="\n").encode()


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = BytesIO()
    typed(table).to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _read_csv(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(TEXT, "str")  # a revision 12345e6 and a plan 0 are no numbers
    counts = dict.fromkeys(INTEGER, "Int64") | dict.fromkeys(BOOLEAN, "boolean")
    return pd.read_csv(
        path,
        dtype={**text, **counts},
        float_precision="round_trip",
        keep_default_na=False,
        na_values=[""],
    )


def _read_parquet(path: Path) -> pd.DataFrame:
    # From memory: a file that another process replaces meanwhile is read as it was.
    return pd.read_parquet(BytesIO(path.read_bytes()))
