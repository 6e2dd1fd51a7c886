"""Where results go: found, tried and known to be ours before any work begins."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, TableError
from ..notices import warn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_FIGURES = (".pdf", ".png", ".svg")


def folder_for(model: str | Sequence[str], out: Path | None) -> Path:
    """Where results of a model, or of several together, go: `out`, or runs/<model>(+<model>...).

    Nothing is made yet.
    """
    if out is None:
        models = [model] if isinstance(model, str) else model
        return Path("runs") / "+".join(map(_name_of, models))
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
    tables: Mapping[str, "pd.DataFrame"],
    folder: Path,
    facts: Mapping[str, Mapping[str, Any]],
    look: Mapping[str, Any],
) -> list[Path]:
    """Write tables with what produced them, and draw those that have a figure; what was written.

    Nothing is written before all of them are there.
    """
    from .. import report
    from ..storage import write_table

    written = [write_table(table, folder / name, facts[name]) for name, table in tables.items()]
    drawable = [name for name in tables if name in report.DRAWINGS]
    return written + (report.draw(folder, drawable, **look) if drawable else [])


def try_drawn(path: Path) -> None:
    """Raise OutputError unless the table at `path` and a figure of it can be written."""
    if path.suffix in _FIGURES:
        raise OutputError(f"{path} is to name a table; what figures are written as say --formats")
    try_tables(path.parent, [path.name])


def write_drawn(
    table: "pd.DataFrame",
    path: Path,
    facts: Mapping[str, Any],
    look: Mapping[str, Any],
    draw: "Callable[[pd.DataFrame], Figure] | None" = None,
) -> list[Path]:
    """Write a table, what produced it, and its figure, which `draw` draws of it: a forest if none.

    A table that holds nothing to draw has no figure, and a warning says why.
    """
    from .. import figures
    from ..storage import write_table

    figure = None
    try:
        with figures.publication(look["venue"]):  # drawn before anything is written
            figure = (draw or figures.forest)(table)
    except TableError as error:
        warn(f"no figure of {path.name}: {error}")
    written = write_table(table, path, facts)
    if figure is None:
        return [written]
    return [written, *figures.save(figure, written.with_suffix(""), look["formats"])]


def write_report(folder: Path) -> list[Path]:
    """The page of a folder, where all that lies in it can be read; else a warning says why not."""
    from ..report import write_page

    try:
        return [write_page(folder)]
    except TableError as error:  # what others left there; the results themselves are written
        warn(f"no page of {folder}: {error}")
        return []


def try_tables(folder: Path, names: Iterable[str]) -> None:
    """Raise OutputError unless these tables, their items and figures can be written in a folder.

    Leaves nothing behind. What this package did not write is never overwritten.
    """
    from ..report import items_beside
    from ..storage import writable, writable_file

    for name in names:
        table, _ = writable(folder / name), writable(items_beside(folder / name))
        for ending in _FIGURES:
            figure = writable_file(table.with_suffix(ending))
            # A figure has no facts of its own: it is of the table whose name it bears.
            if figure.exists() and not table.exists():
                raise OutputError(
                    f"{figure} exists, and no table that it could be of; give another name, or "
                    "move it away"
                )


def try_table(path: Path, items: bool = False) -> None:
    """Raise OutputError unless the table at `path` (and its items) can be written."""
    from ..report import items_beside
    from ..storage import writable

    writable(path)
    if items:
        writable(items_beside(path))


def try_folder(folder: Path) -> None:
    """Raise OutputError unless something can be written in the folder; leaves nothing behind."""
    from ..storage import writable_file

    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder")
    writable_file(folder / "results")
