"""Result tables show what one looks at, in a terminal and in a notebook."""

import pickle

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp.errors import TableError
from painters_interp.tables import Results, readable


@pytest.fixture
def table() -> Results:
    row = {"task": "facts", "metric": "acc", "n": 8, "model": "tiny", "version": "1", "seed": 0}
    intact = {"value": 0.75, "stderr": 0.1, "chance": 0.25}
    nothing = dict.fromkeys(["delta", "delta_low", "delta_high", "p_adjusted"], np.nan)
    less = {"delta": -0.25, "delta_low": -0.51239, "delta_high": 0.1, "p_adjusted": 0.03}
    return Results([
        {"label": "intact", "plan": "0-5", **row, **intact, **nothing},
        {"label": "<b>&skip", "plan": "0-2 5", **row, **intact, **less, "value": 0.5},
    ])  # fmt: skip


def test_a_terminal_gets_one_aligned_table_with_intervals(table: Results) -> None:
    head, intact, skip = repr(table).split("\n")
    assert len({len(head), len(intact), len(skip)}) == 1
    assert head.split() == [
        *("label", "plan", "task", "metric", "value", "stderr", "chance", "delta"),
        *("95", "%", "interval", "p_adj", "n"),
    ]
    assert "-0.250 [-0.512, 0.100]" in skip
    assert "nan" not in intact.lower()


def test_a_notebook_gets_html_in_which_labels_are_text(table: Results) -> None:
    html = table._repr_html_()
    assert html is not None
    assert "&lt;b&gt;&amp;skip" in html
    assert "<b>" not in html
    assert "<td>[-0.512, 0.100]</td>" in html


def test_a_label_that_repeats_the_plan_is_not_shown(table: Results) -> None:
    assert readable(table.assign(label=["intact", "0-2 5"])).columns[0] == "plan"


def test_a_long_table_is_cut_as_pandas_cuts_one(table: Results) -> None:
    many = pd.concat([table] * 40, ignore_index=True)
    with pd.option_context("display.max_rows", 6):
        assert repr(many).count("\n") < 10
        assert many._repr_html_().count("<tr") < 10  # type: ignore[operator]


def test_without_its_columns_it_is_shown_as_any_frame(table: Results) -> None:
    part = table[["plan", "value"]].round(1)
    plain = pd.DataFrame(part)
    assert (repr(part), part._repr_html_()) == (repr(plain), plain._repr_html_())
    assert repr(table.iloc[:0]) == repr(pd.DataFrame(table.iloc[:0]))
    with pytest.raises(TableError, match=r"lacks the columns plan, .*; it has value"):
        readable(table[["value"]])


def test_for_all_else_it_is_a_frame(table: Results) -> None:
    back = pickle.loads(pickle.dumps(table))
    pd.testing.assert_frame_equal(back, table)
    assert table.groupby("task")["value"].mean().tolist() == [0.625]
    assert isinstance(table["value"], pd.Series)


def test_what_is_evaluated_and_compared_shows_itself(tiny_folder) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    asked = painters.evaluation.score_items(model, ["0-2 5"], "probe_facts", limit=3)
    pair = painters.items.compare(asked, "0-2 5", "0-5")
    assert repr(pair).split("\n")[0].split()[:5] == ["task", "metric", "first", "second", "delta"]
    table = painters.evaluate(model, {"skip": "0-2 5"}, "probe_facts", limit=3)
    assert any(
        line.split()[:4] == ["skip", "0-2", "5", "probe_facts"] for line in repr(table).split("\n")
    )
    moved = painters.kl_to_intact(model, {"skip": "0-2 5"}, ["abc", "def"])
    assert repr(moved).split("\n")[0].split()[:4] == ["label", "plan", "kl", "95"]
    timed = painters.latency(model, "0-2 5", length=4, new=1, repeats=2)
    assert "token / intact" in repr(timed)


def test_similarities_show_themselves_in_lines_also_without_a_value(tiny_folder) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    found = painters.similarity(model, "ab", ["linearity", "block_influence"])
    assert "no value  6 layers" in repr(found)
    assert repr(found["block_influence"]).startswith("Curve block_influence: 0.")
    alone = painters.similarity(model, "ab", "linearity")
    assert alone._repr_html_().startswith("<pre>")  # what has no picture raises nothing
