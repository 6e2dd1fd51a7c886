"""A decoder whose tokens see later ones, by its configuration, is no causal one."""

from pathlib import Path

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp import applied, check, token_logprobs
from painters_interp.errors import UnsupportedModelError
from painters_interp.execution import family_of, head, record, walk

PLAN = "0 [1-3]@0.5 5"


@pytest.fixture(scope="module")
def gemma(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("gemma3", torch.float64, tiny_folder, use_bidirectional_attention=True)


@torch.no_grad()
def test_it_runs_plans_over_whole_texts(gemma: TransformerBridge) -> None:
    tokens = tiny.tokens(2, 12)
    other = tokens.clone()
    other[:, -1] = 5
    plan = painters.Plan.parse(PLAN, gemma)
    [(_, stream)] = walk(gemma, [plan], record(gemma, tokens))
    with head(gemma) as logits_of:
        expected = logits_of(stream.flatten(0, 1)).unflatten(0, tokens.shape)
    with applied(gemma, plan):
        found = gemma(tokens)
        assert not torch.allclose(found[:, 0], gemma(other)[:, 0])  # the first sees the last
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    report = check(gemma, plan)
    assert report.cached_gap is None
    assert report.ok


def test_it_has_no_next_token_and_no_past(gemma: TransformerBridge) -> None:
    tokens = tiny.tokens(1, 6)
    assert not family_of(gemma).causal
    with pytest.raises(UnsupportedModelError, match="or bidirectional"):
        token_logprobs(gemma, PLAN, tokens)
    with pytest.raises(UnsupportedModelError, match="or bidirectional, which writes no texts"):
        painters.generate(gemma, PLAN, "AB")
    with torch.no_grad(), applied(gemma, PLAN):
        _, cache = gemma(tokens, use_cache=True, return_type="logits_and_cache")
        with pytest.raises(UnsupportedModelError, match="read whole texts, without a cache"):
            gemma(tokens[:, :1], past_key_values=cache, use_cache=True)


@pytest.mark.parametrize("family", tiny.DECODERS)
def test_other_decoders_are_causal(tiny_folder: Path, family: str) -> None:
    assert family_of(tiny.shared(family, torch.float64, tiny_folder)).causal
