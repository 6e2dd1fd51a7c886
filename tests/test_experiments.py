"""Experiments are tables of labelled plans: which plans, how many, how labelled."""

import subprocess
import sys

import pandas as pd
import pytest

from painters_interp import experiments
from painters_interp.errors import PlanError, TableError
from painters_interp.plans import Plan, shared_calls


def calls(table: pd.DataFrame) -> tuple[int, int, int]:
    """Distinct plans, layer calls one by one, layer calls with shared prefixes."""
    plans = experiments.plans(table)
    return len(plans), sum(len(p.layer_calls) for p in plans), shared_calls(plans)


def only(table: pd.DataFrame, **labels: object) -> str:
    for column, value in labels.items():
        table = table[table[column].eq(value).fillna(False)]
    (plan,) = table["plan"]
    return str(plan)


def test_main_figures_of_a_30_layer_model_take_2195_layer_calls():
    both = pd.concat([experiments.single_layers(30), experiments.variants(30)])
    assert calls(both) == (117, 3_601, 2_195)


def test_whole_decoder_suite_of_a_30_layer_model_takes_13385_layer_calls():
    assert calls(experiments.suite(30)) == (626, 103_200, 13_385)


def test_loop_heatmap_alone_shares_10_times():
    plans, single, shared = calls(experiments.loops(30))
    assert plans == 14 * 28 + 1
    assert single / shared == pytest.approx(10.9, abs=0.1)


@pytest.mark.parametrize(
    "build",
    [
        experiments.intact,
        experiments.single_layers,
        experiments.variants,
        experiments.loops,
        experiments.internal_loops,
    ],
)
@pytest.mark.parametrize("n_layers", [2, 3, 6, 31])
def test_every_experiment_begins_with_the_intact_model(build, n_layers):
    table = build(n_layers)
    first = table.iloc[0]
    assert first["variant"] == "intact"
    assert Plan.parse(first["plan"], n_layers).layer_calls == tuple(range(n_layers))
    assert table["variant"].eq("intact").sum() == 1
    assert table["n_layers"].eq(n_layers).all()
    assert table["experiment"].nunique() == 1


def test_plans_are_written_in_normal_form():
    table = experiments.suite(9)
    again = [str(Plan.parse(text, n_layers=9)) for text in table["plan"]]
    assert again == list(table["plan"])


def test_single_layers_drop_and_swap_each_layer():
    table = experiments.single_layers(5)
    assert list(table["variant"]) == ["intact"] + ["drop"] * 5 + ["swap"] * 4
    assert only(table, variant="drop", layer=2) == "0 1 3 4"
    assert only(table, variant="swap", layer=3) == "0-2 4 3"


def test_variants_of_one_window():
    table = experiments.variants(8, firsts=[2], seeds=2)
    window = table[table["first"].eq(2).fillna(False)]
    assert set(window["affected"]) == {3}
    assert only(window, variant="skip") == "0-2 6 7"
    assert only(window, variant="repeat") == "0-2 4*3 6 7"
    assert only(window, variant="reverse") == "0-2 5-3 6 7"
    assert only(window, variant="parallel") == "0-2 (3-5) 6 7"
    assert only(window, variant="looped", times=3) == "0-2 (3-5)*3 6 7"
    assert list(window.loc[window["variant"] == "random", "shuffle_seed"]) == [0, 1]


def test_damages_are_drops_swaps_and_windows_of_up_to_half_of_the_layers():
    table = experiments.damages(8)
    altered = table[table["variant"] != "intact"]
    counts = altered["variant"].value_counts().to_dict()
    assert counts == {"drop": 8, "swap": 7, "drop_window": 7 + 6 + 5}
    assert only(altered, variant="drop_window", layer=2, other=4) == "0 1 5-7"
    short = experiments.damages(8, longest=2)
    assert short["affected"].max() == 2


def test_default_windows_are_every_second_one():
    assert list(experiments.variants(30)["first"].dropna().unique()) == list(range(0, 16, 2))
    assert list(experiments.every_window(30)) == list(range(15))
    assert experiments.variants(31)["affected"].min() == 2


def test_with_one_affected_layer_reordering_is_the_intact_model():
    table = experiments.variants(30, firsts=[14])
    same = table[table["plan"] == "0-29"]["variant"]
    assert set(same) == {"intact", "repeat", "reverse", "random", "parallel"}


