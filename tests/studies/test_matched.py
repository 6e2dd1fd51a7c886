"""The centre layer repeated at the length of what it replaces."""

import numpy as np
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp import strategies as s
from painters_interp.studies.matched import matched_repeats, unscaled
from painters_interp.studies.study import asked

TEXTS = [f"{a} saw {b}" for a, b in zip("abcdefgh", "stuvwxyz", strict=True)]


@pytest.fixture(scope="module")
def on(tiny_folder):
    model = tiny.build("llama", torch.float64, tiny_folder, num_hidden_layers=8)
    items = [{"text": text} for text in TEXTS]
    return asked(model, painters.task("t", items, "loglikelihood_rolling"), texts=TEXTS)


def added(on, plan: str | None, start: int, stop: int) -> np.ndarray:
    """Length of what lies between two states, token by token."""
    [read] = painters.capture(on.model, on.choosing, plan)
    update = read.states[stop] - read.states[start]
    return update[read.mask.bool()].norm(dim=-1).numpy()


def test_half_of_the_tokens_get_a_longer_update_than_the_window_gives_and_half_a_shorter(on):
    table = matched_repeats(on)
    assert table["variant"].eq("matched repeat").all()
    for first, plan in zip(table["first"], table["plan"], strict=True):
        window = s.middle(on.n, first)
        intact = added(on, None, window.start, window.stop)
        matched = added(on, plan, window.start, window.start + 1)  # one step, scaled as a whole
        assert np.median(intact / matched) == pytest.approx(1, abs=6e-3)  # of three digits


def test_the_estimate_is_of_plans_as_long(on):
    found, estimated = matched_repeats(on), unscaled(on.n)
    assert found["affected"].tolist() == estimated["affected"].tolist()
    for one, other in zip(found["plan"], estimated["plan"], strict=True):
        assert painters.Plan.parse(one, on.n).calls == painters.Plan.parse(other, on.n).calls


def test_every_other_layer_stays(on):
    assert unscaled(8)["plan"].tolist()[-1] == "0-2 [4*3]@0.5 6 7"
