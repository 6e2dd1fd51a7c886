"""Item tables kept on disk by what was asked of whom: asked again, only what is missing is run."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import TableError
from ..tables.items import item_table, joined
from .files import writable_folder
from .store import read_table, write_table


@dataclass(frozen=True)
class Shelf:
    """Where the items of one question to one model lie, a file for every group of plans.

    `facts` are all that the answers depend on but the plan; any other facts are another shelf.
    Several processes may write to one: files are named by their plans and appear whole, so the
    worst is that both compute the same.
    """

    folder: Path
    name: str
    facts: Mapping[str, Any]

    @property
    def place(self) -> Path:
        """The shelf's own folder, named after its question and a digest of its facts."""
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", self.name)
        return self.folder / f"{readable}-{_digest(self.facts)}"

    def read(self) -> pd.DataFrame | None:
        """Every item kept here, each plan once; None if there is none.

        Raises TableError, naming the file, where one cannot be read.
        """
        parts = [_read(path) for path in sorted(self.place.glob("*.parquet"))]
        return joined(parts) if parts else None

    def write(self, items: pd.DataFrame) -> Path:
        """Keep the items of some plans."""
        plans = [str(plan) for plan in items["plan"].unique()]
        path = writable_folder(self.place) / f"{_digest(sorted(plans))}.parquet"
        return write_table(items, path, {**self.facts, "plans": plans})


def _read(path: Path) -> pd.DataFrame:
    try:
        return item_table(read_table(path))
    except TableError as error:
        raise TableError(f"{error}; delete {path.name} to have its plans computed again") from error


def _digest(facts: Any) -> str:
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
