"""The heatmaps of patching show the table's numbers, and label their axes with its tokens."""

import numpy as np
import pandas as pd
import pytest

from painters_interp import figures, report, storage
from painters_interp.errors import TableError

TOKENS = ["The", " price", " in", "\n", " $5", " of $6", " "]


@pytest.fixture
def residual() -> pd.DataFrame:
    rows = [
        {"state": k, "position": p, "token": token, "normalised": k * p / 30, "value": k - p}
        for k in range(6)
        for p, token in enumerate(TOKENS)
    ]
    return pd.DataFrame(rows).assign(metric="logit_difference")


@pytest.fixture
def crossed() -> pd.DataFrame:
    pairs = [(i, j) for j in range(7) for i in range(7)]
    rows = [{"source_state": i, "target_state": j, "value": 3.0 * abs(i - j)} for i, j in pairs]
    return pd.DataFrame(rows).assign(metric="kl")


@pytest.fixture
def changed() -> pd.DataFrame:
    rows = [
        {"label": str(s), "dropped": s, "layer": layer, "value": 2 / (layer - s)}
        for s in range(5)
        for layer in range(s + 1, 6)
    ]
    return pd.DataFrame(rows).assign(changed_at=pd.NA)


def cells(figure) -> np.ndarray:
    mesh = figure.axes[0].collections[0]
    return np.ma.filled(mesh.get_array(), np.nan).reshape(mesh.get_coordinates().shape[0] - 1, -1)


def labels(axis) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


def test_patching_shows_states_by_tokens(residual):
    figure = figures.patching_heatmap(residual)
    np.testing.assert_allclose(cells(figure), np.outer(range(6), range(7)) / 30)
    assert labels(figure.axes[0].xaxis) == ["The", "price", "in", "↵", r"\$5", r"of \$6", "␣"]
    assert figure.axes[0].collections[0].get_clim() == (-1, 1)
    raw = figures.patching_heatmap(residual, column="value")
    assert raw.axes[0].collections[0].get_clim() == (-6, 6)
    assert raw.axes[1].get_ylabel() == "logit difference (right - wrong)\nwhite: both alike"


def test_long_prompts_label_every_few_tokens(residual):
    rows = [{"state": 0, "position": p, "token": f" w{p}", "normalised": 0} for p in range(200)]
    figure = figures.patching_heatmap(pd.DataFrame(rows))
    shown = labels(figure.axes[0].xaxis)
    assert 20 < len(shown) < 60
    assert shown[0] == "w0"


def test_crossing_shows_sources_down_and_targets_across(crossed):
    figure = figures.crossing_heatmap(crossed)
    found = cells(figure)
    assert found[1, 3] == 6
    assert found[6, 0] == 18
    assert figure.axes[0].collections[0].get_clim() == (0, 10)
    label = figure.axes[0].get_ylabel().replace("\N{NO-BREAK SPACE}", " ")
    assert label == "source state i (i, j: before layer i, j)"
    gain = figures.crossing_heatmap(crossed.assign(metric="logprob", value=-crossed["value"]))
    near, far = (
        f.axes[0].collections[0].to_rgba([0.0, 18.0 * sign])[:, :3].sum(axis=1)
        for f, sign in ((figure, 1), (gain, -1))
    )
    assert near[0] > near[1]
    assert far[0] > far[1]


def test_effects_leave_earlier_layers_grey(changed):
    found = cells(figures.effects_heatmap(changed))
    assert found.shape == (5, 5)
    assert found[0, 0] == 2
    assert np.isnan(found[np.tril_indices(5, -1)]).all()


def test_effects_of_plans_carry_their_labels(changed):
    named = changed.assign(label="plan " + changed["label"], dropped=pd.NA, changed_at=3)
    figure = figures.effects_heatmap(named)
    assert labels(figure.axes[0].yaxis) == [f"plan {s}" for s in range(5)]
    assert figure.axes[1].get_ylabel().startswith("relative change after token 3")


def test_two_runs_in_one_table_are_refused(residual, crossed, changed):
    for draw, table in (
        (figures.patching_heatmap, residual),
        (figures.crossing_heatmap, crossed),
        (figures.effects_heatmap, changed),
    ):
        with pytest.raises(TableError, match="keep one run per figure"):
            draw(pd.concat([table, table]))
        with pytest.raises(TableError, match="the table lacks the columns"):
            draw(table[["value"]])


def test_tables_are_redrawn_from_disk(residual, crossed, changed, tmp_path):
    named = {"patch_residual": residual, "patch_across": crossed, "patch_effects": changed}
    for name, table in named.items():
        storage.write_table(table, tmp_path / name, {})
    read = storage.read_table(tmp_path / "patch_residual")
    assert read["token"].tolist() == residual["token"].tolist()
    assert {path.stem for path in report.draw(tmp_path)} == set(named)
    assert report.summary(tmp_path) == []


@pytest.mark.parametrize("label", ["0-12 17-29", "x" * 300])
def test_effects_of_plans_keep_their_room_beside_long_labels(changed, label):
    plans = changed.assign(dropped=pd.NA).replace({"label": {"2": label}})
    figure = figures.effects_heatmap(plans)
    assert figure.axes[0].get_position().width > 0.4
    shown = labels(figure.axes[0].yaxis)
    assert shown[2].startswith(label[:10])
    assert max(map(len, shown[2].split("\n"))) <= 32
    assert figure.get_tightbbox().x0 >= 0
