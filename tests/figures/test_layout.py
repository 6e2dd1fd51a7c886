"""What a figure says can be read at its printed size: nothing touches, is cut off or left blank."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from painters_interp import Plan, experiments, figures
from painters_interp.errors import TableError

NARROW = ["neurips", "jmlr", "slide"]


def grid(n_layers: int = 30) -> pd.DataFrame:
    plans = experiments.swaps(n_layers)
    rng = np.random.default_rng(0)
    return plans.assign(kl=[0.0, *rng.gamma(1.0, 1.0, len(plans) - 1)])


def states(n: int = 31) -> pd.DataFrame:
    return pd.DataFrame(np.exp(-abs(np.subtract.outer(range(n), range(n))) / 9))


def within(figure: Figure) -> bool:
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(box.x0, box.y0) > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01


def touching(labels: list[plt.Text], across: bool) -> bool:
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    ends = sorted((b.x0, b.x1) if across else (b.y0, b.y1) for b in boxes)
    return any(after[0] < before[1] - 3 for before, after in pairwise(ends))  # of line height


@pytest.mark.parametrize("venue", figures.VENUES)
def test_ticks_of_small_maps_do_not_touch(venue: str) -> None:
    with figures.publication(venue, columns=1):
        figure = figures.similarity_panel({"cosine": states(), "cka": states()}, label="alike")
    assert within(figure)
    for ax in figure.axes:
        assert not touching(ax.get_xticklabels(), across=True)
        assert not touching(ax.get_yticklabels(), across=False)
    panels = figure.axes[:2]
    assert min(ax.get_position().width * figure.get_figwidth() for ax in panels) > 0.8  # inches


def test_words_below_an_axis_are_turned_only_where_they_would_touch() -> None:
    words = pd.DataFrame(np.eye(3), columns=["a", "b", "c"])
    turned = [
        figures.heatmap(words.set_axis(names, axis=1)).axes[0].get_xticklabels()[0].get_rotation()
        for names in (
            ["a", "b", "c"],
            ["one long name here", "some other long name", "the longest name"],
        )
    ]
    assert turned == [0, 90]


def test_layers_in_the_order_of_a_tree_are_all_named_in_type_of_one_size() -> None:
    figure = figures.grid_heatmap(grid(), order="hierarchical")
    ax = figure.axes[0]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert sorted(int(label.get_text()) for label in labels) == [*range(30)]
        assert {label.get_fontsize() for label in labels} == {7.0}
    assert within(figure)


@pytest.mark.parametrize("venue", NARROW)
def test_where_little_fits_beside_a_map_its_bar_is_below_and_the_map_is_wide(venue: str) -> None:
    with figures.publication(venue, columns=1):
        figure = figures.grid_heatmap(grid())
    ax, bar = figure.axes
    assert bar.get_position().y1 < ax.get_position().y0
    assert ax.get_position().width > 0.55
    assert bar.get_xlabel().startswith("KL(intact || plan)")
    assert within(figure)


@pytest.mark.parametrize("venue", ["icml", "neurips"])
def test_a_map_of_square_cells_leaves_no_height_blank(venue: str) -> None:
    with figures.publication(venue, columns=1):
        figure = figures.heatmap(states(), "cosine")
    ax = figure.axes[0]
    assert figure.get_tightbbox().y1 > figure.get_figheight() - 0.15
    assert ax.get_position().width * figure.get_figwidth() == pytest.approx(
        ax.get_position().height * figure.get_figheight(), rel=0.02
    )


def test_a_bar_has_an_arrow_at_nothing_where_values_change_sign_and_only_there() -> None:
    for least, arrows in ((-1.0, 1), (0.0, 0), (-1e-6, 0)):
        bar = figures.heatmap([[least, 1.0]]).axes[1]
        assert len(bar.get_lines()) == arrows


@pytest.mark.parametrize("venue", [*NARROW, "nature"])
@pytest.mark.parametrize("text", ["0-8 (9-20)*3 21-29", "0-28 [0-29]@0.5*2 5.attn 29"])
def test_a_plan_goes_on_in_the_next_row_and_its_cells_hold_their_names(venue, text) -> None:
    with figures.publication(venue, columns=1):
        figure = figures.plan_strip(Plan.parse(text, 30))
    ax = figure.axes[0]
    assert within(figure)
    boxes = [name.get_window_extent() for name in ax.texts]
    assert not any(a.shrunk(0.9, 0.7).overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_many_branches_are_folded() -> None:
    figure = figures.plan_strip(Plan.parse("0 (1-78) 79", 80))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "\N{VERTICAL ELLIPSIS}" in texts
    assert {"1", "78"} <= {*texts}
    assert figure.get_figheight() < 6


def test_names_at_points_hide_neither_points_nor_each_other() -> None:
    plans = pd.DataFrame({"plan": [f"0-{k} {k + 3}-29" for k in range(10, 16)], "n_layers": 30})
    times = plans.assign(token_ratio=np.linspace(0.9, 0.95, 6), token_ratio_low=0.8,
                         token_ratio_high=1.0)  # fmt: skip
    with figures.publication("neurips", columns=1):
        figure = figures.latency_frontier(times, plans.assign(kl=np.linspace(0.5, 0.45, 6)))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_windows_have_lanes_in_which_their_marks_stand() -> None:
    plans = experiments.variants(30, seeds=1)
    table = plans.assign(task="t", metric="acc", value=0.5, chance=0.2, higher_is_better=True,
                         model="m", score=0.5, score_low=0.3, score_high=0.7)  # fmt: skip
    table = table[table["affected"].notna()].drop(columns="task")
    table = table.assign(score_low=table["score_low"].where(table["affected"] < 9, -0.1))
    figure = figures.variant_curves(table)
    [ax] = figure.axes
    assert ax.get_xlim() == (-1, 31)
    assert [label.get_text() for label in ax.get_xticklabels()][:3] == ["1", "5", "9"]
    [line] = [line for line in ax.get_lines() if line.get_label().startswith("looped")]
    assert np.abs(line.get_xdata() - np.sort(line.get_xdata().round(0))).max() < 2
    assert "no interval above chance" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_what_has_no_value_is_left_out_and_said() -> None:
    forest = pd.DataFrame({"label": ["a", "b"], "plan": ["0", "1"], "delta": [0.1, np.nan]})
    forest = forest.assign(task="t", metric="acc", delta_low=0.0, delta_high=0.2)
    with pytest.warns(UserWarning, match="left out: 1 row without a difference"):
        figures.forest(forest)
    line = pd.DataFrame({"calls": [4, 5], "value": [1.0, np.nan], "low": 0.0, "high": 2.0})
    with pytest.warns(UserWarning, match="left out: 1 point without a value"):
        figures.search_curves(line.assign(variant="a", measure="kl"))
    cells = states(4).where(states(4) < 0.9)
    texts = figures.heatmap(cells).legends[0].get_texts()
    assert [text.get_text() for text in texts] == ["no value"]


@pytest.mark.parametrize("wrong", [{"names": ["a"]}, {"names": 3}, {"palette": 3}])
def test_names_and_colours_of_another_kind_are_refused(wrong) -> None:
    table = pd.DataFrame({"plan": ["0"], "kl": [0.5], "kl_low": [0.4], "kl_high": [0.6]})
    with pytest.raises(TableError, match=f"{next(iter(wrong))}="):
        figures.forest(table, **wrong)


def test_rows_and_columns_are_named_as_they_stand() -> None:
    names = ["$\\frac{$", "a<b", "_hidden", "$5 or $6"]
    figure = figures.heatmap(pd.DataFrame(np.eye(4), index=names, columns=names))
    shown = [
        label.get_text().strip().replace("\\$", "$") for label in figure.axes[0].get_yticklabels()
    ]
    assert shown == names
    figure.draw_without_rendering()


def test_what_lies_below_nothing_is_hatched_and_so_is_its_half_of_the_bar() -> None:
    values = pd.DataFrame([[-1.0, 1.0, -0.01], [np.nan, -0.5, 0.0]])
    ax, bar = figures.heatmap(values, label="effect", meaning="effect").axes
    [hatched] = [c for c in ax.collections if c.get_hatch()]
    corners = {tuple(path.vertices.min(axis=0)) for path in hatched.get_paths()}
    assert corners == {(0, 0), (1, 1)}
    [half] = [c for c in bar.collections if c.get_hatch()]
    [box] = half.get_paths()
    assert (box.vertices[:, 1].min(), box.vertices[:, 1].max()) == (-1, 0)
    plain = figures.heatmap(values, label="value")
    assert not [c for ax in plain.axes for c in ax.collections if c.get_hatch()]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_bar_beside_maps_ends_with_them(count):
    values = np.random.default_rng(0).random((31, 31))
    figure = figures.similarity_panel({f"map {k}": values for k in range(count)})
    *maps, bar = [ax.get_position() for ax in figure.axes if ax.get_visible()]
    top, bottom = max(box.y1 for box in maps), min(box.y0 for box in maps)
    assert (bar.y0, bar.y1) == pytest.approx((bottom, top), abs=2e-3)


def test_what_is_written_is_laid_out_once(tmp_path):
    figure = figures.similarity_panel({"one": [[1.0, 0.5], [0.5, 1.0]]})
    engine, laid_out = figure.get_layout_engine(), []
    engine.execute = laid_out.append
    figures.save(figure, tmp_path / "map")
    assert laid_out == [figure]
    assert figure.get_layout_engine() is engine
