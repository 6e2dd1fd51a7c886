"""Small tables of what takes long to find: kept by all that they depend on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..digests import digest
from ..errors import TableError
from ..notices import warn
from .files import writable_folder
from .store import read_provenance, read_table, remove_table, write_table


class Kept:
    """A table in a folder, which another run with the same facts finds again; none without one."""

    def __init__(self, store: str | Path | None, name: str, facts: Mapping[str, Any]) -> None:
        self._path: Path | None = None
        written = json.dumps(facts, sort_keys=True, default=str)
        self._facts: dict[str, Any] = json.loads(written)  # as they are read back
        if store is not None:
            self._path = writable_folder(store) / f"{name}-{digest(facts)}.csv"

    def read(self) -> pd.DataFrame | None:
        """What was written; None for nothing, and with a warning for what is damaged."""
        if self._path is None:
            return None
        try:
            if self._path.exists() and read_provenance(self._path) == self._facts:
                return read_table(self._path)
        except TableError as error:
            warn(f"{error}; what it held is found again")
            remove_table(self._path)
        return None

    def write(self, rows: pd.DataFrame) -> None:
        """Keep a table, in place of what was there."""
        if self._path is not None:
            write_table(rows, self._path, self._facts)