def test_distance_runs_from_identity_to_reversal():
    table = experiments.variants(12, firsts=[0, 5], seeds=20)
    wide = table[table["affected"].eq(11).fillna(False)]
    assert set(wide.loc[wide["variant"] == "reverse", "distance"]) == {1.0}
    assert wide.loc[wide["variant"] == "random", "distance"].between(0.1, 0.9).all()
    assert table.loc[table["affected"].eq(1).fillna(False), "distance"].dropna().eq(0).all()
    assert wide.loc[wide["variant"].isin(["skip", "parallel"]), "distance"].isna().all()


def test_distance_is_the_share_of_exchanged_pairs():
    table = experiments.variants(5, firsts=[0], seeds=1)  # window 1..4
    plan = Plan.parse(only(table, variant="random"), n_layers=5)
    order = plan.layer_calls[1:]
    exchanged = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :] if a > b]
    (row,) = table[table["variant"] == "random"].to_dict("records")
    assert row["distance"] == len(exchanged) / 6


def test_loops_cover_affected_layers_by_times():
    table = experiments.loops(8, max_times=4).iloc[1:]
    assert sorted(set(table["affected"])) == [3, 5, 7]
    assert len(table) == 3 * 4
    assert only(table, affected=5, times=1) == "0 1 (2-6) 7"
    assert only(table, affected=5, times=4) == "0 1 (2-6)*4 7"


def test_decoding_runs_small_windows_in_parallel_and_looped():
    table = experiments.decoding(30)
    assert table["affected"].dropna().tolist() == [3, 3, 5, 5, 7, 7, 9, 9]
    assert only(table, variant="parallel", affected=3) == "0-13 (14-16) 17-29"
    assert only(table, variant="looped", affected=3) == "0-13 (14-16)*3 17-29"
    assert set(experiments.decoding(31)["affected"].dropna()) == {2, 4, 6, 8, 10}
    assert len(experiments.decoding(2)) == 1, "no window that could be averaged"


def test_internal_loops_repeat_each_layer_in_place():
    table = experiments.internal_loops(6, firsts=[1])
    assert only(table, variant="double") == "0 1 2*2 3*2 4*2 5"
    assert only(table, variant="triple", times=3) == "0 1 2*3 3*3 4*3 5"


def test_plans_of_another_table_are_refused():
    with pytest.raises(TableError, match="lacks the columns n_layers; it has plan"):
        experiments.plans(pd.DataFrame({"plan": ["0-3"]}))


@pytest.mark.parametrize("room", ["experiments", "tables", "storage", "figures"])
def test_tables_and_figures_work_without_loading_a_model_library(room):
    check = (
        f"import sys, painters_interp.{room}\n"
        "print(*{'torch', 'transformers', 'transformer_lens', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_grids_lie_over_all_pairs_of_layers():
    sizes = {name: build(12)["plan"].nunique() for name, build in experiments.GRIDS.items()}
    assert sizes == {
        "swaps": 1 + 12 * 11 // 2,
        "replacements": 1 + 12 * 11,
        "moves": 1 + 12 * 11 - 11,  # neighbours change places whichever of them is moved
        "block_repeats": 1 + 12 * 13 // 2,
        "dropped_windows": 12 * 13 // 2,  # all layers cannot be dropped, but none can
    }


def test_the_replace_matrix_shares_almost_half_of_its_layer_calls():
    assert calls(experiments.replacements(30)) == (871, 26_130, 13_515)


def test_grid_labels_name_both_layers():
    assert only(experiments.swaps(6), layer=1, other=4) == "0 4 2 3 1 5"
    assert only(experiments.replacements(6), layer=1, other=4) == "0 4 2-5"
    assert only(experiments.replacements(6), layer=4, other=1) == "0-3 1 5"
    assert only(experiments.moves(6), layer=1, other=4) == "0 2-4 1 5"
    assert only(experiments.moves(6), layer=4, other=1) == "0 4 1-3 5"
    assert only(experiments.block_repeats(6), layer=1, other=3, affected=3) == "0-3 1-5"
    assert only(experiments.dropped_windows(6), layer=1, other=3, affected=3) == "0 4 5"


def test_grids_over_some_layers_only():
    table = experiments.replacements(6, layers=[4, 1, 4])
    assert list(table["plan"]) == ["0-5", "0 4 2-5", "0-3 1 5"]
    with pytest.raises(PlanError, match="layer 6"):
        experiments.swaps(6, layers=[0, 6])


def test_grids_begin_with_the_intact_model():
    for name, build in experiments.GRIDS.items():
        table = build(5)
        assert table["experiment"].eq(name).all()
        assert table["variant"].iloc[0] == "intact"
        assert table["variant"].eq("intact").sum() == 1
