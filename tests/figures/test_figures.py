"""Figures show the table's numbers, the same bytes every time, with nothing cut off."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from painters_interp import experiments, figures, storage, tables
from painters_interp.errors import OutputError, TableError

TASKS = {"lambada_openai": (0.0, 0.7), "winogrande": (0.5, 0.69), "gsm8k": (0.0, 0.14)}


def pretend_results(experiment: pd.DataFrame) -> pd.DataFrame:
    """An experiment's table as if evaluated: deterministic scores between chance and intact."""
    parts = []
    for i, (task, (chance, intact)) in enumerate(TASKS.items()):
        damage = np.array([sum(map(ord, plan)) * (i + 3) % 97 / 97 for plan in experiment["plan"]])
        damage[experiment["variant"] == "intact"] = 0
        measured = {"model": "tiny", "task": task, "metric": "acc", "chance": chance}
        measured |= {"value": intact - damage * (intact - chance), "stderr": 0.01, "seed": 0}
        parts.append(experiment.assign(**measured, higher_is_better=True))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def suite() -> pd.DataFrame:
    return pretend_results(experiments.suite(12, seeds=3))


@pytest.fixture(scope="module")
def matrix() -> pd.DataFrame:
    states = np.arange(13)
    return pd.DataFrame(np.exp(-abs(states[:, None] - states) / 9), index=states, columns=states)


def drawn(ax, label):
    (line,) = [line for line in ax.get_lines() if str(line.get_label()).startswith(label)]
    return line


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_drawn_twice_a_figure_is_the_same_bytes_and_nothing_else_changes(suite, matrix, tmp_path):
    before, open_before = (suite.copy(), matrix.copy()), plt.get_fignums()
    for draw, kinds in (
        (lambda: figures.variant_curves(suite, title="A title"), ["pdf", "png", "svg"]),
        (lambda: figures.similarity_panel({"a": matrix, "b": matrix**2}), ["pdf"]),
    ):
        first, second = (figures.save(draw(), tmp_path / name, kinds) for name in "ab")
        for a, b in zip(first, second, strict=True):
            assert a.read_bytes() == b.read_bytes(), a.name
    pd.testing.assert_frame_equal(suite, before[0])
    pd.testing.assert_frame_equal(matrix, before[1])
    assert plt.get_fignums() == open_before


def test_a_users_own_style_neither_changes_a_figure_nor_is_changed(suite, tmp_path):
    (plain,) = figures.save(figures.variant_curves(suite), tmp_path / "plain", ["png"])
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "savefig.dpi": 40}):
        before = dict(mpl.rcParams)
        (styled,) = figures.save(figures.variant_curves(suite), tmp_path / "styled", ["png"])
        assert dict(mpl.rcParams) == before
    assert plain.read_bytes() == styled.read_bytes()


@pytest.mark.parametrize("n_layers", [6, 80])
def test_nothing_reaches_beyond_the_edge(n_layers):
    table = pretend_results(experiments.variants(n_layers))
    long = table.replace({"task": {"gsm8k": "blimp_wh_questions_subject_gap_long_distance"}})
    for figure in (
        figures.variant_curves(table, title="A title of many words that needs two lines at least"),
        figures.task_curves(long, "skip"),
        figures.size_curves(table.assign(model="an-organisation/a-model-with-a-long-name")),
    ):
        box = figure.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.get_figwidth() + 0.01
        assert box.y1 <= figure.get_figheight() + 0.01


def test_single_layers_have_a_panel_per_task_with_the_tables_values(suite):
    figure = figures.single_layer_curves(suite)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == ["LAMBADA", "WinoGrande", "GSM8K"]
    for ax, task in zip(panels, TASKS, strict=True):
        rows = suite[suite["task"] == task]
        for variant in ("drop", "swap"):
            line = drawn(ax, variant)
            expected = rows[rows["variant"] == variant]
            assert list(line.get_xdata()) == list(expected["layer"])
            assert list(line.get_ydata()) == list(expected["value"])
        chance, intact = TASKS[task]
        assert set(drawn(ax, "intact").get_ydata()) == {intact}
        assert set(drawn(ax, "chance").get_ydata()) == {chance}
    assert legend_texts(figure) == [
        *("drop layer i", "swap layers i, i+1", "intact model", "chance", "95 % interval")
    ]


