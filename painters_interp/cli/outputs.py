"""Where results go: found, tried and known to be ours before any work begins."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, TableError
from ..notices import warn
from ..terminal import room

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIGURES = (".pdf", ".png", ".svg")  # what their files end in


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


def folder_of_tables(model: str | Sequence[str], out: Path | None, names: Iterable[str]) -> Path:
    """`folder_for`, in which these tables can be written. Raises OutputError."""
    folder = folder_for(model, out)
    try_tables(folder, names)
    return folder


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


def write_one(
    name: str,
    table: "pd.DataFrame",
    folder: Path,
    facts: Mapping[str, Any],
    look: Mapping[str, Any],
) -> None:
    """`write_all` of a single table; what was written is printed."""
    for path in write_all({name: table}, folder, {name: facts}, look):
        print(path)


def print_table(table: "pd.DataFrame") -> None:
    """Print the columns of a table of results that one looks at, as wide as the terminal is."""
    from ..tables.showing import printed, readable

    print(printed(readable(table), width=room()))


def try_drawn(path: Path | None) -> None:
    """Raise OutputError unless the table at `path`, if any, and a figure of it can be written."""
    if path is None:
        return
    if path.suffix in FIGURES:
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
        for ending in FIGURES:
            figure = writable_file(table.with_suffix(ending))
            # A figure has no facts of its own: it is of the table whose name it bears.
            if figure.exists() and not table.exists():
                raise OutputError(
                    f"{figure} exists, and no table that it could be of; give another name, or "
                    "move it away"
                )


def try_table(path: Path | None) -> None:
    """Raise OutputError unless the table at `path`, if any, can be written."""
    if path is not None:
        from ..storage import writable

        writable(path)


def try_folder(folder: Path | None) -> None:
    """Raise OutputError unless the folder, if any, can be written in; leaves nothing behind."""
    if folder is None:
        return

    from ..storage import writable_file

    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder")
    writable_file(folder / "results")
