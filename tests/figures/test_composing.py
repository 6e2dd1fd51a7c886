"""Figures are put together by a user: into axes of one's own, under one's own names and colours."""

import inspect
from typing import get_type_hints

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawn import drawings, scores
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from painters_interp import experiments, figures, tables
from painters_interp.errors import TableError

DRAWINGS = drawings()
PANELS = {"single_layer_curves": 2, "similarity_panel": 2, "depth_curves": 2, "damage_scatter": 1,
          "decoding_curves": 2, "reader_heatmap": 2}  # fmt: skip


def test_no_drawing_function_is_left_out_of_what_is_drawn_here():
    public = {name: value for name, value in vars(figures).items() if inspect.isfunction(value)}
    drawing = {
        name for name, value in public.items() if get_type_hints(value).get("return") is Figure
    }
    assert len(drawing) > 20
    assert drawing - {"panel_letters"} <= {*DRAWINGS}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_function_draws_into_axes_of_ones_own(name):
    panels = PANELS.get(name)
    figure, axes = plt.subplots(1, (panels or 1) + 1, figsize=(9, 3))
    axes[-1].plot([0, 1], [0, 1])
    argument = {"ax": axes[0]} if panels is None else {"axes": axes[:-1]}
    assert DRAWINGS[name](**argument) is figure
    assert all(ax.collections or ax.get_lines() or ax.patches for ax in axes[:-1])
    assert len(axes[-1].get_lines()) == 1
    assert not figure.legends
    assert figure.get_size_inches().tolist() == [9, 3]


def test_it_does_so_in_the_style_that_holds_there():
    with mpl.rc_context({"axes.labelsize": 17, "font.family": "serif"}):
        _, ax = plt.subplots()
        DRAWINGS["variant_curves"](ax=ax)
        assert ax.xaxis.label.get_fontsize() == 17
    with figures.publication("icml"):
        _, ax = plt.subplots()
        DRAWINGS["variant_curves"](ax=ax)
    assert ax.xaxis.label.get_fontsize() == 8


def test_of_subfigures_too():
    figure = plt.figure()
    left, _ = figure.subfigures(1, 2)
    assert DRAWINGS["heatmap"](ax=left.subplots()) is figure


@pytest.mark.parametrize("word", ["ax", "axes"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_axes_of_another_number_or_kind_are_refused_in_one_line(name, word):
    """Under either word: a figure says how many panels it has, and which argument takes them."""
    figure, axes = plt.subplots(1, 4)
    needed = PANELS.get(name, 1)
    says = f"{needed} panels: axes= takes {needed} axes" if needed > 1 else "one panel: ax= takes"
    for given in (axes, axes[: needed - 1]):
        with pytest.raises(TableError, match=f"this figure has {says}.*; {len(given)} w"):
            DRAWINGS[name](**{word: given})
    with pytest.raises(TableError, match="ax and axes are axes of matplotlib"):
        DRAWINGS[name](**{word: figure})
    with pytest.raises(TableError, match="say the same; give one"):
        DRAWINGS[name](ax=axes[0], axes=axes)


def test_either_word_is_understood():
    figure, axes = plt.subplots(1, 2)
    assert DRAWINGS["heatmap"](axes=axes[:1]) is figure
    assert DRAWINGS["similarity_panel"](ax=axes) is figure


def test_names_and_palette_are_the_users_own():
    table = scores(experiments.variants(4, seeds=1))
    figure = figures.variant_curves(table, names={"skip": "left out"}, palette={"skip": "red"})
    [line] = [line for line in figure.axes[0].get_lines() if line.get_label() == "left out"]
    assert to_hex(line.get_color()) == "#ff0000"
    tasks = figures.task_curves(
        table, "skip", names={"task_0": "First"}, palette=["black", "0.5"]
    ).axes[0]
    assert [to_hex(line.get_color()) for line in tasks.get_lines()[:2]] == ["#000000", "#808080"]
    assert tasks.get_lines()[0].get_label() == "First"
    assert figures.size_curves(table, palette="colorblind").legends[0].get_texts()[0].get_text()
    with pytest.raises(TableError, match="palette='nonsense'"):
        figures.variant_curves(table, palette="nonsense")


def test_panels_have_letters():
    figure = figures.panel_letters(DRAWINGS["similarity_panel"]())
    assert [ax.get_title("left") for ax in figure.axes[:2]] == ["a", "b"]
    assert not any(ax.get_title("left") for ax in figure.axes[2:])


class TestLabels:
    @pytest.mark.parametrize("task", [r"$\frac{$", "_hidden", "a<b&c", "x" * 60, "$5 or $6"])
    def test_any_name_of_a_task_is_drawn_as_it_stands(self, task, tmp_path):
        table = scores(experiments.variants(4, seeds=1)).replace({"task": {"task_1": task}})
        figure = figures.task_curves(table, "skip")
        shown = [text.get_text() for text in figure.legends[0].get_texts()]
        assert shown[1].strip().replace("\\$", "$")[:20] == task[:20]
        figures.save(figure, tmp_path / "figure", "svg")

    def test_formulas_in_titles_stay_whole(self):
        title = "The loss " * 8 + r"$\sum_i x_i + y$ and a word of \$5"
        assert r"$\sum_i x_i + y$" in figures.naming.wrapped(title, 60.0).replace("\n", " ")
        assert figures.naming.wrapped(r"$\frac{$", 60.0) == r"\$\frac{\$"

    def test_what_cannot_be_shown_is_refused_and_nothing_half_drawn_stays(self, monkeypatch):
        for sign in ("\U000f0000", "\U0001f3a8"):  # private; in the font of boxes alone
            with pytest.raises(TableError, match="no font here can show the label"):
                figures.heatmap([[1.0]], title=sign)
        table = scores(experiments.variants(4, seeds=1)).replace({"task": {"task_1": "\u0646"}})
        monkeypatch.setattr(figures.fonts, "_SHAPES", False)
        with pytest.raises(TableError, match="letters of '\u0646' in wrong order or form"):
            figures.task_curves(table, "skip")
        assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("matrix", "shape"),
    [
        ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], (2, 3)),
        (np.eye(3), (3, 3)),
        (pd.DataFrame({"one": [1, 2], "other": [3, 4]}, index=["x", "y"]), (2, 2)),
    ],
)
def test_any_matrix_is_a_heatmap(matrix, shape):
    assert figures.heatmap(matrix).axes[0].collections[0].get_array().shape == shape


