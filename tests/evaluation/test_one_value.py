"""One plan, task or metric where a list of one is meant."""

import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp.evaluation import prepare
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
