"""Maps of grids and of stitching: every number of the table in its cell, and `painters grid`."""

import sys
from itertools import permutations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tiny
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm

from painters_interp import cli, experiments, figures, storage
from painters_interp.cli.grids import KINDS
from painters_interp.errors import TableError

N = 8


def pretended(name: str, n_layers: int = N) -> pd.DataFrame:
    """A grid as if measured: KL grows with the distance of the layers, intervals of 30 %."""
    table = experiments.GRIDS[name](n_layers)
    apart = (table["layer"] - table["other"]).abs().astype(float)
    kl = (0.01 * np.exp(apart / 2) + 0.001 * table["layer"].astype(float)).fillna(0)
    return table.assign(kl=kl, kl_low=0.9 * kl, kl_high=1.2 * kl)


def cells(figure) -> np.ndarray:
    ax = figure.axes[0]
    size = round(len(ax.collections[0].get_array().ravel()) ** 0.5)
    return np.ma.filled(ax.collections[0].get_array().astype(float), np.nan).reshape(size, size)


def names(figure, which: str) -> list[str]:
    axis = getattr(figure.axes[0], f"{which}axis")
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize("name", experiments.GRIDS)
def test_every_cell_shows_its_row(name: str) -> None:
    table = pretended(name)
    shown = cells(figures.grid_heatmap(table))
    for _, row in table[table["layer"].notna()].iterrows():
        assert shown[row["layer"], row["other"]] == row["kl"]
    filled = len(table) - 1
    assert np.isfinite(shown).sum() == (2 * filled if name == "swaps" else filled)


def test_swaps_fill_the_square_or_half_of_it() -> None:
    whole = cells(figures.grid_heatmap(pretended("swaps")))
    half = cells(figures.grid_heatmap(pretended("swaps"), triangle=True))
    assert np.array_equal(whole, whole.T, equal_nan=True)
    assert np.isnan(half[np.tril_indices(N)]).all()
    assert np.array_equal(half[np.triu_indices(N, 1)], whole[np.triu_indices(N, 1)])


def test_colours_are_logarithmic_where_all_values_are_positive_and_say_so() -> None:
    figure = figures.grid_heatmap(pretended("replacements"))
    norm = figure.axes[0].collections[0].norm
    assert isinstance(norm, LogNorm)
    values = cells(figure)[~np.eye(N, dtype=bool)]
    assert (norm.vmin, norm.vmax) == pytest.approx(tuple(np.percentile(values, [2, 98])))
    assert "log scale, middle 96 %" in figure.axes[1].get_ylabel()
    signed = pretended("replacements")
    signed["kl"] = signed["kl"] - 0.05
    linear = figures.grid_heatmap(signed)
    assert not isinstance(linear.axes[0].collections[0].norm, LogNorm)
    assert "log" not in linear.axes[1].get_ylabel()


def test_a_dot_marks_cells_that_are_unsure() -> None:
    table = pretended("replacements")
    assert figures.grid_heatmap(table).axes[0].get_lines()[0].get_xydata().size == 0
    at = table.index[table["layer"].eq(2) & table["other"].eq(5)]
    table.loc[at, "kl_low"] = -0.01
    far = table.index[table["layer"].eq(6) & table["other"].eq(1)]
    table.loc[far, "kl_high"] = 3 * table.loc[far, "kl"]
    figure = figures.grid_heatmap(table)
    dots = figure.axes[0].get_lines()[0].get_xydata()
    assert sorted(map(tuple, dots)) == [(1.5, 6.5), (5.5, 2.5)]
    [legend] = figure.legends
    assert "95 % interval holds 0, or is wide" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("n_layers", [6, 30, 80])