@pytest.mark.parametrize("wrong", [[1.0, 2.0], "text", [], None])
def test_what_is_no_matrix_is_refused(wrong):
    with pytest.raises(TableError, match="matrix"):
        figures.heatmap(wrong)


def test_a_forest_has_a_row_for_each_plan_and_a_mark_for_each_task():
    ax = DRAWINGS["forest"]().axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["skip", "reverse"]
    assert ax.get_lines()[0].get_xdata().tolist() == [-0.2, -0.2]
    ends = ax.collections[0].get_segments()
    assert [segment[:, 0].tolist() for segment in ends] == [[-0.3, 0.1]] * 2
    with pytest.raises(TableError, match="lacks the columns delta"):
        figures.forest(pd.DataFrame({"plan": ["0"], "task": ["t"], "metric": ["acc"]}))


def test_a_forest_of_a_comparison_names_the_other_side():
    pair = pd.DataFrame({"plan": "runs/a", "against": "runs/$b{x}$", "task": ["piqa", "gsm8k"]})
    pair = pair.assign(metric="acc", delta=0.1, delta_low=-0.1, delta_high=0.2)
    [ax] = figures.forest(pair).axes
    assert ax.get_xlabel() == r"accuracy: difference to runs/\$b{x}\$, 95 % interval"


def test_a_forest_of_divergences_says_so_and_shows_their_ends():
    [ax] = DRAWINGS["forest of KL"]().axes
    assert ax.get_xlabel() == "KL from the intact model (nats per token), 95 % interval"
    assert [list(part[:, 0]) for part in ax.collections[0].get_segments()] == [[0.4, 1.2]] * 2


def test_the_logit_lens_has_the_likeliest_token_of_each_state():
    ax = DRAWINGS["logit_lens"]().axes[0]
    assert [text.get_text() for text in ax.texts] == ["a"] * 16
    np.testing.assert_allclose(ax.collections[0].get_array(), np.exp(-0.5))


def test_a_strip_has_groups_side_by_side_and_loops_marked():
    texts = DRAWINGS["plan_strip"]().axes[0].texts
    assert [text.get_text() for text in texts] == ["0", "1", "2", "x3", "3", "@0.5", "4", "5"]
    places = {text.get_text(): text.get_position() for text in texts}
    assert places["1"][0] == places["2"][0]
    assert places["1"][1] < places["2"][1]  # downwards


def test_distances_are_never_in_the_colours_of_similarities():
    figure = DRAWINGS["similarity_panel"]()
    one, other = (ax.collections[0] for ax in figure.axes[:2])
    assert one.get_cmap().name != other.get_cmap().name
    assert len(figure.axes) == 4  # a bar each
    assert figure.axes[3].get_ylabel() == "distance\ndarker: further apart"


def test_panels_that_a_shared_scale_would_hide_have_their_own():
    matrix = pd.DataFrame(np.eye(3))
    figure = figures.similarity_panel({"a": matrix, "b": 0.99 + matrix / 1000})
    assert figure.axes[1].collections[0].get_clim() == pytest.approx((0.99, 0.991))


def test_effects_with_a_sign_are_white_at_nothing():
    mesh = figures.heatmap([[-1.0, 3.0]], meaning="effect").axes[0].collections[0]
    assert mesh.get_clim() == (-3, 3)
    with pytest.raises(TableError, match="no meaning 'colour'"):
        figures.heatmap([[1.0]], meaning="colour")


def test_states_of_two_models_are_named_and_names_are_no_formulas() -> None:
    table = tables.from_matrices({"a$x_1$": pd.DataFrame(np.eye(3))})
    ax = figures.similarity_panel(table.assign(source="$m$", target="shuffled tokens")).axes[0]
    shown = ax.get_title(), ax.get_ylabel(), ax.get_xlabel()
    assert shown == (r"a\$x_1\$", r"state of \$m\$", "state of shuffled tokens")
    reading = figures.reader_heatmap(table.assign(chance=0.0), ["a$x_1$"]).axes[0]
    assert reading.get_title() == r"a\$x_1\$"
