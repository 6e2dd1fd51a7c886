"""From a folder of tables to its figures.

Everything here is read back from disk, so a saved run can be redrawn without a model.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from .. import figures
from ..errors import TableError
from ..experiments import GRIDS
from ..notices import warn
from ..tables import above_chance, primary, require
from ..tables.scores import median_intervals, select_and_report
from .saved import Saved, read


def _similarity(saved: Saved) -> Figure:
    return figures.similarity_panel(saved.table, label="similarity")


def _variants(saved: Saved) -> Figure:
    rows = _clear(saved.table)
    return figures.variant_curves(
        rows if saved.items is None else median_intervals(rows, saved.items)
    )


def _loops(saved: Saved) -> Figure:
    return loops(_clear(saved.table), saved.items)


def loops(rows: pd.DataFrame, items: pd.DataFrame | None) -> Figure:
    """The heatmap of loops; with items, the best k of a window is chosen on one half of them.

    Args:
        rows: Of loops, on tasks that tell anything.
        items: What they rest on, if that is known.

    Returns:
        The figure, with the scores of the other half where there are items enough.

    Example:
        >>> rows = pretend(painters.experiments.loops(6, [1], max_times=2))
        >>> len(loops(rows, None).axes)
        2
    """
    if items is None or rows["n"].min() < 2:
        return figures.loop_heatmap(rows)
    halved = select_and_report(rows, items, by="affected")
    if halved.loc[halved["selected"].to_numpy(dtype=bool), "score"].notna().any():
        return figures.loop_heatmap(halved)
    warn("loops: too few items to choose k on one half of them")
    return figures.loop_heatmap(rows)


def _damage(saved: Saved) -> Figure:
    require(saved.table, "measure", "variant", "rho", "rho_low", "rho_high")
    rho = saved.table.drop_duplicates(["measure", "variant"])
    ends = {"rho_low": "low", "rho_high": "high"}
    return figures.damage_scatter(saved.table, rho.rename(columns=ends))


def _stitching(saved: Saved) -> Figure:
    """Curves of one source state for every target state; otherwise the map of all pairs."""
    require(saved.table, "target_state", "map")
    if not saved.table.duplicated(["target_state", "map"]).any():
        return figures.stitching_curves(saved.table)
    fitted = saved.table.loc[saved.table["map"].isin(_FITTED), "map"]
    return figures.stitching_heatmap(saved.table, fitted.iloc[0])


def _clear(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of tasks that tell anything; TableError if there are none."""
    rows = above_chance(primary(table))
    if rows.empty:
        raise TableError("on no task is the intact model clearly above chance")
    return rows


def _of_table(draw: Callable[[pd.DataFrame], Figure]) -> Callable[[Saved], Figure]:
    return lambda saved: draw(saved.table)


_FITTED = ("ridge", "orthogonal")

# A table's file name, and the figure that is drawn from it.
DRAWINGS: dict[str, Callable[[Saved], Figure]] = {
    "similarity": _similarity,
    "similarity_shuffled": _similarity,
    "similarity_random": _similarity,
    "readers": _of_table(figures.reader_heatmap),
    "depth": _of_table(figures.depth_curves),
    "search": _of_table(figures.search_curves),
    "single_layers": _of_table(figures.single_layer_curves),
    "variants": _variants,
    "loops": _loops,
    "internal_loops": _variants,
    "decoding": _of_table(figures.decoding_curves),
    "logit_lens": _of_table(figures.logit_lens),
    "damage": _damage,
    "stitching": _stitching,
    "patch_residual": _of_table(figures.patching_heatmap),
    "patch_across": _of_table(figures.crossing_heatmap),
    "patch_effects": _of_table(figures.effects_heatmap),
    **dict.fromkeys(GRIDS, _of_table(figures.grid_heatmap)),
}

