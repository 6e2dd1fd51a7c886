"""Scores on the paper's scale: intervals by brute force, and choices that luck does not judge."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from painters_interp import experiments, report, storage, tables
from painters_interp.errors import TableError
from painters_interp.tables.items import compare, item_table, summarise
from painters_interp.tables.scores import (
    halves,
    median_intervals,
    score_intervals,
    select_and_report,
)

N_ITEMS = {"piqa": 80, "arc_easy": 50, "lambada_openai": 60}
CHANCE = {"piqa": 0.5, "arc_easy": 0.25, "lambada_openai": 0.0}
LEVEL = {"intact": 0.9, "skip": 0.6, "parallel": 0.75}
LABELS = pd.DataFrame({"variant": [*LEVEL], "plan": ["0-5", "0 1 5", "0 (1-4) 5"]})


def pretend_items(labels: pd.DataFrame, level: Any, seed: int = 0) -> pd.DataFrame:
    """Items as if every plan were right on a share `level` of them, easy ones first."""
    rng, parts = np.random.default_rng(seed), []
    for task, n in N_ITEMS.items():
        ease = rng.random(n)
        for variant, plan in zip(labels["variant"], labels["plan"], strict=True):
            right = ease + rng.normal(0, 0.1, n) < level(variant)
            rows = pd.DataFrame({"item": range(n), "value": right * 1.0, "plan": plan})
            parts.append(rows.assign(task=task, chance=CHANCE[task]))
    facts = {"model": "m", "revision": "r", "dtype": "float32", "version": "1", "metric": "acc"}
    facts |= {"aggregation": "mean", "higher_is_better": True, "requests": "x", "seed": 0}
    facts |= {"truncated": False}
    return item_table(pd.concat(parts).assign(**facts, reference=np.nan))


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    return pretend_items(LABELS, LEVEL.get)


@pytest.fixture(scope="module")
def table(items: pd.DataFrame) -> pd.DataFrame:
    return tables.labelled(LABELS, summarise(items, "0-5"))


def by_hand(items: pd.DataFrame, draws: int = 5000) -> dict[str, Any]:
    """Scores (draw, plan) per task, from items drawn anew: the same draw for all plans."""
    rng, found = np.random.default_rng(7), {}
    for task, n in N_ITEMS.items():
        own = items[items["task"] == task]
        values = np.stack([own.loc[own["plan"] == plan, "value"] for plan in LABELS["plan"]], 1)
        # One more item that the intact model alone gets right, and one that it alone gets wrong.
        values = np.concatenate([values, [[1, 0, 0], [0, 1, 1]]])
        means = values[rng.integers(0, n + 2, (draws, n + 2))].mean(axis=1)
        found[task] = (means - CHANCE[task]) / (means[:, [0]] - CHANCE[task])
    return found


def test_intervals_are_those_of_items_drawn_anew_by_hand(table, items):
    scores = by_hand(items)
    found = score_intervals(table, items).set_index("task")
    for task in N_ITEMS:
        low, high = np.quantile(scores[task], [0.025, 0.975], axis=0)
        assert found.loc[task, "score_low"].tolist() == pytest.approx(low, abs=0.04)
        assert found.loc[task, "score_high"].tolist() == pytest.approx(high, abs=0.04)
    medians = median_intervals(table, items)
    low, high = np.quantile(np.median([*scores.values()], axis=0), [0.025, 0.975], axis=0)
    assert medians["score_low"].tolist() == pytest.approx(low, abs=0.04)
    assert medians["score_high"].tolist() == pytest.approx(high, abs=0.04)


def test_scores_are_those_without_intervals_and_the_intact_model_is_1_for_sure(table, items):
    found = score_intervals(table, items)
    pd.testing.assert_frame_equal(
        found.drop(columns=["score_low", "score_high"]), tables.normalise(table)
    )
    assert found.loc[found["variant"] == "intact", ["score_low", "score_high"]].eq(1).all(axis=None)
    assert found["score_low"].le(found["score"]).all()
    assert found["score_high"].ge(found["score"]).all()


def test_scores_hold_the_truth_where_few_items_change(items):
    """4 % of what the intact model gets right is lost: the score is .96 of it, above chance 0."""
    rng, parts = np.random.default_rng(0), []
    facts = items.astype(object).iloc[:32].drop(columns=["task", "plan", "value", "chance"])
    for task in map(str, range(60)):
        intact = rng.random(32) < 0.9
        for plan, right in (("0-5", intact), ("0 1 5", intact & (rng.random(32) > 0.04))):
            parts.append(facts.assign(task=task, plan=plan, value=right * 1.0, chance=0.0))
    few = item_table(pd.concat(parts))
    found = score_intervals(tables.labelled(LABELS.head(2), summarise(few, "0-5")), few)
    low, high = found.loc[found["variant"] == "skip", ["score_low", "score_high"]].to_numpy().T
    assert (high - low).min() > 0.05
    assert ((low <= 0.96) & (high >= 0.96)).mean() >= 0.93


def test_pairing_with_the_intact_model_narrows_the_interval(table, items):
    found = score_intervals(table, items)
    skip = found[found["variant"] == "skip"]
    width = (skip["score_high"] - skip["score_low"]).to_numpy()
    assert (width < 2 * 1.96 * np.sqrt(2) * skip["score_stderr"].to_numpy()).all()


def test_a_task_at_chance_has_no_scale_in_its_resamples():
    labels = LABELS.head(2)
    items = pretend_items(labels, {"intact": 0.55, "skip": 0.4}.get)
    table = tables.labelled(labels, summarise(items, "0-5"))
    found = score_intervals(table, items).set_index(["variant", "task"])
    assert found.loc[("skip", "piqa"), ["score_low", "score_high"]].isna().all()
    assert found.loc[("skip", "lambada_openai"), ["score_low", "score_high"]].notna().all()
    assert median_intervals(table, items)["score_low"].isna().all()


def test_items_of_another_run_are_refused(table, items):
    with pytest.raises(TableError, match=r"no items of plan '0-5', task 'piqa', metric 'acc'"):
        score_intervals(table.assign(dtype="bfloat16"), items)
    with pytest.raises(TableError, match=r"no items of the intact model, '0-5'"):
        score_intervals(table, items[items["plan"] != "0-5"])
    twice = item_table(pd.concat([items, items.assign(requests="other")]).astype(object))
    with pytest.raises(TableError, match="plan '0-5' was scored on two sets of items"):
        score_intervals(table, twice)


def test_intervals_of_a_table_that_went_through_csv_are_the_same(table, items, tmp_path):
    table.to_csv(tmp_path / "table.csv")
    found = median_intervals(pd.read_csv(tmp_path / "table.csv"), items)
    columns = ["variant", "plan", "score", "score_low", "score_high", "tasks"]
    pd.testing.assert_frame_equal(found[columns], median_intervals(table, items)[columns])
    assert list(tables.labels_of(pd.read_csv(tmp_path / "table.csv"))) == ["variant", "plan"]


def test_a_run_is_read_with_its_items_in_one_call(table, items, tmp_path):
    storage.write_table(table, tmp_path / "variants", {})
    storage.write_table(items, report.items_beside(tmp_path / "variants"), {})
    storage.write_table(LABELS, tmp_path / "mine.parquet", {})
    run = report.read_run(tmp_path)
    assert {*run} == {"variants", "mine"}
    assert run["mine"].items is None
    found = median_intervals(run["variants"].table, run["variants"].items)
    pd.testing.assert_frame_equal(found, median_intervals(table, items), check_dtype=False)
    with pytest.raises(TableError, match=r"no tables in .*nowhere"):
        report.read_run(tmp_path / "nowhere")


# Halves

LOOPS = experiments.loops(6, max_times=12)


def test_halves_are_the_same_for_all_plans_and_drawn_with_the_seed(items):
    first, second = halves(items, seed=1)
    assert len(first) + len(second) == len(items)
    for task, n in N_ITEMS.items():
        sets = first[first["task"] == task].groupby("plan", observed=True)["item"].agg(frozenset)
        assert sets.nunique() == 1
        assert len(sets.iloc[0]) == n // 2
        other = second[second["task"] == task]["item"]
        assert not {*other} & sets.iloc[0]
    pd.testing.assert_frame_equal(halves(items, seed=1)[0], first)
    assert not halves(items, seed=2)[0].index.equals(first.index)
    few = halves(items[items["plan"] == "0-5"], seed=1)[0]
    assert {*few["item"]} == {*first["item"]}


def test_the_best_is_chosen_on_one_half_and_judged_on_the_other():
    items = pretend_items(LOOPS, lambda variant: 0.9 if variant == "intact" else 0.7, seed=3)
    table = tables.labelled(LOOPS, summarise(items, "0-5"))
    found = select_and_report(table, items, by="affected", seed=0)
    chosen = found[found["selected"]]
    assert sorted(chosen["affected"]) == [3, 5]
    looped = found[found["variant"] == "looped"]
    best = looped.groupby("affected")["selection_score"].max()
    assert chosen["selection_score"].tolist() == best.loc[chosen["affected"]].tolist()
    judged = halves(items, seed=0)[1]
    again = tables.labelled(LOOPS, summarise(judged, "0-5"))
    medians = tables.median_over_tasks(tables.normalise(again))
    assert found["score"].tolist() == pytest.approx(medians["score"].tolist())
    # All k are equally good, so the best of twelve is luck, which does not come twice.
    assert chosen["selection_score"].mean() > chosen["score"].mean()
    assert chosen["score_low"].notna().all()


def two_sizes(items: pd.DataFrame) -> pd.DataFrame:
    """Item tables after a plain concatenation: labels of the index come twice."""
    odd = items["item"].to_numpy(dtype=int) % 2 == 1
    return pd.concat([t.reset_index(drop=True) for t in (items[odd], items[~odd])])


FROM_TABLES = {
    "halves": lambda table, items: pd.concat(halves(items)),
    "summarise": lambda table, items: summarise(items, "0-5"),
    "compare": lambda table, items: compare(items, "0 1 5", "0-5"),
    "primary": lambda table, items: tables.primary(table),
    "normalise": lambda table, items: tables.normalise(table),
    "above_chance": lambda table, items: tables.above_chance(table),
    "medians": lambda table, items: tables.median_over_tasks(tables.normalise(table)),
    "seeds": lambda table, items: tables.summarise_seeds(tables.normalise(table)),
    "score_intervals": score_intervals,
    "median_intervals": median_intervals,
    "select_and_report": lambda table, items: select_and_report(table, items, by="variant"),
}


@pytest.mark.parametrize("read", FROM_TABLES.values(), ids=FROM_TABLES)
def test_labels_of_the_index_mean_nothing(read, table, items):
    own = table.sort_values("task", kind="stable")
    parts = [own.head(4).reset_index(drop=True), own.tail(-4).reset_index(drop=True)]
    found, expected = read(pd.concat(parts), two_sizes(items)), read(own, items)
    columns = [c for c in ("item", "task", "plan") if c in found]
    one, two = (
        t.astype({"plan": object}).sort_values(columns, kind="stable").reset_index(drop=True)
        for t in (found, expected)
    )
    pd.testing.assert_frame_equal(one, two)


def test_a_task_at_chance_on_one_half_is_left_out_there():
    """Tables of eight items: many have an intact model that guesses on one half of a task."""
    said = set()
    for seed in range(3):
        items = pretend_items(LABELS, lambda variant: LEVEL[variant] / 2, seed).query("item < 8")
        table = tables.labelled(LABELS, summarise(items, "0-5"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = select_and_report(table, items, by="variant")
        said |= {str(w.message).rpartition(" ")[2] for w in caught}
        assert found["selected"].sum() == found["selection_score"].notna().any() * 2
        assert not np.isinf(found["score"]).any()
    assert said == {"chooses", "judges"}


def test_without_a_task_to_choose_by_nothing_is_chosen(table, items):
    [first, second] = halves(items)
    at_chance = [
        part.assign(value=np.where(part["plan"].eq("0-5"), level, part["value"]))
        for part, level in ((first, 0.0), (second, 1.0))
    ]
    broken = item_table(pd.concat(at_chance).astype({"plan": object}))
    for task, match in (("piqa", "half of the items that chooses"), (None, "'arc_easy', 'lambada")):
        chosen = broken if task is None else broken[broken["task"] == task]
        with pytest.warns(UserWarning, match=match):
            found = select_and_report(table.query("task in @chosen.task"), chosen, by="variant")
        assert not found["selected"].any()
        assert found["selection_score"].isna().all()
        assert found["score"].notna().all()


def test_one_item_cannot_be_halved(items):
    with pytest.raises(TableError, match="task 'arc_easy' has one item, which cannot be halved"):
        halves(items[items["item"] == 0])


def test_a_folder_of_loops_is_drawn_with_the_choice_of_the_other_half(tmp_path):
    labels = experiments.loops(6, [0, 1], max_times=4)

    def level(variant: str) -> float:
        return 0.9 if variant == "intact" else 0.7

    items = pretend_items(labels[["variant", "plan"]].drop_duplicates(), level)
    table = tables.labelled(labels, summarise(items, "0-5"))
    storage.write_table(table, tmp_path / "loops", {})
    alone = report.draw(tmp_path)
    plain = alone[-1].read_bytes()
    storage.write_table(items, report.items_beside(tmp_path / "loops"), {})
    chosen = report.draw(tmp_path)
    assert [path.name for path in chosen] == ["loops.pdf", "loops.png", "loops.svg"]
    assert chosen[-1].read_bytes() != plain
