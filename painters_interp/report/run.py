"""A folder that was written, as a value: its tables by their names, and the figures of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from ..errors import TableError
from ..storage import FORMATS
from ..terminal import folded
from .drawing import figure_of
from .saved import ITEMS, Saved, read


class Run(Mapping[str, Saved]):
    """Every table of a folder by its name, each with its items and what produced it."""

    def __init__(self, folder: str | Path, tables: Mapping[str, Saved]) -> None:
        self.folder, self._tables = Path(folder), dict(tables)

    def __getitem__(self, name: str) -> Saved:
        if name not in self._tables:
            raise KeyError(f"{name}; {self.folder} holds {', '.join(self)}")
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return folded(f"Run({str(self.folder)!r}: {', '.join(self)})", hang=4)

    def figures(self, venue: str | None = None) -> dict[str, Figure]:
        """The figure of every table that has one, by the table's name.

        Args:
            venue: Whose widths and sizes of type.

        Returns:
            Figures by name. A table with nothing to draw has a warning that says why, and none.

        Raises:
            OutputError: for an unknown venue.
        """
        drawn = {name: figure_of(name, saved, venue) for name, saved in self.items()}
        return {name: figure for name, figure in drawn.items() if figure is not None}


def read_run(folder: str | Path) -> Run:
    """Every table in `folder` by its name, with its items and what produced it; draws them all.

    Args:
        folder: What `painters run` wrote, or any folder of tables with their provenance.

    Returns:
        A mapping from a table's name to `Saved`: `.table`, `.items` and `.provenance`.
        `.figures()` draws each table that has a figure.

    Raises:
        TableError: where there is no table, one cannot be read, or items are another run's.

    Example:
        >>> folder = tmp_path / "run"
        >>> table = painters.similarity(model, texts, ["cosine"]).table()
        >>> _ = painters.store.write_table(table, folder / "similarity", {"seed": 0})
        >>> run = painters.read_run(folder)
        >>> [*run], [*run.figures()], run["similarity"].provenance["seed"]
        (['similarity'], ['similarity'], 0)
    """
    found = {
        path.stem: read(path)
        for path in sorted(Path(folder).glob("*.*"))
        if path.suffix in FORMATS and not path.name.endswith(ITEMS)
    }
    if not found:
        raise TableError(f"no tables in {folder}; `painters run --out {folder}` writes some")
    return Run(folder, found)
