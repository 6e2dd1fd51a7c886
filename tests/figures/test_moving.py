"""Figures that answer to a pointer show what is printed, and say what each mark stands for."""

import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from browser import browser
from drawn import drawings, scores

from painters_interp import Plan, experiments, figures, tables
from painters_interp.errors import OutputError, TableError
from painters_interp.figures.readback import read_back

EVIL = '<img src=x onerror="alert(1)"></script>&'
DRAWINGS = drawings()


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_figure_moves(name: str) -> None:
    """What is read back is a figure of plotly's with the panels that are printed."""
    figure = DRAWINGS[name]()
    moving = figures.interactive(figure)
    go.Figure(moving.figure)  # which knows what it takes
    json.dumps(moving.figure, allow_nan=False)
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    drawn = [axis for axis in moving.figure["layout"] if axis.startswith("xaxis")]
    assert len(drawn) == len(panels)
    titles = [ax.get_xlabel().replace("\n", "<br>") for ax in panels]
    assert [moving.figure["layout"][axis]["title"]["text"] for axis in drawn] == titles
    assert moving.picture.startswith(b"\x89PNG")


def traces(moving: figures.Interactive, kind: str) -> list[dict[str, object]]:
    return [trace for trace in moving.figure["data"] if trace["type"] == kind and "text" in trace]


def test_a_point_says_its_value_interval_and_plan() -> None:
    table = scores(experiments.single_layers(4), tasks=1)
    moving = figures.interactive(table)
    [drop] = [t for t in traces(moving, "scatter") if "drop layer i" in t["text"][0]]
    rows = table[table["variant"].eq("drop")].sort_values("layer")
    np.testing.assert_allclose(drop["x"], rows["layer"].astype(float))
    np.testing.assert_allclose(drop["y"], rows["value"])
    value = rows["value"].iloc[1]
    ends = f"[{value - 1.96 * 0.02:.4g}, {value + 1.96 * 0.02:.4g}]"
    assert drop["text"][1] == f"drop layer i<br>layer i 1<br>accuracy: {value:.4g} {ends}<br>0 2 3"


def test_a_cell_says_its_value_interval_and_plan() -> None:
    swaps = experiments.swaps(4)
    kl = np.arange(len(swaps)) / 3
    moving = figures.interactive(swaps.assign(kl=kl, kl_low=kl - 0.1, kl_high=kl + 0.1))
    [cells] = traces(moving, "heatmap")
    [row] = swaps.index[swaps["layer"].eq(1) & swaps["other"].eq(3)]
    of = "KL(intact || plan), nats per token"
    said = f"{of}: {kl[row]:.4g} [{kl[row] - 0.1:.4g}, {kl[row] + 0.1:.4g}]<br>0 3-1"
    assert cells["text"][1][3] == f"layer i 1; layer j 3<br>{said}"
    assert cells["text"][3][1].endswith(said)
    assert cells["text"][2][2] == ""  # the intact model: nothing was measured
    assert cells["z"][2][2] is None


def test_matrices_of_a_saved_table_keep_their_intervals() -> None:
    matrix = pd.DataFrame([[1.0, 0.25], [0.25, 1.0]])
    table = tables.from_matrices({"cosine": matrix}).assign(low=0.125, high=0.5)
    [cells] = traces(figures.interactive(table), "heatmap")
    assert cells["text"][0][1] == "state 0; state 1<br>similarity: 0.25 [0.125, 0.5]"


def test_a_scale_that_is_no_line_keeps_its_ticks() -> None:
    """Places are logarithms there, as on paper, and ticks say the numbers themselves."""
    figure, ax = plt.subplots()
    ax.plot([1, 2, 3], [0.01, 1.0, 100.0])
    ax.set_yscale("log")
    read = read_back(figure)
    np.testing.assert_allclose(read["data"][0]["y"], [-2, 0, 2], atol=1e-12)
    axis = read["layout"]["yaxis"]
    at = dict(zip(axis["ticktext"], axis["tickvals"], strict=True))
    np.testing.assert_allclose([at["0.01"], at["100"]], [-2, 2])


def test_what_is_missing_is_no_number() -> None:
    [cells] = traces(figures.interactive([[1.0, np.nan], [0.5, np.inf]]), "heatmap")
    assert cells["z"][0][1] is None
    assert cells["text"][0][1] == ""


@pytest.mark.parametrize(
    "result", [Plan.parse("0 (1|2)*3 3", 4), np.eye(3), scores(experiments.variants(6), tasks=1)]
)
def test_results_draw_themselves(result: object) -> None:
    found = figures.interactive(result).figure
    assert found["data"] or found["layout"]["shapes"]
    assert not plt.get_fignums()  # what was drawn for it is closed


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(TableError, match="is no matrix of numbers"):
        figures.interactive("nonsense")
    with pytest.raises(TableError, match="shows nothing"):
        figures.interactive(plt.figure())


def test_labels_are_text_and_never_markup() -> None:
    table = scores(experiments.single_layers(4), tasks=1).assign(task=EVIL)
    moving = figures.interactive(figures.single_layer_curves(table, title=EVIL))
    texts = re.findall(r"<[^>]*>", json.dumps(moving.figure))
    assert {*texts} <= {"<br>", "<b>", "</b>"}
    inner = moving.html(EVIL).split('type="application/json">')[1]
    assert inner.count("<") == 3  # the ends of three elements, and nothing else
    assert inner.endswith("</script></div></div>")


def test_without_plotly_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(OutputError, match=r"pip install 'painters_interp\[interactive\]'"):
        figures.interactive(np.eye(2))


def test_a_notebook_has_it_as_a_figure_and_as_a_picture() -> None:
    shown = figures.interactive(np.eye(2))._repr_mimebundle_()
    assert {*shown} == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    json.dumps(shown, allow_nan=False)


def test_a_browser_moves_it_and_asks_nobody(tmp_path: Path) -> None:
    page = figures.interactive(scores(experiments.variants(6), tasks=1)).write(tmp_path / "x.html")
    with browser(tmp_path / "home") as tab:
        tab.open(page, 400)
        assert tab.run("document.querySelectorAll('.alive .live .trace').length") > 3
        assert tab.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert tab.said == []
        assert not [a for a in tab.asked if not a.startswith(("file:", "data:", "blob:"))]