def test_variants_are_lines_of_median_scores(suite):
    figure = figures.variant_curves(suite)
    (ax,) = figure.axes
    assert legend_texts(figure) == [
        *("looped parallel x3", "random order (3 seeds)", "reversed order"),
        *("parallel", "skip", "repeat middle layer", "95 % interval over seeds"),
    ]
    scores = tables.normalise(suite)
    skipped = scores[(scores["variant"] == "skip")].groupby("affected")["score"].median()
    assert list(drawn(ax, "skip").get_xdata()) == [1, 3, 5, 7, 9, 11]
    assert list(drawn(ax, "skip").get_ydata()) == pytest.approx(list(skipped))
    shuffled = scores[scores["variant"] == "random"].groupby(["affected", "shuffle_seed"])["score"]
    means = shuffled.median().groupby("affected").mean()
    assert list(drawn(ax, "random").get_ydata()) == pytest.approx(list(means))
    assert len(ax.collections) == 1  # one band: Student's interval over the seeds of random order


def test_a_normalised_table_gives_the_same_figure(suite, tmp_path):
    (one,) = figures.save(figures.variant_curves(suite), tmp_path / "a", ["png"])
    normal = tables.normalise(suite)
    (two,) = figures.save(figures.variant_curves(normal), tmp_path / "b", ["png"])
    assert one.read_bytes() == two.read_bytes()


def test_a_table_from_disk_gives_the_same_figure(suite, tmp_path):
    read = storage.read_table(storage.write_table(suite, tmp_path / "suite", {}))
    (one,) = figures.save(figures.loop_heatmap(suite), tmp_path / "a", ["png"])
    (two,) = figures.save(figures.loop_heatmap(read), tmp_path / "b", ["png"])
    assert one.read_bytes() == two.read_bytes()


def test_a_table_that_went_through_csv_draws_the_same(suite, tmp_path):
    """Through pandas' own, with which counts become 3.0 and an index becomes a column."""
    medians = tables.median_over_tasks(tables.normalise(suite))
    banded = medians.assign(score_low=medians["score"] - 0.1, score_high=medians["score"] + 0.1)
    loops = medians.query("experiment == 'loops' and variant == 'looped'")
    for draw, table in (
        (figures.single_layer_curves, suite),
        (figures.variant_curves, banded.query("experiment == 'variants'")),
        (figures.loop_heatmap, loops.assign(selected=loops["times"].eq(loops["affected"]))),
    ):
        table.to_csv(tmp_path / "table.csv")
        (one,) = figures.save(draw(table), tmp_path / "a", ["png"])
        (two,) = figures.save(draw(pd.read_csv(tmp_path / "table.csv")), tmp_path / "b", ["png"])
        assert one.read_bytes() == two.read_bytes()


def test_tasks_are_lines_beside_their_median(suite):
    figure = figures.task_curves(suite, "parallel")
    (ax,) = figure.axes
    assert legend_texts(figure) == ["LAMBADA", "WinoGrande", "GSM8K", "median"]
    lines = np.array([drawn(ax, n).get_ydata() for n in ("LAMBADA", "WinoGrande", "GSM8K")])
    assert list(drawn(ax, "median").get_ydata()) == pytest.approx(list(np.median(lines, axis=0)))