# What else a table holds, whatever it is called: `evaluate --out mine` writes mine.csv.
_BY_COLUMNS: tuple[tuple[set[str], Callable[[Saved], Figure]], ...] = (
    ({"plan", "token_ratio", "prefill_ratio", "batch", "length"}, _of_table(figures.forest)),
    ({"plan", "kl", "kl_low", "kl_high", "n_documents"}, _of_table(figures.forest)),
    ({"plan", "task", "metric", "delta", "delta_low", "delta_high"}, _of_table(figures.forest)),
)


def drawing_of(name: str, table: pd.DataFrame) -> Callable[[Saved], Figure] | None:
    """What draws a table: by its name, else by its columns, where it is of no experiment."""
    if name in DRAWINGS or "experiment" in table:
        return DRAWINGS.get(name)
    return next((draw for columns, draw in _BY_COLUMNS if columns <= {*table.columns}), None)


def figure_of(name: str, saved: Saved, venue: str | None = None) -> Figure | None:
    """The figure of the table of this name; None where it has none.

    A warning says why where there is nothing to draw. Raises OutputError for an unknown venue.
    """
    draws = drawing_of(name, saved.table)
    try:
        with figures.publication(venue):
            return None if draws is None else draws(saved)
    except TableError as error:
        warn(f"no figure of {name}: {error}")
        return None


def draw(
    folder: str | Path,
    names: Iterable[str] | None = None,
    formats: Sequence[str] = figures.FORMATS,
    venue: str | None = None,
) -> list[Path]:
    """Draw the tables in a folder, each with its own items.

    A table that holds nothing to draw (as on tasks where the intact model is not clearly above
    chance) has a warning that says why, and no figure. Files of an older table of this name, in
    other formats too, are deleted. Beside each figure lies what a page needs to let it move.

    Args:
        folder: Where the tables lie.
        names: Their names; all that have a figure by default.
        formats: Out of pdf, png, svg.
        venue: At whose widths and sizes of type, as in `figures.save`.

    Returns:
        The files that were written.

    Raises:
        TableError: before anything is drawn, if there is no table or one cannot be read.

    Example:
        >>> labels = painters.experiments.single_layers(6)
        >>> layers = tmp_path / "run" / "single_layers"
        >>> path = painters.store.write_table(pretend(labels), layers, {})
        >>> [path.name for path in draw(tmp_path / "run", formats=["png"])]
        ['single_layers.png']
    """
    folder = Path(folder)
    # Of other names, tables of this package: beside which lies what produced them.
    own = {path.stem for path in folder.glob("*.csv") if path.with_suffix(".json").is_file()}
    wanted = [*(names or (*DRAWINGS, *sorted(own - {*DRAWINGS})))]
    tables = {name: read(folder / name) for name in wanted if (folder / f"{name}.csv").is_file()}
    tables = {name: saved for name, saved in tables.items() if drawing_of(name, saved.table)}
    if not tables:
        raise TableError(
            f"no tables to draw in {folder}; `painters run` and `painters patch` write "
            f"{', '.join(f'{name}.csv' for name in DRAWINGS)}, and what `painters evaluate`, `kl`, "
            "`compare`, `classify` and `latency` write with --out is drawn, too"
        )
    drawn: list[Path] = []
    for name, saved in tables.items():
        figure = figure_of(name, saved, venue)
        written, live = ([], []) if figure is None else _saved(figure, folder / name, formats)
        for ending in (*(f".{kind}" for kind in figures.FORMATS), figures.moving.KEPT):
            if (older := folder / f"{name}{ending}") not in written + live:
                older.unlink(missing_ok=True)
        drawn += written
    return drawn


def _saved(
    figure: Figure, stem: Path, formats: str | Sequence[str] | None
) -> tuple[list[Path], list[Path]]:
    """The files of a figure, and what lets it move."""
    with figures.layout.held(figure):
        return figures.save(figure, stem, formats), [figures.moving.keep(figure, stem)]