def test_dots_leave_the_colour_of_their_cells_to_be_seen(n_layers: int) -> None:
    table = experiments.swaps(n_layers).assign(kl=1.0, kl_low=-1.0, kl_high=2.0)
    [ax, _] = figures.grid_heatmap(table).axes
    [dots] = ax.get_lines()
    cell = ax.get_window_extent().width / n_layers * 72 / ax.figure.dpi
    assert dots.get_markersize() + dots.get_markeredgewidth() < 0.6 * cell
    assert dots.get_markersize() <= 1.8


def test_hierarchical_order_puts_alike_layers_beside_each_other() -> None:
    """Even layers replace each other at no cost, and odd ones, but not each other's."""
    table = pretended("replacements")
    other = (table["layer"] - table["other"]).mod(2).eq(1).fillna(False)
    table["kl"] = np.where(other, 2.0, 0.01)
    figure = figures.grid_heatmap(table, order="hierarchical")
    order = [int(name) for name in names(figure, "y")]
    assert sorted(order) == list(range(N))
    assert len({layer % 2 for layer in order[:4]}) == len({layer % 2 for layer in order[4:]}) == 1
    assert names(figure, "x") == names(figure, "y")
    shown = cells(figure)
    known = table.set_index(["layer", "other"])["kl"]
    assert shown[1, 6] == known[order[1], order[6]]


def test_zones_are_lines_between_layers() -> None:
    def lines(variant: str) -> set[tuple[float, ...]]:
        [ax, *_] = figures.grid_heatmap(pretended(variant), zones=[3, 6]).axes
        drawn = [c for c in ax.collections if isinstance(c, LineCollection)]
        return {tuple(part.ravel()) for found in drawn for part in found.get_segments()}

    assert lines("moves") == {*((0, z, N, z) for z in (3, 6)), *((z, 0, z, N) for z in (3, 6))}
    # Of windows, half of the square is empty, and no line crosses it.
    assert lines("dropped_windows") == {
        *((z, z, N, z) for z in (3, 6)), *((z, 0, z, z) for z in (3, 6))
    }  # fmt: skip


@pytest.mark.parametrize("n_layers", [4, 15, 44])
@pytest.mark.parametrize("order", ["layer", "hierarchical"])
def test_nothing_reaches_beyond_the_edge(n_layers: int, order: str) -> None:
    pairs = pd.DataFrame(permutations(range(n_layers), 2), columns=["layer", "other"])
    table = pairs.assign(variant="replace", kl=0.1 + pairs.sum(axis=1), kl_low=0.0, kl_high=9.0)
    figure = figures.grid_heatmap(table, order=order, title="A title of many words, on two lines")
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.get_figwidth() + 0.02
    assert box.y1 <= figure.get_figheight() + 0.02
    plt.close(figure)


def test_drawn_twice_a_map_is_the_same_bytes_and_its_table_unchanged(tmp_path: Path) -> None:
    table = pretended("swaps")
    before = table.copy()
    once, again = (
        figures.save(figures.grid_heatmap(table, order="hierarchical"), tmp_path / name)
        for name in ("once", "again")
    )
    for a, b in zip(once, again, strict=True):
        assert a.read_bytes() == b.read_bytes()
    pd.testing.assert_frame_equal(table, before)


def test_tables_that_are_no_grid_are_refused() -> None:
    both = pd.concat([pretended("swaps"), pretended("moves")])
    with pytest.raises(TableError, match="one grid is needed, with variant swap, replace, move"):
        figures.grid_heatmap(both)
    with pytest.raises(TableError, match="lacks the columns kl"):
        figures.grid_heatmap(experiments.swaps(4))
    with pytest.raises(TableError, match="several rows for one cell"):
        figures.grid_heatmap(pd.concat([pretended("swaps")] * 2))
    with pytest.raises(TableError, match="order='size' is not an order"):
        figures.grid_heatmap(pretended("swaps"), order="size")
    with pytest.raises(TableError, match="a drop_window grid of 8 layers has no full square"):
        figures.grid_heatmap(pretended("dropped_windows"), order="hierarchical")
    with pytest.raises(TableError, match="zones are runs of layers"):
        figures.grid_heatmap(pretended("swaps"), order="hierarchical", zones=[3])