def test_the_median_over_tasks_has_the_band_of_its_interval(suite):
    medians = tables.median_over_tasks(tables.normalise(suite))
    banded = medians.assign(score_low=medians["score"] - 0.1, score_high=medians["score"] + 0.05)
    (ax,) = figures.task_curves(suite, "parallel", medians=banded).axes
    (plain,) = figures.task_curves(suite, "parallel").axes
    assert not plain.collections
    [band] = ax.collections
    median = drawn(ax, "median").get_ydata()
    assert list(median) == pytest.approx(list(drawn(plain, "median").get_ydata()))
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(min(median) - 0.1)
    assert heights.max() == pytest.approx(max(median) + 0.05)


def test_sizes_are_lines_against_the_share_of_layers(suite):
    other = pretend_results(experiments.variants(6)).assign(model="small")
    figure = figures.size_curves(pd.concat([suite, other]))
    assert legend_texts(figure) == ["tiny", "small"]
    assert list(drawn(figure.axes[0], "small").get_xdata()) == pytest.approx([100 / 6, 500 / 6])


def test_a_variant_looks_the_same_in_every_figure(suite):
    alone = figures.variant_curves(suite[suite["variant"].isin(["intact", "reverse"])])
    together = figures.variant_curves(suite)
    looks = [
        (line.get_color(), line.get_marker())
        for line in (drawn(f.axes[0], "reversed") for f in (alone, together))
    ]
    assert looks[0] == looks[1]


def test_names_beside_variants_take_none_of_their_colours() -> None:
    looks = figures.appearance.looks(["at once", "parallel", "looped", "sum", "damped repeat"])
    assert len({look.colour for look in looks.values()}) == 5
    assert looks["parallel"] == figures.appearance.VARIANTS["parallel"]


def test_the_six_variants_differ_in_colour_and_marker_and_dashes():
    six = ["looped", "random", "reverse", "parallel", "skip", "repeat"]
    looks = [figures.appearance.VARIANTS[name] for name in six]
    for trait in ("colour", "marker", "dashes"):
        assert len({getattr(look, trait) for look in looks}) == 6


def test_loops_mark_the_best_k_of_each_m(suite):
    figure = figures.loop_heatmap(suite)
    ax = figure.axes[0]
    loops = tables.normalise(suite).query("experiment == 'loops' and variant == 'looped'")
    medians = loops.groupby(["times", "affected"])["score"].median().unstack()
    assert ax.collections[0].get_array().shape == (28, 5)
    np.testing.assert_allclose(ax.collections[0].get_array(), medians)
    best = drawn(ax, "best k")
    assert list(best.get_ydata() + 0.5) == list(medians.idxmax())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["3", "5", "7", "9", "11"]


def test_medians_with_intervals_have_them_at_the_markers_of_every_variant(suite):
    medians = tables.median_over_tasks(tables.normalise(suite)).query("experiment == 'variants'")
    banded = medians.assign(score_low=medians["score"] - 0.1, score_high=medians["score"] + 0.05)
    (ax,) = figures.variant_curves(banded).axes
    assert len(ax.collections) == 6
    skip = banded[banded["variant"] == "skip"].sort_values("affected")
    colour = figures.appearance.VARIANTS["skip"].colour
    [bars] = [c for c in ax.collections if to_hex(c.get_edgecolor()[0]).upper() == colour]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends[:, 0], skip["score_low"])
    np.testing.assert_allclose(ends[:, 1], skip["score_high"])
    places = drawn(ax, "skip").get_xdata()
    assert places == pytest.approx([segment[0, 0] for segment in bars.get_segments()])
    assert np.abs(places - skip["affected"].to_numpy()).max() < 1  # beside each other, in order
    assert len({tuple(line.get_xdata()) for line in ax.get_lines()[:6]}) == 6


def test_loops_mark_what_was_chosen_on_the_other_half(suite):
    medians = tables.median_over_tasks(tables.normalise(suite))
    loops = medians[medians["experiment"].eq("loops") & medians["variant"].eq("looped")]
    chosen = tables.typed(loops.assign(selected=loops["times"].eq(loops["affected"])))
    best = drawn(figures.loop_heatmap(chosen).axes[0], "best k for each M, on the other half")
    assert list(best.get_ydata() + 0.5) == [3, 5, 7, 9, 11]


