"""Tables on disk: a CSV of the rows beside a JSON of what produced them.

Files appear whole or not at all, and the same table gives the same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import TableError
from .files import write_whole
from .tables import INTEGER, TEXT, typed


def write_table(table: pd.DataFrame, stem: str | Path, provenance: Mapping[str, Any]) -> Path:
    """Write `stem`.csv and `stem`.json (see `tables.provenance`); return the path of the CSV.

    Floats are written so that they read back exactly. The row index is not written. Dots in the
    stem stay (`smollm2-1.7b`). Raises OutputError if the folder cannot be written.
    """
    stem = Path(stem)
    rows = typed(table).to_csv(index=False, lineterminator="\n")
    facts = json.dumps(provenance, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    # The rows last: whoever finds a CSV finds what produced it, too.
    write_whole(_beside(stem, ".json"), f"{facts}\n".encode())
    return write_whole(_beside(stem, ".csv"), rows.encode())


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote, given its stem or its .csv, with the same types."""
    path = _csv(path)
    text = dict.fromkeys(TEXT, "str")  # a revision 12345e6 and a plan 0 are no numbers
    integer = dict.fromkeys(INTEGER, "Int64")
    try:
        return pd.read_csv(
            path,
            dtype={**text, **integer},
            float_precision="round_trip",
            keep_default_na=False,
            na_values=[""],
        )
    except FileNotFoundError:
        raise TableError(f"no table at {path}; give the .csv that was written") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, ValueError) as error:
        raise TableError(f"{path} is not a table of this package: {error}") from error


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What produced the table at `path` (its stem or its .csv)."""
    beside = _csv(path).with_suffix(".json")
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"no provenance at {beside}; write_table puts it beside the CSV") from None
    return dict(facts)


def _beside(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _csv(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".csv" else _beside(path, ".csv")
