"""KL where a token is excluded, its logit -inf: the same right number wherever one is computed."""

import pytest
import tiny
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.generation.routes import Way, way_to_write

PLAN, TEXT, TOKEN = "0 2-5", "abc def", 3
KEPT = [token for token in range(tiny.VOCAB) if token != TOKEN]


def exclude(model: TransformerBridge) -> None:
    def without(module, args, output):
        return output.index_fill(-1, torch.tensor([TOKEN]), -torch.inf)

    without.__module__ = "transformers.processors"  # as a part of the model
    model.original_model.lm_head.register_forward_hook(without)


@pytest.fixture(scope="module")
def excluding(tiny_folder) -> TransformerBridge:
    model = tiny.build("llama", torch.float32, tiny_folder)
    exclude(model)
    return model


@pytest.fixture(scope="module")
def expected(excluding) -> Tensor:
    """KL(intact || plan) at every token, over the tokens that are not excluded."""
    tokens = torch.tensor([excluding.tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        intact = excluding(tokens)[0][:, KEPT].log_softmax(-1)
        with painters.applied(excluding, PLAN):
            other = excluding(tokens)[0][:, KEPT].log_softmax(-1)
    return (intact.exp() * (intact - other)).sum(-1)


def test_of_texts(excluding, expected):
    found = painters.kl_to_intact(excluding, PLAN, [TEXT])["kl"].item()
    assert found == pytest.approx(expected.mean().item(), rel=1e-4)


def test_a_part_that_comes_later_is_seen(tiny_folder, expected):
    model = tiny.build("llama", torch.float32, tiny_folder)
    before = painters.kl_to_intact(model, PLAN, [TEXT])["kl"].item()
    exclude(model)
    found = painters.kl_to_intact(model, PLAN, [TEXT])["kl"].item()
    assert found == pytest.approx(expected.mean().item(), rel=1e-4)
    assert found != pytest.approx(before, rel=1e-3)


def test_of_patches(excluding):
    both = {"metric": "kl", "states": [0, 3], "positions": [1]}
    found = painters.patching.patch_residual(excluding, "abc", "xbc", **both)
    plain = painters.patching.crossing(excluding, "abc", "abc", target_states=[2])
    # An embedding is all that differs: put there at state 0, it gives the clean run.
    assert found["value"][0] == pytest.approx(0, abs=1e-5)
    assert 0 < found["value"][1] < 10
    assert plain["value"].notna().all()
    own = plain[plain["source_state"] == 2]["value"].item()
    assert own == pytest.approx(0, abs=1e-5)


def test_of_tasks(excluding):
    table = painters.evaluate(excluding, PLAN, "probe_facts", limit=2, metrics=["kl"])
    kl = table[(table["metric"] == "kl") & (table["plan"] == PLAN)]["value"].item()
    assert 0 < kl < 10


def test_is_no_fault_to_check_and_none_to_writing_together(excluding):
    assert painters.check(excluding, PLAN).ok
    assert isinstance(way_to_write(excluding), Way)