def stitched(pairs: list[tuple[int, int]]) -> pd.DataFrame:
    rows = [{"map": "intact", "increase": 0.0}]
    for i, j in pairs:
        for kind, rise in (("ridge", 0.1 + abs(i - j)), ("mean", 5.0), ("random", 9.0)):
            rows.append({"source_state": i, "target_state": j, "map": kind, "increase": rise})
    table = pd.DataFrame(rows).astype({"source_state": "Int64", "target_state": "Int64"})
    rise = table["increase"]
    return table.assign(increase_low=0.9 * rise, increase_high=1.1 * rise)


def test_a_stitching_map_shows_each_pair_of_states() -> None:
    table = stitched([(i, j) for i in (0, 2, 4) for j in (1, 3, 5)])
    figure = figures.stitching_heatmap(table, title="tiny")
    assert cells(figure).tolist() == [[1.1, 3.1, 5.1], [1.1, 1.1, 3.1], [3.1, 1.1, 1.1]]
    with pytest.raises(TableError, match="no rows with map 'identity'; the table has ridge, mean"):
        figures.stitching_heatmap(table, "identity")


def test_stitching_curves_show_a_line_per_map() -> None:
    figure = figures.stitching_curves(stitched([(i, i) for i in range(5)]))
    [legend] = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["affine map (ridge)", "random rotation", "mean state", "95 % interval"]
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_ydata()) == [0.1] * 5
    with pytest.raises(TableError, match="several source states for one target state"):
        figures.stitching_curves(stitched([(0, 1), (1, 1)]))


@pytest.fixture
def painters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["painters", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


class TestCommand:
    @pytest.fixture(scope="class")
    def checkpoint(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tiny.save("llama", tmp_path_factory.mktemp("grids") / "tiny-llama"))

    @pytest.mark.parametrize("kind", KINDS)
    def test_writes_a_table_its_provenance_and_its_map(
        self, painters, checkpoint, tmp_path, kind
    ) -> None:
        (tmp_path / "texts.txt").write_text("first text\nsecond one\nthird\n")
        where = ("--out", tmp_path, "--texts", tmp_path / "texts.txt", "--limit", 2)
        code, out, err = painters("grid", kind, "--model", checkpoint, *where)
        assert (code, err) == (0, "")
        stem = tmp_path / KINDS[kind]
        table = storage.read_table(stem)
        assert list(table["plan"]) == list(experiments.GRIDS[KINDS[kind]](tiny.N_LAYERS)["plan"])
        assert table["n_documents"].eq(2).all()
        assert storage.read_provenance(stem)["texts"] == 2
        assert "nats per token" in out
        picture = stem.with_suffix(".png")
        before = picture.read_bytes()
        picture.unlink()
        assert painters("figures", tmp_path)[0] == 0
        assert picture.read_bytes() == before

    def test_some_layers_only(self, painters, checkpoint, tmp_path) -> None:
        code, _, _ = painters(
            "grid",
            "swaps",
            "--model",
            checkpoint,
            "--out",
            tmp_path,
            "--layers",
            "1-3",
            "--limit",
            2,
        )
        assert code == 0
        assert len(storage.read_table(tmp_path / "swaps")) == 4

    def test_bad_input_is_one_line(self, painters, checkpoint, tmp_path) -> None:
        code, _, err = painters("grid", "turns", "--model", checkpoint, "--out", tmp_path)
        kinds = "swaps, replacements, moves, repeats, windows"
        assert (code, err) == (2, f"painters: no grid 'turns'; there are {kinds}\n")
        code, _, err = painters(
            "grid", "swaps", "--model", checkpoint, "--out", tmp_path, "--layers", "9"
        )
        assert code == 2
        assert err.startswith("painters: plan '9': '9' asks for layer 9")
        assert err.count("\n") == 1
