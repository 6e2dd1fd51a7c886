"""Every entry point on a model that nothing has probed yet, under a plan that halves a layer."""

import pytest
import tiny
import torch

import painters_interp as painters

PLAN = "0 1.attn 2-5"
TEXTS = ["abc", "cba"]


@pytest.mark.parametrize(
    "use",
    [
        lambda m: painters.token_logprobs(m, [PLAN], tiny.tokens(1, 9)),
        lambda m: painters.kl_to_intact(m, [PLAN], TEXTS),
        lambda m: painters.similarity(m, TEXTS, plan=PLAN),
        lambda m: list(painters.capture(m, TEXTS, plan=PLAN)),
        lambda m: painters.check(m, PLAN),
        lambda m: painters.evaluate(m, {"half": PLAN}, ["probe_facts"], limit=2),
    ],
    ids=["token_logprobs", "kl_to_intact", "similarity", "capture", "check", "evaluate"],
)
def test_runs(use, tiny_folder):
    fresh = tiny.build("llama", torch.float32, tiny_folder)
    assert use(fresh) is not None
