"""A plan whose logits are NaN has no score: NaN, said, and the other plans go on."""

import numpy as np
import pytest
import tiny
import torch

from painters_interp import evaluate
from painters_interp.statistics.aggregations import AGGREGATIONS

BROKEN = "0-3 4@1e300*2 5"


@pytest.fixture
def llama(tiny_folder):
    return tiny.build("llama", torch.float32, tiny_folder)


def scores(model, task, limit):
    with pytest.warns(UserWarning, match=f"{limit} items of plan .* are not numbers"):
        table = evaluate(model, {"intact": "0-5", "broken": BROKEN}, [task], limit=limit)
    return table.set_index("label")


@pytest.mark.parametrize(("task", "limit"), [("probe_facts", 6), ("probe_word_problems", 2)])
def test_every_metric_of_a_broken_plan_is_nan_and_the_others_go_on(llama, task, limit) -> None:
    table = scores(llama, task, limit)
    broken, intact = table.loc[["broken"]], table.loc[["intact"]]
    assert broken[["value", "stderr", "delta", "delta_low", "delta_high", "p"]].isna().all(None)
    assert intact["value"].notna().all()


def test_an_intact_model_without_numbers_leaves_the_other_plans_theirs(llama) -> None:
    with torch.no_grad():
        next(llama.blocks[1].parameters()).fill_(torch.nan)
    with pytest.warns(UserWarning, match="4 items of plan '0-5' are not numbers"):
        table = evaluate(llama, {"intact": "0-5", "without": "0 2-5"}, ["probe_facts"], limit=4)
    values = table.set_index("label")["value"]
    assert values["intact"].isna().all()
    assert values["without"].notna().all()


def test_one_item_that_is_not_a_number_makes_the_metric_none(llama) -> None:
    """A hook that spoils every text of a length leaves the items of other lengths alone."""

    def spoil(tensor, hook):
        return tensor * torch.nan if tensor.shape[1] % 2 else tensor

    from painters_interp.evaluation import score_items

    llama.add_hook("blocks.2.hook_resid_post", spoil)
    items = score_items(llama, ["0-5"], ["probe_facts"], limit=8)
    per_item = items[items["metric"] == "acc"]["value"]
    assert per_item.isin([0.0, 1.0]).sum() + per_item.isna().sum() == 8


@pytest.mark.parametrize("name", [*AGGREGATIONS])
def test_an_aggregation_with_an_unknown_value_is_unknown(name) -> None:
    values = np.array([[1.0, 0.0, 1.0, np.nan], [1.0, 0.0, 1.0, 1.0]])
    reference = np.array([[1.0, 1.0, 0.0, 1.0]] * 2)
    unknown, known = AGGREGATIONS[name](values, reference)
    assert np.isnan(unknown)
    assert np.isfinite(known)
