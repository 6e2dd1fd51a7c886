"""From a folder of tables to figures and sentences, without a model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from painters_interp import experiments, report, storage, tables
from painters_interp.errors import OutputError
from painters_interp.report.drawing import DRAWINGS


def matrices(rows: int, columns: int, **names: str) -> pd.DataFrame:
    """A table as `similarity` makes it; largest at the end of the longest diagonal."""
    values = -np.abs(np.subtract.outer(np.linspace(0, 1, rows), np.linspace(0, 1, columns)))
    values[-1, -1] = 0.5
    return tables.from_matrices({"cosine": pd.DataFrame(values)}).assign(**names)


def drawn(folder: Path, name: str) -> Figure:
    return DRAWINGS[name](report.read(folder / name))


def test_two_models_of_different_depth_are_drawn_and_axes_bear_their_names(tmp_path):
    table = matrices(31, 7, source="deep-model", target="shallow-model")
    storage.write_table(table, tmp_path / "similarity", {})
    assert len(report.draw(tmp_path)) == 3
    ax, _ = drawn(tmp_path, "similarity").axes
    assert ax.collections[0].get_array().shape == (31, 7)
    assert ax.get_ylabel() == "state of deep-model"
    assert ax.get_xlabel() == "state of shallow-model"
    [told] = report.summary(tmp_path)
    assert told.startswith("States of deep-model with those of shallow-model: cosine, per token ")
    assert "(closest: 30 and 6, 0.50)" in told


@pytest.mark.parametrize("names", [{}, {"source": "one", "target": "two"}])
def test_one_model_or_two_of_equal_depth_fill_a_square(tmp_path, names):
    storage.write_table(matrices(7, 7, **names), tmp_path / "similarity", {})
    ax, _ = drawn(tmp_path, "similarity").axes
    assert ax.get_ylabel() == f"state of {names['source']}" if names else "state"
    assert ax.get_aspect() == 1


def test_variants_are_ranked_at_few_at_half_and_at_most_of_the_layers(tmp_path):
    parts = [
        experiments.variants(12, seeds=2).assign(task=task, metric="acc", value=0.7)
        for task in ("piqa", "copa")
    ]
    table = pd.concat(parts).assign(stderr=0.01, chance=0.5, higher_is_better=True)
    damage = table["affected"].fillna(0).astype(float) * table["variant"].str.len() / 1000
    storage.write_table(table.assign(value=0.7 - damage), tmp_path / "variants", {})
    told = report.summary(tmp_path)
    assert [int(line.split()[0]) for line in told] == [3, 7, 11]
    assert told[0].startswith("3 middle layers changed: skip 0.94 > ")


def test_a_table_with_nothing_to_draw_keeps_no_figure_of_an_older_one(tmp_path):
    storage.write_table(matrices(4, 4), tmp_path / "similarity", {})
    report.draw(tmp_path)
    storage.write_table(matrices(4, 4).assign(value=np.nan), tmp_path / "similarity", {})
    with pytest.warns(UserWarning, match="no figure of similarity: .*no finite value"):
        assert report.draw(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"similarity.csv", "similarity.json"}


def test_figures_are_drawn_for_a_venue_and_none_of_another_format_stays(tmp_path):
    storage.write_table(matrices(5, 5), tmp_path / "similarity", {})
    assert {path.suffix for path in report.draw(tmp_path)} == {".pdf", ".png", ".svg"}
    [one] = report.draw(tmp_path, formats=["svg"], venue="cvpr")
    assert f'width="{3.25 * 72:g}pt"' in one.read_text()
    assert not (tmp_path / "similarity.pdf").exists()


def test_a_run_is_read_in_one_call_and_draws_itself_by_name(tmp_path):
    table = matrices(6, 6)
    storage.write_table(table, tmp_path / "similarity", {"seed": 3})
    storage.write_table(table, tmp_path / "mine.parquet", {})
    run = report.read_run(tmp_path)
    assert dict(run["similarity"].provenance) == {"seed": 3}
    assert len(run["mine"].table) == 36
    assert [*run.figures()] == ["similarity"]
    with pytest.raises(KeyError, match=r"loops; .* holds mine, similarity"):
        run["loops"]
    with pytest.raises(OutputError, match="no venue 'arxiv'"):
        run.figures("arxiv")


def test_a_table_that_another_program_wrote_is_drawn_the_same_and_has_no_provenance(tmp_path):
    table = matrices(6, 6)
    storage.write_table(table, tmp_path / "own" / "similarity", {})
    (tmp_path / "other").mkdir()
    pd.read_csv(tmp_path / "own" / "similarity.csv").to_csv(tmp_path / "other" / "similarity.csv")
    own = report.read_run(tmp_path / "own").figures()["similarity"]
    with pytest.warns(UserWarning, match="read unchecked"):
        run = report.read_run(tmp_path / "other")
    assert run["similarity"].provenance == {}
    cells = [each.axes[0].collections[0].get_array() for each in (own, run.figures()["similarity"])]
    np.testing.assert_allclose(*cells, atol=1e-12)  # pandas of old reads the last digit wrong


def test_of_a_run_what_has_nothing_to_draw_is_said_and_the_rest_is_drawn(tmp_path):
    storage.write_table(matrices(4, 4), tmp_path / "similarity", {})
    lost = experiments.swaps(4).assign(kl=np.nan, kl_low=np.nan, kl_high=np.nan)
    storage.write_table(lost, tmp_path / "swaps", {})
    with pytest.warns(UserWarning, match="no figure of swaps"):
        assert [*report.read_run(tmp_path).figures()] == ["similarity"]
