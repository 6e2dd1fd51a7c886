"""Where results go: found, tried and known to be ours before any work begins."""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from ..storage import FORMATS, write_table

if TYPE_CHECKING:
    import pandas as pd

_TABLES, _FIGURES = (".csv", ".json", ".parquet"), (".pdf", ".png")


def folder_for(model: str, out: Path | None) -> Path:
    """Where the results of a model go: `out`, or runs/<model>; nothing is made yet."""
    if out is None:
        return Path("runs") / _name_of(model)
    if out == Path(out.anchor) and out.anchor:
        raise OutputError(f"{out} is no folder of results; give one of their own")
    return out


def _name_of(model: str) -> str:
    """The last part of a path, of whatever system, or of a hub id; never a step upwards."""
    name = PureWindowsPath(model).name  # takes both kinds of slashes
    if name in ("", ".", ".."):
        name = Path(model).resolve().name
    return re.sub(r'[<>:"|?*\x00-\x1f]', "_", name) or "model"


def write_all(
    tables: Mapping[str, "pd.DataFrame"], folder: Path, facts: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Write tables with what produced them, and draw those that have a figure; what was written.

    Nothing is written before all of them are there.
    """
    from .. import report

    written = [write_table(table, folder / name, facts[name]) for name, table in tables.items()]
    drawable = [name for name in tables if name in report.DRAWINGS]
    return written + (report.draw(folder, drawable) if drawable else [])


def try_tables(folder: Path, names: Iterable[str]) -> None:
    """Raise OutputError unless these tables, their items and figures can be written in a folder.

    Leaves nothing behind. What this package did not write is never overwritten.
    """
    for name in names:
        for part in (name, f"{name}.items"):
            for ending in (*_TABLES, *_FIGURES):
                _refuse_foreign(folder / f"{part}{ending}")
    try_folder(folder)


def try_table(path: Path, items: bool = False) -> None:
    """Raise OutputError unless the table at `path` (and its items) can be written."""
    from ..report import items_beside

    if not path.name:
        raise OutputError(f"{path} names no table; give a name such as scores")
    table = path if path.suffix in FORMATS else path.with_name(f"{path.name}.csv")
    for file in (table, items_beside(path)) if items else (table,):
        _refuse_foreign(file)
        _refuse_foreign(file.with_suffix(".json"))
    try_folder(table.parent)


def try_folder(folder: Path) -> None:
    """Raise OutputError unless something can be written in the folder; leaves nothing behind."""
    made: list[Path] = []
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.exists():
                path.mkdir()
                made.append(path)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
            probe.flush()
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"cannot write in {folder}: {reason}; give a folder that you may write in"
        ) from error
    finally:
        for path in reversed(made):
            path.rmdir()


def _refuse_foreign(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder, where a file is to be written; give another name")
    if path.exists() and not _is_ours(path.with_suffix(".json")):
        raise OutputError(
            f"{path} is there already, and not one of this package's results; give another name"
        )


def _is_ours(facts: Path) -> bool:
    """Whether what lies beside a file says that this package wrote it."""
    try:
        return "painters_interp" in json.loads(facts.read_text(encoding="utf-8"))["packages"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
