"""Generating under a plan: token for token what step-by-step uncached decoding gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied
from painters_interp.errors import PlanError, TextError, UnsupportedModelError
from painters_interp.execution import record

N = tiny.N_LAYERS
PLANS = ["0-5", "1-5", "0-2 4 5", "0-1 3 2 4-5", "0 2*3 5", "0 (1-4) 5", "0 (1-4)*3 5", "2.mlp 0-5"]
NEW = 6


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3"])
def model(request: pytest.FixtureRequest, tiny_folder: Path) -> TransformerBridge:
    return tiny.build(request.param, torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def prompts() -> tuple[Tensor, Tensor]:
    """Three prompts of different lengths, padded on the left, and their mask."""
    tokens, mask = tiny.tokens(batch=3, length=9, seed=5), torch.ones(3, 9, dtype=torch.long)
    for row, pads in enumerate((0, 2, 5)):
        tokens[row, :pads], mask[row, :pads] = 0, 0
    return tokens, mask


def stepwise(model: TransformerBridge, tokens: Tensor, mask: Tensor, sample: bool) -> Tensor:
    """The whole batch anew for every token, without a cache."""
    for _ in range(NEW):
        logits = model(tokens, attention_mask=mask, use_cache=False)[:, -1]
        if sample:
            chosen = torch.multinomial(logits.softmax(-1), 1)
        else:
            chosen = logits.argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, chosen], dim=1)
        mask = torch.cat([mask, torch.ones_like(chosen)], dim=1)
    return tokens


@pytest.mark.parametrize(
    ("plan", "sample"), [*((plan, False) for plan in PLANS), ("0 (1-4)*3 5", True)]
)
def test_hugging_face_generation(
    model: TransformerBridge, prompts: tuple[Tensor, Tensor], plan: str, sample: bool
) -> None:
    tokens, mask = prompts
    with applied(model, plan):
        torch.manual_seed(3)
        expected = stepwise(model, tokens, mask, sample)
        torch.manual_seed(3)
        found = model.original_model.generate(
            tokens, attention_mask=mask, do_sample=sample, max_new_tokens=NEW,
            eos_token_id=None, pad_token_id=0, top_k=0,
        )  # fmt: skip
    assert torch.equal(found, expected)


@pytest.mark.parametrize("plan", PLANS)
def test_bridge_generation(
    model: TransformerBridge, prompts: tuple[Tensor, Tensor], plan: str
) -> None:
    tokens, mask = prompts
    with applied(model, plan):
        expected = stepwise(model, tokens, mask, sample=False)
        found = model.generate(
            tokens, attention_mask=mask, do_sample=False, max_new_tokens=NEW,
            stop_at_eos=False, verbose=False, return_type="tokens",
        )  # fmt: skip
    assert torch.equal(found, expected)


def test_padded_prompts_without_a_mask_are_refused(
    model: TransformerBridge, prompts: tuple[Tensor, Tensor]
) -> None:
    tokens, mask = prompts
    with applied(model, "0-5"):
        with pytest.raises(TextError, match="pass attention_mask"):
            model.generate(tokens, max_new_tokens=2, verbose=False)
        model.generate(tokens[:1], max_new_tokens=2, verbose=False)
        model.generate(tokens, attention_mask=mask, max_new_tokens=2, verbose=False)
    assert "generate" not in vars(model)


class TestAveragedCache:
    """The published decoding; its numbers on a real model are in test_golden.py."""

    def test_differs_for_parallel_groups_and_only_while_decoding(
        self, model: TransformerBridge
    ) -> None:
        tokens = tiny.tokens(1, 20)
        plan = "0 (1|3|4) 2 5"  # one kind of layer also in Gemma 3
        with applied(model, plan, cache="averaged"):
            prefill = model(tokens)
            averaged = last_logits(model, tokens)
        with applied(model, plan):
            assert torch.equal(model(tokens), prefill)
            exact = last_logits(model, tokens)
            torch.testing.assert_close(exact, model(tokens)[:, -1], atol=1e-5, rtol=0)
        assert (averaged - exact).abs().max() > 1e-3

    @pytest.mark.parametrize("plan", ["0-5", "0 3 2 5", "0 2*3 5", "0 (1|1|1) 5"])
    def test_is_exact_where_nothing_is_averaged(self, model: TransformerBridge, plan: str) -> None:
        tokens = tiny.tokens(1, 20)
        with applied(model, plan, cache="averaged"):
            torch.testing.assert_close(
                last_logits(model, tokens), model(tokens)[:, -1], atol=1e-5, rtol=0
            )

    def test_sliding_and_full_layers_have_no_mean(self, tiny_folder: Path) -> None:
        model = tiny.build("gemma3", torch.float32, tiny_folder)
        with (
            pytest.raises(UnsupportedModelError, match="joins layers of full_attention and slid"),
            applied(model, "0 (1-4) 5", cache="averaged"),
        ):
            pass

    def test_an_unknown_cache_is_refused(self, model: TransformerBridge) -> None:
        with (
            pytest.raises(PlanError, match="cache='mean' is not one of exact, averaged"),
            applied(model, "0-5", cache="mean"),
        ):
            pass


def last_logits(model: TransformerBridge, tokens: Tensor, prefill: int = 5) -> Tensor:
    """Logits after the last token, decoded token by token."""
    logits, cache = model(tokens[:, :prefill], use_cache=True, return_type="logits_and_cache")
    for t in range(prefill, tokens.shape[1]):
        logits, cache = model(
            tokens[:, t : t + 1], past_key_values=cache, return_type="logits_and_cache"
        )
    return logits[:, -1]


class TestHalves:
    """Attention-only and MLP-only calls."""

    def test_both_halves_in_turn_are_the_layer_where_they_run_in_turn(
        self, tiny_folder: Path
    ) -> None:
        tokens = tiny.tokens()
        for family, equal in [("llama", True), ("gemma3", True), ("gpt_neox", False)]:
            model = tiny.build(family, torch.float64, tiny_folder)
            with applied(model, "0-2 3.attn 3.mlp 4 5"):
                found = model(tokens)
            gap = float((found - model(tokens)).abs().max())
            assert gap == 0 if equal else gap > 1e-2, family

    def test_side_by_side_they_sum_up_where_a_block_runs_them_side_by_side(
        self, tiny_folder: Path
    ) -> None:
        model, tokens = tiny.build("gpt_neox", torch.float64, tiny_folder), tiny.tokens()
        with applied(model, "0-2 (3.attn|3.mlp)@sum 4 5"):
            torch.testing.assert_close(model(tokens), model.original_model(tokens).logits)

    @pytest.mark.parametrize("half", ["attn", "mlp"])
    def test_a_half_adds_just_its_own_output(self, tiny_folder: Path, half: str) -> None:
        model, tokens = tiny.build("llama", torch.float64, tiny_folder), tiny.tokens()
        states: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: Any) -> None:
            states[hook.name.split(".")[-1]] = tensor

        points = ["steps.1.hook_resid_pre", "steps.1.hook_resid_post"]
        with applied(model, f"0 1.{half} 2-5"), model.hooks(fwd_hooks=[(p, keep) for p in points]):
            model(tokens)
        before, after = states["hook_resid_pre"], states["hook_resid_post"]
        layer = tiny.stock("llama", torch.float64).model.layers[1]
        if half == "mlp":  # it reads the stream itself, as attention adds nothing
            expected = before + layer.mlp(layer.post_attention_layernorm(before))
        else:
            model.blocks[1].mlp.hook_out.add_hook(lambda t, hook: t * 0)
            expected = self.second_block_alone(model, before)
            model.reset_hooks()
        torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)

    @staticmethod
    def second_block_alone(model: TransformerBridge, stream: Tensor) -> Tensor:
        call = record(model, tiny.tokens()).calls[1]
        output: Tensor = model.blocks[1](stream, *call.args, **call.kwargs)
        return output

    def test_gradients_flow_through_a_plan(self, tiny_folder: Path) -> None:
        with torch.enable_grad():
            model = tiny.build("llama", torch.float64, tiny_folder)
            plan = Plan.parse("0 (1|2)*2 3.attn 5", N)
            with applied(model, plan):
                model(tiny.tokens(), return_type="loss").backward()
        for layer, block in enumerate(model.blocks):
            given = [p.grad is not None and bool(p.grad.any()) for p in block.parameters()]
            assert any(given) == (layer in plan.layer_calls), layer
