"""One plan, task or metric where a list of one is meant."""

import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp import experiments
from painters_interp.evaluation import prepare
from painters_interp.execution import archives
from painters_interp.tables.labels import labels_for

PLAN = "0-2 4-5"


@pytest.fixture(scope="module")
def llama(tiny_folder):
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.mark.parametrize("plan", [PLAN, painters.Plan.parse(PLAN, 6)])
def test_one_plan_is_a_list_of_one(llama, plan):
    pd.testing.assert_frame_equal(labels_for(plan, 6), labels_for([plan], 6))
    tokens = tiny.tokens(1, 9)
    one, many = (painters.token_logprobs(llama, plans, tokens) for plans in (plan, [plan]))
    assert torch.equal(one, many)
    assert one.shape == (1, 1, 8)
    alone = painters.kl_to_intact(llama, plan, ["one two three"])
    pd.testing.assert_frame_equal(alone, painters.kl_to_intact(llama, [plan], ["one two three"]))


def test_one_task_and_one_metric(llama):
    one = painters.evaluate(llama, PLAN, "probe_facts", limit=2, metrics="kl")
    many = painters.evaluate(llama, [PLAN], ["probe_facts"], limit=2, metrics=["kl"])
    pd.testing.assert_frame_equal(one, many)
    assert prepare(llama, "probe_facts", limit=2).tasks[0].config.task == "probe_facts"


class TestTheIntactModel:
    def test_comes_first_where_it_is_not_among_the_plans(self, llama):
        table = painters.evaluate(llama, {"skip": PLAN}, "probe_facts", limit=4)
        assert list(table["label"].unique()) == ["intact", "skip"]
        assert table["delta"].notna().all()
        again = painters.evaluate(llama, {"intact": "0-5", "skip": PLAN}, "probe_facts", limit=4)
        pd.testing.assert_frame_equal(table, again)

    def test_has_what_the_rows_of_an_experiment_share(self, llama):
        drops = experiments.single_layers(6).query("variant == 'drop' and layer < 2")
        table = painters.evaluate(llama, drops, "probe_facts", limit=2)
        first = table.iloc[0]
        assert (first["variant"], first["plan"]) == ("intact", "0-5")
        assert (first["experiment"], first["n_layers"]) == ("single_layers", 6)
        assert pd.isna(first["layer"])

    def test_is_left_out_if_told_so(self, llama):
        table = painters.evaluate(llama, PLAN, "probe_facts", limit=2, intact=False)
        assert set(table["plan"]) == {"0-2 4 5"}
        assert table["delta"].isna().all()


def test_weights_are_hashed_once_for_all_tasks_and_metrics(llama, tmp_path, monkeypatch):
    hashed = []
    digest = archives.weights_digest
    monkeypatch.setattr(archives, "weights_digest", lambda m: hashed.append(m) or digest(m))
    tasks = ["probe_facts", "probe_order"]
    painters.evaluate(llama, PLAN, tasks, limit=2, metrics="kl", store=tmp_path)
    assert len(hashed) == 1


def test_repeated_rows_of_an_experiments_table_count_once():
    once = pd.DataFrame({"experiment": "mine", "plan": ["0-5", PLAN]})
    twice = pd.concat([once, once])
    pd.testing.assert_frame_equal(labels_for(twice, 6), labels_for(once, 6))
    assert len(labels_for(["0-5", "0-5"], 6)) == 2