def test_similarity_shows_the_matrix_with_state_0_at_the_top(matrix):
    figure = figures.similarity_heatmap(matrix, label="CKA", title="A title")
    ax, bar = figure.axes
    np.testing.assert_allclose(ax.collections[0].get_array(), matrix)
    assert ax.yaxis_inverted()
    assert ax.get_title() == "A title"
    assert bar.get_ylabel() == "CKA\nlighter: more alike"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "2", "4", "6", "8", "10", "12"]


def test_a_panel_has_one_colour_scale_wide_enough_for_all(matrix):
    figure = figures.similarity_panel({"a": matrix, "b": matrix - 1})
    meshes = [ax.collections[0] for ax in figure.axes[:2]]
    assert {mesh.get_clim() for mesh in meshes} == {((matrix - 1).min().min(), 1.0)}
    assert len(figure.axes) == 3


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        (range(7), [0, 1, 2, 3, 4, 5, 6]),
        (range(31), [0, 5, 10, 15, 20, 25, 30]),
        (range(81), [0, 20, 40, 60, 80]),
        (range(3, 30, 2), [3, 7, 11, 15, 19, 23, 27]),
        ([4], [4]),
    ],
)
def test_ticks_are_few_and_round(values, ticks):
    assert figures.style.tick_values(values) == ticks


@pytest.mark.parametrize("n_layers", [2, 3])
def test_a_single_count_is_a_single_tick_and_its_median_is_seen(n_layers):
    table = pretend_results(experiments.variants(n_layers))
    (ax,) = figures.task_curves(table, "skip").axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(n_layers - 1)]
    assert drawn(ax, "median").get_marker() == "o"
    (ax,) = figures.variant_curves(table).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(n_layers - 1)]


def test_what_has_no_value_says_so(suite, matrix):
    table = pretend_results(experiments.variants(6, seeds=1))
    broken = table.assign(value=table["value"].where(table["variant"] != "reverse"))
    assert "reversed order (no value)" in legend_texts(figures.variant_curves(broken))
    layers = pretend_results(experiments.single_layers(4))
    figure = figures.single_layer_curves(
        layers.assign(value=layers["value"].where(layers["task"] != "gsm8k"))
    )
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [[], [], ["no value"]]
    assert not any("no value" in text for text in legend_texts(figure))
    panel = figures.similarity_panel({"a": matrix, "b": matrix * np.nan})
    assert [text.get_text() for text in panel.axes[1].texts] == ["no value"]
    for draw in (figures.single_layer_curves, figures.similarity_heatmap):
        with pytest.raises(TableError, match="no finite value to draw"):
            draw(
                matrix * np.nan
                if draw is figures.similarity_heatmap
                else layers.assign(value=np.nan)
            )


def test_curves_along_depth_on_a_logarithmic_scale() -> None:
    values = {"place": range(3), "value": [10.0, 0.1, 0.0], "low": 0.0, "high": 20.0}
    table = pd.DataFrame(values).assign(measure="variance", axis="layer")
    [ax] = figures.depth_curves(table, log=True).axes
    assert ax.get_yscale() == "log"
    assert ax.lines[0].get_xdata().tolist() == [0, 1]  # zero has no place there
    below = table.assign(value=table["value"] - 1)  # 9, -0.9, -1
    [ax] = figures.depth_curves(below, log=True).axes
    assert ax.get_yscale() == "symlog"
    assert ax.get_ylabel().endswith("(log above 1, linear below)")
    marks = [line.get_ydata()[0] for line in ax.lines if [*line.get_xdata()] == [0, 1]]
    assert marks == [1, -1]


