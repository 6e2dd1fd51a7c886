"""A model under a plan for longer than a `with` block."""

import gc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.errors import PlanError
from painters_interp.models import weights_digest

PLAN = "0-1 (2|3) 5 4"
TOKENS = tiny.tokens()
TEXTS = ["abcdefg", "gfedcba", "aabbccd", "zyxwvut"]


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


def same(first: Any, second: Any) -> bool:
    """Tables, or tensors."""
    return first.equals(second) if isinstance(first, pd.DataFrame) else torch.equal(first, second)


@pytest.mark.parametrize(
    ("of_held", "of_plan"),
    [
        (
            lambda held: painters.evaluate(held, tasks="probe_facts", limit=2),
            lambda model: painters.evaluate(model, PLAN, "probe_facts", limit=2),
        ),
        (
            lambda held: painters.generate(held, prompts=["abc"], max_new_tokens=3),
            lambda model: painters.generate(model, PLAN, ["abc"], max_new_tokens=3),
        ),
        (
            lambda held: painters.similarity(held, TEXTS, "cosine")["cosine"].matrix,
            lambda model: painters.similarity(model, TEXTS, "cosine", plan=PLAN)["cosine"].matrix,
        ),
        (
            lambda held: painters.kl_to_intact(held, PLAN, TEXTS),
            lambda model: painters.kl_to_intact(model, PLAN, TEXTS),
        ),
        (
            lambda held: painters.patching.patch_residual(held, "ab", "ac", "kl"),
            lambda model: painters.patching.patch_residual(model, "ab", "ac", "kl", plan=PLAN),
        ),
        (
            lambda held: painters.token_logprobs(held, [PLAN], TOKENS),
            lambda model: painters.token_logprobs(model, [PLAN], TOKENS),
        ),
    ],
    ids=["evaluate", "generate", "similarity", "kl_to_intact", "patch_residual", "token_logprobs"],
)
def test_functions_take_it_as_the_model_under_its_plan(
    model: TransformerBridge, of_held: Any, of_plan: Any
) -> None:
    expected = of_plan(model)
    with painters.planned(model, PLAN) as held:
        under = held(TOKENS)
        assert same(of_held(held), expected)
        assert torch.equal(held(TOKENS), under)  # it still runs its plan


@pytest.mark.parametrize(
    "asked",
    [
        lambda held: painters.planned(held, "0-5"),
        lambda held: painters.applied(held, "0-5").__enter__(),
        lambda held: painters.evaluate(held, [PLAN, "0-2"], "probe_facts", limit=1),
        lambda held: painters.generate(held, "0-5", ["abc"]),
        lambda held: painters.similarity(held, TEXTS, "cosine", plan="0-5"),
        lambda held: painters.search(held, TEXTS, calls=4),
        lambda held: next(painters.capture(held, TEXTS)),
        lambda held: painters.kl_to_intact(held.bridge, PLAN, TEXTS),
    ],
    ids=["planned", "applied", "evaluate", "generate", "similarity", "search", "capture", "bridge"],
)
def test_another_plan_on_top_is_refused(model: TransformerBridge, asked: Any) -> None:
    with painters.planned(model, PLAN) as held:
        under = held(TOKENS)
        with pytest.raises(PlanError, match="already applied"):
            asked(held)
        assert torch.equal(held(TOKENS), under)


def test_it_runs_its_plan_again_after_an_exception(model: TransformerBridge) -> None:
    with painters.planned(model, PLAN) as held:
        under = held(TOKENS)
        with pytest.raises(painters.errors.TaskError):
            painters.evaluate(held, tasks="nonsense")
        assert torch.equal(held(TOKENS), under)


def test_hooks_at_its_steps_are_not_lost_in_silence(model: TransformerBridge) -> None:
    with painters.planned(model, PLAN) as held:
        held.add_hook("steps.1.hook_resid_post", lambda stream, hook: 0 * stream)
        with pytest.raises(PlanError, match=r"hooks hang at steps.1.hook_resid_post"):
            painters.kl_to_intact(held, PLAN, TEXTS)
        held.reset_hooks()
        assert painters.kl_to_intact(held, PLAN, TEXTS)["kl"].gt(0).all()


def test_its_cache_is_that_of_what_it_writes(model: TransformerBridge) -> None:
    expected = painters.generate(model, PLAN, ["abc"], 3, cache="averaged")
    with painters.planned(model, PLAN, cache="averaged") as held:
        assert same(painters.generate(held, prompts=["abc"], max_new_tokens=3), expected)
        with pytest.raises(PlanError, match="cache='averaged', which has no meaning here"):
            painters.similarity(held, TEXTS, "cosine")


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
