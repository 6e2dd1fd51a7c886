"""A plan for every input, beside what luck gives."""

import numpy as np
import pandas as pd
import pytest

from painters_interp.errors import TableError
from painters_interp.tables import per_input

N = 4
INTACT = "0-3"


def items_of(
    answers: dict[str, list[int]], chance: float = 0.25, **facts: str | bool
) -> pd.DataFrame:
    """An item table of right (1) and wrong (0) answers by plan."""
    shared = {
        "model": "m", "revision": None, "dtype": "float32", "task": "t", "version": "1",
        "metric": "acc", "reference": np.nan, "chance": chance, "truncated": False,
        "aggregation": "mean", "higher_is_better": True, "requests": "x", "seed": 0, **facts,
    }  # fmt: skip
    parts = [
        pd.DataFrame({"plan": plan, "item": range(len(values)), "value": np.array(values, float)})
        for plan, values in answers.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(**shared)


def test_finds_the_shortest_plan_that_answers_right() -> None:
    answers = {INTACT: [1, 1, 1, 0, 0], "0-2": [1, 1, 0, 1, 0], "0 1": [1, 0, 0, 0, 0]}
    found = per_input(items_of({**answers, "0-3 3": [1, 1, 1, 1, 0]}), N)
    assert found.items["shortest"].tolist() == ["0 1", "0-2", INTACT, "0-2", pd.NA]
    assert found.items["calls"].tolist()[:4] == [2, 3, 4, 3]
    assert found.items["right"].tolist() == [3, 2, 1, 2, 0]
    [row] = found.summary.to_dict("records")
    assert (row["n"], row["n_right"], row["n_wrong"], row["plans"]) == (5, 3, 2, 3)
    assert row["corrected"] == 1
    assert row["calls"] == 3.0


def test_plans_that_are_right_by_chance_correct_no_more_than_luck() -> None:
    rng = np.random.default_rng(0)
    gold, answers = rng.integers(4, size=400), {}
    base = np.where(rng.random(400) < 0.6, gold, (gold + rng.integers(1, 4, 400)) % 4)
    for k in range(20):  # each changes a fifth of the answers to another one
        flipped = rng.random(400) < 0.2
        answer = np.where(flipped, (base + rng.integers(1, 4, 400)) % 4, base)
        answers[" ".join(["0-2", *["3"] * (k + 2)])] = [*(answer == gold).astype(int)]
    [row] = per_input(
        items_of({INTACT: [*(base == gold).astype(int)], **answers}), N
    ).summary.to_dict("records")
    assert row["corrected"] > 0.6 * row["n_wrong"]  # and yet
    assert row["luck_low"] <= row["corrected"] <= row["luck_high"]
    assert row["p"] > 0.05


def test_plans_that_know_better_correct_more_than_luck() -> None:
    intact = [1] * 60 + [0] * 40
    better = [1] * 90 + [0] * 10
    [row] = per_input(items_of({INTACT: intact, "0-2": better}), N).summary.to_dict("records")
    assert (row["corrected"], row["luck"], row["p"] < 0.01) == (30, 0.0, True)


def test_plans_that_tell_inputs_apart_are_no_shorter_than_luck_on_average() -> None:
    """Two plans that are right on the same half save less than two on halves of their own."""
    half = [1] * 20 + [0] * 20
    same = per_input(items_of({INTACT: [1] * 40, "0 1": half, "0 2": half}), N)
    other = per_input(items_of({INTACT: [1] * 40, "0 1": half, "0 2": half[::-1]}), N)
    [alike], [apart] = same.summary.to_dict("records"), other.summary.to_dict("records")
    assert (alike["calls"], apart["calls"]) == (3.0, 2.0)
    assert alike["calls_luck_low"] < alike["calls_luck"] < alike["calls"]
    assert apart["calls_luck_low"] > apart["calls"]


def test_without_a_chance_level_luck_is_not_known() -> None:
    items = items_of({INTACT: [1, 0], "0-2": [1, 1]}, chance=np.nan)
    [row] = per_input(items, N).summary.to_dict("records")
    assert row["corrected"] == 1
    assert np.isnan(row["luck"])
    assert np.isnan(row["p"])


def test_nothing_right_or_nothing_wrong() -> None:
    [row] = per_input(items_of({INTACT: [0, 0], "0-2": [1, 0]}), N).summary.to_dict("records")
    assert np.isnan(row["calls"])
    assert np.isnan(row["luck"])
    [row] = per_input(items_of({INTACT: [1, 1], "0-2": [1, 0]}), N).summary.to_dict("records")
    assert (row["corrected"], row["luck"], row["p"]) == (0, 0.0, 1.0)


def test_equal_plans_count_once_however_they_are_written() -> None:
    once = {INTACT: [1, 1, 0, 0], "0-2": [1, 0, 1, 0]}
    again = {"0 1 2 3": once[INTACT], "0 1 2": once["0-2"], "0-2": once["0-2"]}
    found, expected = (per_input(items_of(answers), N) for answers in (again, once))
    pd.testing.assert_frame_equal(found.summary, expected.summary)
    pd.testing.assert_frame_equal(found.items, expected.items)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"0-2": [1, 0]}, r"no items of the intact model \(0-3\)"),
        ({INTACT: [1, 0]}, "no plan but the intact one"),
        ({INTACT: [1, 3], "0-2": [2, 0]}, "no metric of right and wrong answers"),
        ({INTACT: [1, 0], "0 1 2 3": [1, 0]}, "no plan but the intact one"),
        (
            {INTACT: [1, 0], "0-2": [1, 0], "0 1 2": [1, 1]},
            "'0-2' stands there as '0-2' and '0 1 2', with other answers",
        ),
    ],
)
def test_bad_input(answers: dict[str, list[int]], reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        per_input(items_of(answers), N)


def test_a_metric_with_unknown_answers_is_left_out_and_named() -> None:
    known = items_of({INTACT: [1, 0], "0-2": [0, 1]})
    lost = items_of({INTACT: [1, np.nan], "0-2": [0, 1]}, metric="acc_norm")
    with pytest.warns(UserWarning, match="acc_norm of t is NaN for 1 of 2 items under some plan"):
        found = per_input(pd.concat([known, lost], ignore_index=True), N)
    assert found.summary["metric"].tolist() == ["acc"]
    with pytest.raises(TableError, match="acc_norm of t is NaN for 1 of 2 items"):
        per_input(lost, N)


def test_where_lower_is_better_nought_is_right() -> None:
    [row] = per_input(
        items_of({INTACT: [0, 1, 1], "0-2": [0, 0, 1]}, higher_is_better=False), N
    ).summary.to_dict("records")
    assert (row["n_right"], row["corrected"]) == (1, 1)
