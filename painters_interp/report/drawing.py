"""From a folder of tables to its figures, and to a few sentences about what they show.

Everything here is read back from disk, so a saved run can be redrawn and summed up without a model.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from .. import figures
from ..errors import TableError
from ..experiments import GRIDS
from ..figures.style import measure_label
from ..storage import read_table
from ..tables import (
    above_chance,
    primary,
    to_matrices,
)
from ..tables.scores import median_intervals, select_and_report

# The items that all scores of a run rest on.
ITEM_TABLE = "items.parquet"


def _similarity(table: pd.DataFrame) -> Figure:
    named = {measure_label(name): matrix for name, matrix in to_matrices(table).items()}
    return figures.similarity_panel(
        named,
        label="similarity (angular: distance)"
        if any("angular" in name for name in named)
        else "similarity",
    )


def _variants(table: pd.DataFrame, items: pd.DataFrame | None = None) -> Figure | None:
    rows = above_chance(primary(table))
    if rows.empty:
        return None
    return figures.variant_curves(rows if items is None else median_intervals(rows, items))


def _loops(table: pd.DataFrame, items: pd.DataFrame | None = None) -> Figure | None:
    rows = above_chance(primary(table))
    if rows.empty:
        return None
    if items is None or rows["n"].min() < 2:
        return figures.loop_heatmap(rows)
    return figures.loop_heatmap(select_and_report(rows, items, by="affected"))


# A table's file name, and the figure that is drawn from it.
DRAWINGS: dict[str, Callable[..., Figure | None]] = {
    "similarity": _similarity,
    "similarity_shuffled": _similarity,
    "similarity_random": _similarity,
    "depth": figures.depth_curves,
    "single_layers": figures.single_layer_curves,
    "variants": _variants,
    "loops": _loops,
    "decoding": figures.decoding_curves,
    "patch_residual": figures.patching_heatmap,
    "patch_across": figures.crossing_heatmap,
    "patch_effects": figures.effects_heatmap,
    **dict.fromkeys(GRIDS, figures.grid_heatmap),
}


# Those that show more if every item is at hand: intervals, or a choice that luck does not judge.
_ITEMISED = ("variants", "loops")


def draw(folder: str | Path, names: Iterable[str] = tuple(DRAWINGS)) -> list[Path]:
    """Draw the tables in `folder` that have a figure (or only `names`); return what was written.

    A figure of scores leaves out tasks on which the intact model is not clearly above chance, and
    is not drawn if none is left. Raises TableError if there is no table.
    """
    folder = Path(folder)
    present = [name for name in names if (folder / f"{name}.csv").is_file()]
    drawn: list[Path] = []
    for name in present:
        itemised = name in _ITEMISED and (folder / ITEM_TABLE).is_file()
        items = {"items": read_table(folder / ITEM_TABLE)} if itemised else {}
        figure = DRAWINGS[name](read_table(folder / name), **items)
        drawn += [] if figure is None else figures.save(figure, folder / name)
    if not present:
        raise TableError(
            f"no tables to draw in {folder}; `painters run` and `painters patch` write "
            f"{', '.join(f'{name}.csv' for name in DRAWINGS)}"
        )
    return drawn