def test_a_measure_without_a_value_has_no_panel_and_others_say_their_unit():
    line = pd.DataFrame({"place": range(3), "axis": "layer", "value": [1.0, 2.0, 3.0]})
    line = line.assign(low=0.5, high=3.5)
    none = line.assign(measure="linearity", value=np.nan, low=np.nan, high=np.nan)
    table = pd.concat([line.assign(measure="lens_kl"), none])
    with pytest.warns(UserWarning, match="left out: linearity, without a value at any place"):
        [ax] = figures.depth_curves(table).axes
    assert ax.get_ylabel() == "nats"
    with pytest.raises(TableError, match="no finite value"):
        figures.depth_curves(none)
    _, axes = plt.subplots(1, 2)
    figures.depth_curves(table, axes=axes)
    assert [text.get_text() for text in axes[1].texts] == ["no value"]


def test_curves_of_plans_stand_where_the_intact_model_does_the_same():
    line = pd.DataFrame({"place": range(4), "value": [1.0, 2.0, 3.0, 4.0], "axis": "state"})
    line = line.assign(measure="variance", low=np.nan, high=np.nan)
    plans = [line.assign(plan="all"), line.assign(plan="again", depth=[0.0, 1.0, 1.0, 3.0])]
    [ax] = figures.depth_curves(pd.concat(plans), "plan").axes
    assert [list(drawn.get_xdata()) for drawn in ax.get_lines()] == [[0, 1, 2, 3], [0, 1, 1, 3]]
    assert ax.get_xlabel().replace("\N{NO-BREAK SPACE}", " ") == "state (k: before layer k)"


def test_a_label_of_300_characters_leaves_room_for_what_it_labels(suite):
    long = suite.replace({"task": {"gsm8k": "x" * 300}}).assign(model="x" * 300)
    for figure in (
        figures.task_curves(long, "skip"),
        figures.size_curves(long),
        figures.single_layer_curves(long),
    ):
        box = figure.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= figure.get_figwidth() + 0.01
        assert figure.axes[0].get_position().width > 0.2


def test_titles_and_labels_of_300_characters_leave_room_for_cells(suite, matrix):
    long = "x" * 300
    for figure in (
        figures.similarity_heatmap(matrix, label=long, title=long),
        figures.similarity_panel({long: matrix.head(3)}, label=long, axis=(long, long)),
        figures.loop_heatmap(suite, title=long),
    ):
        assert min(figure.axes[0].get_position().size) > 0.35


def test_several_runs_in_one_line_are_refused(suite):
    two = pd.concat([suite, suite.assign(model="other")])
    for draw in (figures.variant_curves, figures.single_layer_curves):
        with pytest.raises(TableError, match=r"has several rows at .*keep one model"):
            draw(two)
    with pytest.raises(TableError, match="several rows for one M and k"):
        figures.loop_heatmap(two)


def test_tables_of_other_experiments_are_refused_with_the_right_one(suite):
    with pytest.raises(TableError, match=r"see experiments\.variants"):
        figures.variant_curves(pretend_results(experiments.single_layers(5)))
    with pytest.raises(TableError, match=r"see experiments\.single_layers"):
        figures.single_layer_curves(pretend_results(experiments.variants(5)))
    with pytest.raises(TableError, match=r"see experiments\.loops"):
        figures.loop_heatmap(pretend_results(experiments.single_layers(5)))
    with pytest.raises(TableError, match="no rows with variant 'jump'; the table has skip"):
        figures.task_curves(suite, "jump")


def test_a_matrix_that_is_not_square_is_refused(matrix):
    with pytest.raises(TableError, match="this one is 3 x 13"):
        figures.similarity_heatmap(matrix.head(3))


def test_files_keep_their_dots_and_formats(matrix, tmp_path):
    paths = figures.save(figures.similarity_heatmap(matrix), tmp_path / "new" / "smollm2-1.7b")
    assert [p.name for p in paths] == ["smollm2-1.7b.pdf", "smollm2-1.7b.png", "smollm2-1.7b.svg"]
    assert b"/FontFile2" in paths[0].read_bytes()  # TrueType, embedded
    with pytest.raises(OutputError, match="cannot write a figure as 'bmp'; use pdf, png, svg"):
        figures.save(figures.similarity_heatmap(matrix), tmp_path / "x", ["bmp"])
    with pytest.raises(OutputError, match="give a folder that you may write in"):
        figures.save(figures.similarity_heatmap(matrix), paths[0] / "x")


