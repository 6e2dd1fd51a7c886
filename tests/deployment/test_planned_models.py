"""A model under a plan for longer than a `with` block."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.errors import PlanError
from painters_interp.learning import Tuning
from painters_interp.models import weights_digest

PLAN = "0-1 (2|3) 5 4"
TOKENS = tiny.tokens()
TEXTS = ["abcdefg", "gfedcba", "aabbccd", "zyxwvut"]
EXAMPLES = pd.DataFrame({"text": [f"ab{k:03}" for k in range(24)], "label": [0, 1] * 12})
ONE_PASS = Tuning(epochs=1)


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
    others = [held]
    del held
    with pytest.warns(UserWarning, match="held by nobody any more, so that the model is intact"):
        others.clear()
    assert torch.equal(model(TOKENS), intact)


def test_what_the_bridge_returns_of_itself_is_the_planned_model(model: TransformerBridge) -> None:
    """Else `held = planned(...).eval()` would go on with the intact model."""
    held = painters.planned(model, PLAN).eval().requires_grad_(True)
    assert held.plan == painters.Plan.parse(PLAN, tiny.N_LAYERS)
    assert painters.load_model(held) is held
    held.close()


def test_a_script_may_end_without_closing_it(checkpoint: Path) -> None:
    """As it ought to, and in its child with an error."""
    script = f"""
import os
import painters_interp as painters
held = painters.planned(painters.load_model({str(checkpoint)!r}), "0-2 5")
if os.fork() == 0:
    raise ValueError("the last line")
_, status = os.wait()
print(os.waitstatus_to_exitcode(status))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout.split()) == (0, ["1"])
    assert run.stderr.strip().splitlines()[-1:] == ["ValueError: the last line"]
    assert run.stderr.count("Error") == 1
    assert "Exception ignored" not in run.stderr


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_is_not_copied_for_a_copy_could_not_be_closed(model: Any, copied: Any) -> None:
    with painters.planned(model, PLAN) as held:
        with pytest.raises(PlanError, match="is not copied or pickled"):
            copied(held)
        for inside in (held.bridge, held.original_model):
            with pytest.raises(PlanError, match="deepcopy would change, copy or write down"):
                copy.deepcopy(inside)


def test_what_is_set_on_it_is_set_on_the_model_but_for_its_plan(model: TransformerBridge) -> None:
    with painters.planned(model, PLAN) as held:
        held.note = "seen"
        with pytest.raises(AttributeError, match="plan"):
            held.plan = painters.Plan("0-2", tiny.N_LAYERS)
    assert model.note == "seen"
    del model.note


def test_is_lifted_while_a_function_runs_its_plan_and_says_so(model: TransformerBridge) -> None:
    intact = model(TOKENS)
    with painters.planned(model, PLAN) as held:
        with pytest.raises(PlanError, match="is in use by a function that applies its plan anew"):
            painters.similarity(held, TEXTS, "cosine", other=held)
        with held.lifted() as lifted:
            assert torch.equal(lifted(TOKENS), intact)
            held.close()
        assert held.closed
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
        (
            lambda held: painters.token_logprobs(model=held, plans=None, tokens=TOKENS),
            lambda model: painters.token_logprobs(model, [PLAN], TOKENS),
        ),
        (
            lambda held: painters.classify(held, tasks=EXAMPLES),
            lambda model: painters.classify(model, painters.Plan(PLAN, 6), EXAMPLES),
        ),
        (
            lambda held: painters.heal(held, texts=TEXTS, tuning=ONE_PASS).table(),
            lambda model: painters.heal(model, PLAN, TEXTS, tuning=ONE_PASS).table(),
        ),
        (
            lambda held: painters.damage.resampled_kl(held, PLAN, TEXTS)[0],
            lambda model: painters.damage.resampled_kl(model, PLAN, TEXTS)[0],
        ),
    ],
    ids=[
        *("evaluate", "generate", "similarity", "kl_to_intact", "patch_residual"),
        *("token_logprobs", "model=", "classify", "heal", "resampled_kl"),
    ],
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
        lambda held: painters.deployment.calls_within(held, 1.0),
        lambda held: painters.models.random_weights(held),
        lambda held: painters.models.copied(held),
    ],
    ids=[
        *("planned", "applied", "evaluate", "generate", "similarity", "search", "capture"),
        *("bridge", "calls_within", "random_weights", "copied"),
    ],
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
