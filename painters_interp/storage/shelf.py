"""Item tables kept on disk by what was asked of whom: asked again, only what is missing is run."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..digests import digest
from ..errors import TableError
from ..notices import warn
from ..tables.items import item_table, joined
from .files import writable_folder
from .store import read_provenance, read_table, remove_table, write_table


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
        return self.folder / f"{readable}-{digest(self.facts)}"

    def read(self) -> pd.DataFrame | None:
        """Every item kept here, each plan once; None if there is none.

        A file that is damaged, or that holds something else, is named in a warning and counts as
        missing: its plans are computed again.
        """
        parts = []
        for path in sorted(self.place.glob("*.parquet")):
            try:
                parts.append(self._part(path))
            except TableError as error:
                warn(f"{error}; its plans are computed again")
        return joined(parts) if parts else None

    def _part(self, path: Path) -> pd.DataFrame:
        """The items of one file, if it is just what `write` would put there."""
        facts = read_provenance(path)
        items = item_table(read_table(path))
        wanted = self._facts(items)
        for name in {**wanted, **facts}:
            if facts.get(name) != wanted.get(name):
                raise TableError(f"{path} holds answers to something else: {name!r} differs")
        for name in {*self.facts} & {*items.columns}:
            found = {None if pd.isna(value) else str(value) for value in items[name].unique()}
            own = self.facts[name]
            if found != {None if own is None else str(own)}:
                raise TableError(f"{path} holds answers to something else: {name!r} differs")
        return items

    def _facts(self, items: pd.DataFrame) -> dict[str, Any]:
        """What is noted beside some items, as it comes back."""
        facts = {**self.facts, "plans": _plans(items)}
        plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        return plain

    def write(self, items: pd.DataFrame) -> Path:
        """Keep the items of some plans, in place of a file that is damaged."""
        path = writable_folder(self.place) / f"{digest(sorted(_plans(items)))}.parquet"
        try:
            if path.exists():
                self._part(path)
        except TableError:  # nothing tells any more that it is of this package, but its name does
            remove_table(path)
        return write_table(items, path, self._facts(items))


def _plans(items: pd.DataFrame) -> list[str]:
    return [str(plan) for plan in items["plan"].unique()]