class TestDecodingCurves:
    @pytest.fixture
    def decoded(self) -> pd.DataFrame:
        """Four items under each plan and cache, the averaged one dearer by 0.01 M a token."""
        plans = experiments.decoding(12, firsts=[0, 2, 4])
        items = pd.DataFrame({"item": range(4), "tokens": [10, 20, 40, 50]})
        items["level"] = [1.0, 1.25, 1.75, 2.0]
        caches = pd.DataFrame({"cache": ["exact", "averaged"]})
        table = plans.merge(caches, how="cross").merge(items, how="cross")
        affected = table["affected"].fillna(0).astype(float)
        surprisal = table["level"] + affected * (0.1 + 0.01 * table["cache"].eq("averaged"))
        right = (table["item"] * 4 >= affected).astype(float)
        return table.assign(
            nats=surprisal * table["tokens"],
            task="gsm8k",
            metric="exact_match,strict-match",
            value=right,
        ).drop(columns="level")

    def test_levels_are_means_over_items_of_nats_a_token(self, decoded):
        levels, *_ = figures.decoding_curves(decoded).axes
        line = drawn(levels, "looped parallel x3, averaged")
        assert line.get_xdata().tolist() == [3, 7, 11]
        assert line.get_ydata() == pytest.approx([1.5 + 0.11 * m for m in (3, 7, 11)])
        assert drawn(levels, "parallel, exact").get_ydata()[0] == pytest.approx(1.8)
        assert drawn(levels, "intact model").get_ydata() == pytest.approx([1.5, 1.5])

    def test_differences_are_paired_so_their_band_is_narrow(self, decoded):
        levels, gaps, _ = figures.decoding_curves(decoded).axes
        assert drawn(gaps, "parallel").get_ydata() == pytest.approx([0.03, 0.07, 0.11])

        def height(ax):
            return max(np.ptp(band.get_paths()[0].vertices[1:4:2, 1]) for band in ax.collections)

        assert height(levels) > 0.1  # items differ by a nat
        assert height(gaps) < 0.1

    def test_texts_of_its_own_show_how_many_are_right(self, decoded):
        *_, written = figures.decoding_curves(decoded).axes
        assert written.get_ylabel() == "exact match,\ntexts written freely"
        assert drawn(written, "parallel, averaged").get_ydata() == pytest.approx(
            [3 / 4, 1 / 2, 1 / 4]
        )
        assert drawn(written, "intact model").get_ydata()[0] == pytest.approx(1)

    def test_without_them_two_panels_are_left_and_tasks_are_rows(self, decoded):
        forced = decoded.drop(columns=["metric", "value"])
        both = pd.concat([forced, forced.assign(task="drop")])
        figure = figures.decoding_curves(both)
        assert [ax.get_title("left") for ax in figure.axes] == ["GSM8K", "", "drop", ""]
        assert [ax.get_xlabel() != "" for ax in figure.axes] == [False, False, True, True]

    def test_nothing_is_cut_off(self, decoded):
        titles = "Decoding the gold solutions of GSM8K, and a title that goes on and on and on" * 2
        figure = figures.decoding_curves(decoded, title=titles)
        box = figure.get_tightbbox()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.get_figwidth() + 0.01
        assert box.y1 <= figure.get_figheight() + 0.01

    def test_both_caches_and_windows_are_needed(self, decoded):
        for table in (
            decoded[decoded["cache"] == "exact"],
            decoded[decoded["variant"] == "intact"],
        ):
            with pytest.raises(TableError, match='cache "exact" and "averaged" are needed'):
                figures.decoding_curves(table)
        with pytest.raises(TableError, match="lacks the columns nats"):
            figures.decoding_curves(decoded.drop(columns="nats"))
