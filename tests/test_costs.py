"""What experiments cost, reckoned: counts are those of the plans, sums those of the formula."""

import math

import pytest
import tiny
import torch

from painters_interp import cost, experiments
from painters_interp.deployment import reached
from painters_interp.errors import PaintersError
from painters_interp.experiments import Hardware, Shape, Work
from painters_interp.plans import Plan, shared_calls

SHAPE = Shape(n_layers=6, d_model=48, d_ff=96, kv_width=24, vocabulary=96)
FAST = Hardware("fast", rate=1e30, bandwidth=1.0, memory=1e12)  # bytes alone take time
WIDE = Hardware("wide", rate=1.0, bandwidth=1e30, memory=1e12)  # operations alone
PLANS = [Plan.parse(text, 6) for text in ("0-5", "0-4", "0-1 (2-4) 5", "5-0")]
READ = [Work("read", items=10, read=8, scored=2)]
WRITTEN = [Work("written", items=3, read=8, scored=0, shots=20, written=4)]


def test_a_layer_has_the_weights_of_one(tiny_folder):
    model = tiny.stock("llama", torch.float32)
    matrices = [p.numel() for p in model.model.layers[0].parameters() if p.ndim > 1]
    assert SHAPE.layer_weights == sum(matrices)
    whole = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    assert SHAPE.weights == whole


def test_operations_are_those_of_every_shared_call_and_every_head():
    [row] = cost(SHAPE, WIDE, 1, plans=PLANS, tasks=READ).to_dict("records")
    shared = shared_calls(PLANS)
    token = 2 * SHAPE.layer_weights + 4 * SHAPE.d_model * 4  # sees half of eight tokens
    expected = shared * 80 * token + 4 * 20 * 2 * 96 * 48
    assert row["flops"] == row["hours"] * 3600 == expected
    assert (row["plans"], row["calls"], row["shared"]) == (4, 23, shared)
    alone = 23 * 80 * token + 4 * 20 * 2 * 96 * 48
    assert row["one_by_one"] * 3600 == pytest.approx(alone)


def test_few_tokens_take_as_long_as_the_weights_that_are_read():
    [row] = cost(SHAPE, FAST, 1, plans=PLANS, tasks=READ).to_dict("records")
    assert row["reading"] * 3600 == pytest.approx(shared_calls(PLANS) * SHAPE.layer_weights * 2)
    assert row["writing"] == 0
    [half] = cost(SHAPE, FAST, 1, plans=PLANS, tasks=READ, weight_bytes=1).to_dict("records")
    assert half["reading"] * 2 == pytest.approx(row["reading"])


def test_a_written_token_takes_every_call_of_every_plan():
    [row] = cost(SHAPE, WIDE, 1, plans=PLANS, tasks=WRITTEN).to_dict("records")
    seen = 20 + 8 + 2
    token = 23 * (2 * SHAPE.layer_weights + 4 * 48 * seen) + 4 * 2 * 96 * 48
    assert row["writing"] * 3600 == pytest.approx(3 * 4 * token)


def test_copies_share_the_items_and_a_model_that_does_not_fit_has_no_hours():
    small = Hardware("small", 1e9, 1e9, memory=SHAPE.weights * 2 / 1.5)
    one, two, five = cost(SHAPE, small, [1, 2, 5], plans=PLANS, tasks=READ).to_dict("records")
    assert (one["per_copy"], one["copies"], two["copies"], five["copies"]) == (2, 0, 1, 2)
    assert math.isnan(one["hours"])
    assert five["hours"] == two["hours"] / 2
    assert two["gpu_hours"] == two["hours"] * 2


def test_the_suite_of_the_paper_is_what_is_reckoned_by_default():
    suite = experiments.plans(experiments.suite(6))
    [row] = cost(SHAPE, gpus=1, limit=2).to_dict("records")
    assert (row["plans"], row["shared"]) == (len({*suite}), shared_calls(suite))
    assert row["hours"] < cost(SHAPE, gpus=1).loc[0, "hours"]


def test_a_limit_below_one_is_a_share_of_the_items_as_everywhere():
    task = Work("cloze", 31, read=80, scored=2)
    half, counted = (cost(SHAPE, gpus=1, tasks=[task], limit=limit) for limit in (0.5, 16))
    assert half.equals(counted)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"gpus": []}, "no numbers of GPUs"),
        ({"gpus": 0}, "gpus=0 is too small"),
        ({"weight_bytes": 0}, "not above 0"),
        ({"limit": 0}, "limit=0 leaves nothing"),
        ({"plans": []}, "no plans"),
        ({"plans": [Plan.parse("0-3", 4)]}, "plans of 4 layers"),
    ],
)
def test_numbers_that_are_none_are_refused(options, reason):
    with pytest.raises(PaintersError, match=reason):
        cost(SHAPE, **options)


def test_shapes_and_machines_that_are_none_are_refused():
    for sizes in ((0, 48, 96, 24, 96), (6, 48, 96, -1, 96), (2000, 48, 96, 24, 96)):
        with pytest.raises(PaintersError, match=r"no size|more than the 1,000"):
            Shape(*sizes)
    for rate in (0, -1, math.nan, math.inf):
        with pytest.raises(PaintersError, match="not above 0"):
            Hardware("none", rate, 1, 1)


def test_what_this_machine_reaches_counts_the_weights_of_the_layers(tiny_folder, monkeypatch):
    model = tiny.shared("llama", torch.float32, tiny_folder)
    monkeypatch.setattr("painters_interp.deployment.reaching._seconds", lambda *_: 1.0)
    here = reached(model, batch=2, length=10)
    layers = 6 * SHAPE.layer_weights
    assert here.rate == 2 * 10 * (2 * layers + 4 * 48 * 6 * 5)
    assert here.bandwidth == layers * 4
    with pytest.raises(PaintersError, match="length=257 exceeds the model's context of 256"):
        reached(model, length=257)
