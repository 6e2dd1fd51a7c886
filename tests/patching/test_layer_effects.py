"""Effects on later layers: equal to updates read by hooks, token by token."""

from functools import partial

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from painters_interp import applied, patching
from painters_interp.errors import PatchError, PlanError, TextError
from painters_interp.statistics import of_mean
from painters_interp.strategies import drop

N = tiny.N_LAYERS
TEXTS = ["a first text that says little", "short one", "and a third, somewhat longer text of words"]


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2", "bert"])
def model(request, tiny_folder):
    return tiny.build(request.param, torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def llama(tiny_folder):
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def updates(model, text: str, extra=()) -> dict[int, list[Tensor]]:
    """What every call of every layer adds, by hooks while one text goes through the model."""
    before: dict[int, Tensor] = {}
    found: dict[int, list[Tensor]] = {}

    def come(layer, stream, hook):
        before[layer] = stream

    def go(layer, stream, hook):
        found.setdefault(layer, []).append((stream - before[layer])[0])

    points = [(f"blocks.{i}.hook_resid_pre", partial(come, i)) for i in range(N)]
    points += [(f"blocks.{i}.hook_resid_post", partial(go, i)) for i in range(N)]
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with model.hooks(fwd_hooks=[*points, *extra]):
        model(ids)
    return found


def change(own: Tensor, other: Tensor, first: int) -> float:
    return float(((other - own).norm(dim=-1) / own.norm(dim=-1))[first:].mean())


def test_dropping_a_layer_equals_hooks_under_its_plan(model):
    found = patching.effects(model, TEXTS, batch_size=1).set_index(["dropped", "layer"])
    assert len(found) == N * (N - 1) / 2
    for layer in range(N - 1):
        values = np.empty((len(TEXTS), N - 1 - layer))
        for row, text in enumerate(TEXTS):
            own = updates(model, text)
            with applied(model, drop(N, layer)):
                other = updates(model, text)
            values[row] = [change(own[i][0], other[i][0], first=1) for i in range(layer + 1, N)]
        rows = found.loc[layer]
        np.testing.assert_allclose(rows["value"], values.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(rows[["low", "high"]].T, of_mean(values), atol=1e-5)
        assert (rows["value"] > 0.05).all()


@pytest.mark.parametrize("at", [None, 4])
def test_texts_read_together_count_as_read_alone(tiny_folder, at):
    model = tiny.build("gemma3", torch.float32, tiny_folder)  # in float64 padding has no softmax
    together, alone = (patching.effects(model, TEXTS, at=at, batch_size=size) for size in (3, 1))
    assert together["value"].notna().all()
    np.testing.assert_allclose(together["value"], alone["value"], atol=1e-4)


def test_at_one_token_equals_hooks_that_drop_its_update(llama):
    at = 3
    found = patching.effects(llama, TEXTS[:1], at=at).set_index(["dropped", "layer"])
    own = updates(llama, TEXTS[0])
    for layer in range(N - 1):
        read: list[Tensor] = []

        def put_back(stream, hook, read=read):
            stream = stream.clone()
            stream[:, at] = read[0][:, at]
            return stream

        extra = [(f"blocks.{layer}.hook_resid_pre", lambda s, hook, read=read: read.append(s))]
        extra += [(f"blocks.{layer}.hook_resid_post", put_back)]
        other = updates(llama, TEXTS[0], extra)
        expected = [change(own[i][0], other[i][0], first=at + 1) for i in range(layer + 1, N)]
        np.testing.assert_allclose(found.loc[layer]["value"], expected, atol=1e-5)
        assert min(expected) > 1e-3
    assert (found["changed_at"] == at).all()


def test_any_plan_makes_a_row_and_a_layer_called_twice_its_average(llama):
    plans = {"loop": "0-1 (2|3)*2 5", "late": "0-4 5@0.5"}
    found = patching.effects(llama, TEXTS[:1], plans, skip_first=False)
    loop = found[found["label"] == "loop"].set_index("layer")["value"]
    own = updates(llama, TEXTS[0])
    with applied(llama, plans["loop"]):
        other = updates(llama, TEXTS[0])
    assert loop.index.tolist() == [2, 3, 5]
    for layer in loop.index:
        calls = [change(own[layer][0], update, first=0) for update in other[layer]]
        assert loop[layer] == pytest.approx(np.mean(calls), abs=1e-5)
    assert found["dropped"].isna().all()
    # A damped layer reads what it always read.
    assert found.loc[found["label"] == "late", "value"].tolist() == [0]


def test_pieces_of_a_long_text_count_as_one_document(llama):
    found = patching.effects(llama, ["ab" * 200, "short"])
    assert (found["documents"] == 2).all()
    assert found["value"].notna().all()


class TestRefusals:
    def test_a_token_without_later_ones(self, llama):
        with pytest.raises(PatchError, match=r"at=9 .* the shortest text has 10 tokens, 0\.\.8"):
            patching.effects(llama, TEXTS, at=9)

    def test_a_plan_that_cannot_hold_at_one_token(self, llama):
        with pytest.raises(PatchError, match="'1 0 2-5' does more than leave layers out"):
            patching.effects(llama, TEXTS, ["1 0 2-5"], at=2)

    def test_one_token_of_a_masked_language_model(self, tiny_folder):
        bert = tiny.build("bert", torch.float64, tiny_folder)
        with pytest.raises(PatchError, match=r"masked language model.*leave it out"):
            patching.effects(bert, TEXTS, at=2)

    @pytest.mark.parametrize("plans", [[], ["0-5"], ["0-4"]])
    def test_plans_that_change_nothing_later(self, llama, plans):
        with pytest.raises(PatchError, match="no plan changes a layer that another one follows"):
            patching.effects(llama, TEXTS, plans)

    def test_plans_and_texts_that_do_not_fit(self, llama):
        with pytest.raises(PlanError, match="asks for layer 6"):
            patching.effects(llama, TEXTS, ["0-6"])
        with pytest.raises(TextError, match="texts must be a list"):
            patching.effects(llama, [])
