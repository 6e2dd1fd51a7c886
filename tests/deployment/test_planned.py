"""A model under a plan for longer than a `with` block."""

import gc
from pathlib import Path

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.errors import PlanError
from painters_interp.models import weights_digest

PLAN = "0-1 (2|3) 5 4"
TOKENS = tiny.tokens()


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


def test_computes_what_applied_computes_until_it_is_closed(model: TransformerBridge) -> None:
    intact, digest = model(TOKENS), weights_digest(model)
    with painters.applied(model, PLAN) as under:
        expected = under(TOKENS)
    held = painters.planned(model, PLAN)
    assert torch.equal(held(TOKENS), expected)
    assert torch.equal(model(TOKENS), expected)  # the model itself is under the plan
    held.close()
    assert torch.equal(model(TOKENS), intact)
    assert weights_digest(model) == digest


def test_is_used_as_the_bridge_is(model: TransformerBridge) -> None:
    with painters.applied(model, PLAN) as under:
        written = under.original_model.generate(TOKENS, max_new_tokens=4, do_sample=False)
    with painters.planned(model, PLAN) as held:
        assert torch.equal(
            held.original_model.generate(TOKENS, max_new_tokens=4, do_sample=False), written
        )
        _, seen = held.run_with_cache(TOKENS)
        assert "steps.4.hook_resid_post" in seen
        assert held.cfg.n_layers == tiny.N_LAYERS
        assert held.plan == painters.Plan.parse(PLAN, tiny.N_LAYERS)
        assert painters.models.as_model(held) is model


def test_is_restored_after_an_exception_and_when_nobody_holds_it(model: TransformerBridge) -> None:
    intact = model(TOKENS)
    with pytest.raises(KeyboardInterrupt), painters.planned(model, PLAN):
        raise KeyboardInterrupt
    assert torch.equal(model(TOKENS), intact)
    held = painters.planned(model, PLAN)
    assert not torch.equal(model(TOKENS), intact)
    del held
    gc.collect()
    assert torch.equal(model(TOKENS), intact)


@pytest.mark.parametrize(
    "asked",
    [
        lambda held: painters.planned(held, "0-5"),
        lambda held: painters.applied(held, "0-5").__enter__(),
        lambda held: painters.evaluate(held, [PLAN], "probe_facts", limit=1),
        lambda held: painters.generate(held, [PLAN], ["abc"]),
        lambda held: painters.similarity(held, ["abcd", "bcda"], ["cosine"]),
        lambda held: painters.kl_to_intact(held, [PLAN], ["abcd"]),
        lambda held: painters.check(held, PLAN),
        lambda held: painters.patching.effects(held, ["abcd"]),
    ],
    ids=["planned", "applied", "evaluate", "generate", "similarity", "kl", "check", "effects"],
)
def test_what_begins_with_the_intact_model_is_refused(model: TransformerBridge, asked) -> None:
    with painters.planned(model, PLAN) as held, pytest.raises(PlanError, match="already applied"):
        asked(held)


def test_once_closed_it_says_so(model: TransformerBridge) -> None:
    held = painters.planned(model, PLAN)
    held.close()
    held.close()
    assert held.closed
    assert "closed" in repr(held)
    for use in (held, held.__enter__, lambda: held.tokenizer):
        with pytest.raises(PlanError, match=r"\(.*5 4'\) is closed; call painters.planned again"):
            use()


def test_what_cannot_be_applied_leaves_the_model_as_it_was(model: TransformerBridge) -> None:
    intact = model(TOKENS)
    for plan, cache in (("0-9", "exact"), ("0-5", "nonsense")):
        with pytest.raises(PlanError):
            painters.planned(model, plan, cache=cache)
    assert torch.equal(model(TOKENS), intact)
