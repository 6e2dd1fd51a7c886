"""A run taken up again: the past kept, the rest run as if nothing had been interrupted."""

from pathlib import Path

import pytest
import tiny
import torch
import zoo
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied
from painters_interp.execution import family_of, resume_from, run
from painters_interp.strategies import full

N = tiny.N_LAYERS
LENGTH, FIRST = 24, 13  # past the sliding windows of 8
PLANS = ("0-5", "0 (1|2)*2 3 5 4", "2 0 1@0.5 3-5")
# Masks and biases of many makes: multi-query, alibi in two shapes, chunks, latent keys, windows.
ODD = ("Falcon", "BLOOM", "MPT", "GPT-J", "GPT-Neo", "Gemma 2", "Llama 4", "DeepSeek V3", "OPT")


def odd(name: str, folder: Path) -> TransformerBridge:
    return TransformerBridge.boot_transformers(
        f"tiny-{name}",
        hf_model=zoo.stock(name, torch.float64),
        tokenizer=tiny.tokenizer(folder),
        dtype=torch.float64,
        device="cpu",
    )


def under(model: TransformerBridge, plan: str, tokens: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The stream before `step` and the final one, by hooks while the whole model runs."""
    depth = Plan.parse(plan, N).depth
    read: list[Tensor] = []
    points = (f"steps.{step}.hook_resid_pre", f"steps.{depth - 1}.hook_resid_post")
    hooks = [(point, lambda stream, hook: read.append(stream[0])) for point in points]
    with torch.no_grad(), applied(model, plan):
        model.run_with_hooks(tokens, fwd_hooks=hooks)
    return read[0], read[1]


def assert_resumes_exactly(model: TransformerBridge, plan: str, start: int) -> None:
    tokens = tiny.tokens(1, LENGTH)
    found = run(model, tokens, plan, FIRST)
    assert found.start == start
    before, after = under(model, plan, tokens, step=2)
    torch.testing.assert_close(found.states[2], before, atol=1e-12, rtol=0)
    rows = torch.stack([before[start:], before[start:] * 1.5, before[start:]])
    finals = found.resume(2, rows)
    # Eager attention takes its softmax in float32 in many families.
    torch.testing.assert_close(finals[0], after[start:], atol=1e-5, rtol=0)
    torch.testing.assert_close(finals[0], finals[2], atol=1e-12, rtol=0)
    assert (finals[1] - finals[0]).abs().max() > 1e-2


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("family", tiny.DECODERS)
def test_a_resumed_run_ends_where_the_whole_one_does(family, plan, tiny_folder):
    assert_resumes_exactly(tiny.build(family, torch.float64, tiny_folder), plan, FIRST)


@pytest.mark.parametrize("name", ODD)
def test_so_do_models_with_masks_of_their_own(name, tiny_folder):
    assert_resumes_exactly(odd(name, tiny_folder), PLANS[1], FIRST)


@pytest.mark.parametrize("name", ["LFM2", "BERT"])
def test_a_model_without_a_past_to_keep_runs_all_positions_again(name, tiny_folder):
    assert_resumes_exactly(odd(name, tiny_folder), PLANS[1], start=0)


def test_resuming_twice_gives_the_same(tiny_folder):
    model = tiny.build("gemma3", torch.float64, tiny_folder)
    found = run(model, tiny.tokens(1, LENGTH), None, FIRST)
    rows = found.states[:1, FIRST:]
    assert torch.equal(found.resume(0, rows), found.resume(0, rows))


def test_many_rows_go_through_in_parts(tiny_folder, monkeypatch):
    model = tiny.build("llama", torch.float64, tiny_folder)
    found = run(model, tiny.tokens(1, LENGTH), None, FIRST)
    rows = found.states[:, FIRST:]
    at_once = found.resume(3, rows)
    monkeypatch.setattr("painters_interp.execution.prompt_run._TOKENS_AT_ONCE", 25)
    advanced: list[int] = []
    parts = found.resume(3, rows, advanced.append)
    torch.testing.assert_close(parts, at_once, atol=1e-12, rtol=0)
    assert sum(advanced) == rows.shape[0] * rows.shape[1] * 3


def test_a_layer_that_goes_on_wrongly_is_found_out(tiny_folder):
    model = tiny.build("llama", torch.float64, tiny_folder)
    family_of(model)

    def look_ahead(module, args, output):  # then the past does depend on what comes later
        stream = output[0] if isinstance(output, tuple) else output
        stream += stream.mean(dim=1, keepdim=True)

    look_ahead.__module__ = "transformers"  # a part of the model, not a hook of a user
    handle = model.blocks[0].register_forward_hook(look_ahead)
    try:
        assert resume_from(model, full(N), LENGTH, FIRST) == 0
    finally:
        handle.remove()
