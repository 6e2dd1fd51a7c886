"""The default model under the paper's plans, against what the authors' own code printed.

`golden/authors_forward.json`: mean next-token negative log-likelihood (nats) of a short prompt and
the five most likely next tokens, per method; `start_layer` is `first` in `strategies.middle`.
`golden/authors_decoding.json`: the most likely tokens at each step of their cached decoding.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, token_logprobs
from painters_interp import strategies as s
from painters_interp.execution import head, record, walk

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "authors_forward.json").read_text())
DECODING = json.loads((GOLDEN / "authors_decoding.json").read_text())
PROMPTS = sorted({case["prompt"] for case in CASES})
N = 30

METHODS: dict[str, Callable[[Any, Any], Plan]] = {
    "baseline": lambda first, k: s.full(N),
    "skip": lambda first, k: s.skip(N, s.middle(N, first)),
    "reverse": lambda first, k: s.reverse(N, s.middle(N, first)),
    "middle_repeat": lambda first, k: s.repeat_center(N, s.middle(N, first)),
    "loop_parallel": lambda first, k: s.looped_parallel(N, s.middle(N, first), times=k),
    "random": lambda first, seed: s.shuffle(N, s.middle(N, first), seed=seed),
    "skip_idx_layer": lambda layer, _: s.drop(N, layer),
    "switch_idx_layer": lambda layer, _: s.swap(N, layer, layer + 1),
}


def plan_of(case: dict[str, Any]) -> Plan:
    return METHODS[case["method"]](case["start_layer"], case["repeat_or_seed"])


@pytest.mark.parametrize("prompt", PROMPTS)
@torch.no_grad()
def test_every_method_gives_the_published_codes_numbers(
    default_model: TransformerBridge, prompt: str
) -> None:
    cases = [case for case in CASES if case["prompt"] == prompt]
    assert len(cases) == 28
    tokens = torch.tensor([cases[0]["token_ids"]])
    plans = [plan_of(case) for case in cases]
    losses = torch.full((len(plans),), torch.nan)
    with head(default_model) as logits_of:
        for indices, stream in walk(default_model, plans, record(default_model, tokens)):
            logprobs = logits_of(stream[0]).log_softmax(-1)
            losses[indices] = -logprobs[:-1].gather(-1, tokens[0, 1:, None]).mean()
            top = logprobs[-1].topk(5)
            for case in (cases[i] for i in indices):
                assert top.indices.tolist() == case["top_ids"]
                assert top.values.tolist() == pytest.approx(case["top_logprobs"], abs=1e-3)
    assert losses.isfinite().all()
    assert losses.tolist() == pytest.approx([case["nll"] for case in cases], abs=1e-3)
    some = slice(PROMPTS.index(prompt), None, 8)  # others for each prompt
    found = -token_logprobs(default_model, plans[some], tokens).mean(dim=(1, 2))
    assert found.tolist() == pytest.approx(losses[some].tolist(), abs=1e-4)


@torch.no_grad()
def test_applied_gives_the_same_numbers(default_model: TransformerBridge) -> None:
    for case in CASES[::16]:
        tokens = torch.tensor([case["token_ids"]])
        with applied(default_model, plan_of(case)):
            logprobs = default_model(tokens).log_softmax(-1)
        loss = -logprobs[0, :-1].gather(-1, tokens[0, 1:, None]).mean()
        assert float(loss) == pytest.approx(case["nll"], abs=1e-3)
        assert logprobs[0, -1].topk(5).values.tolist() == pytest.approx(
            case["top_logprobs"], abs=1e-3
        )


@pytest.mark.parametrize("case", DECODING, ids=lambda c: f"{c['method']}-{c['prompt'][:8]}")
@torch.no_grad()
def test_averaged_decoding_gives_the_published_codes_numbers(
    default_model: TransformerBridge, case: dict[str, Any]
) -> None:
    tokens, prefill = torch.tensor([case["token_ids"]]), case["prefill"]
    with applied(default_model, plan_of(case), cache="averaged"):
        _, cache = default_model(
            tokens[:, :prefill], use_cache=True, return_type="logits_and_cache"
        )
        for step in case["decode"]:
            logits, cache = default_model(
                torch.tensor([[step["fed_token"]]]),
                past_key_values=cache,
                return_type="logits_and_cache",
            )
            found = logits[0, -1].log_softmax(-1)[step["top_ids"]]
            assert found.tolist() == pytest.approx(step["top_logprobs"], abs=1e-3)


@torch.no_grad()
def test_exact_decoding_equals_one_pass_where_the_published_code_does_not(
    default_model: TransformerBridge,
) -> None:
    differing = [case for case in DECODING if case["max_gap_to_uncached"] >= 0.1]
    for case in differing[::3]:
        tokens = torch.tensor([case["token_ids"]])
        with applied(default_model, plan_of(case)):
            expected = default_model(tokens).log_softmax(-1)
            _, cache = default_model(tokens[:, :3], use_cache=True, return_type="logits_and_cache")
            for t in range(3, tokens.shape[1]):
                logits, cache = default_model(
                    tokens[:, t : t + 1], past_key_values=cache, return_type="logits_and_cache"
                )
                torch.testing.assert_close(
                    logits.log_softmax(-1)[:, 0], expected[:, t], atol=1e-3, rtol=0
                )
