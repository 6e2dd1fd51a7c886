"""Calls of half a layer: its attention alone or its MLP alone, the other half silenced."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..errors import UnsupportedModelError
from ..models import device_of
from ..plans import Half, Plan
from .guards import Verdicts, equal

_OTHER: dict[Half, str] = {"attn": "mlp", "mlp": "attn"}
_additive: Verdicts[bool] = Verdicts()


@contextmanager
def only(block: nn.Module, half: Half | None) -> Iterator[None]:
    """Let `block` run with its other half silenced, or whole for None.

    The silenced half still runs, and its output becomes zero: so a step without attention fills
    its cache entry like any other, and decoding stays right.
    """
    if half is None:
        yield
        return
    refuse_recomputation(block, f"{half} alone")
    handle = getattr(block, _OTHER[half]).register_forward_hook(_zero)
    try:
        yield
    finally:
        handle.remove()


def refuse_recomputation(module: nn.Module, what: str) -> None:
    """Raise UnsupportedModelError where gradient checkpointing would run `module` again later.

    By then the context that alters it is left, and gradients would be those of the whole module.
    """
    if torch.is_grad_enabled() and any(
        m.training and getattr(m, "gradient_checkpointing", False) is True for m in module.modules()
    ):
        raise UnsupportedModelError(
            f"gradient checkpointing computes a layer again during backward(), when {what} is over;"
            " call gradient_checkpointing_disable() first"
        )


def _zero(module: nn.Module, args: Any, output: Any) -> Any:
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]), *output[1:])
    return torch.zeros_like(output)


def splittable(model: TransformerBridge) -> bool:
    """Whether the layers of `model` can be called by halves (probed once).

    They can where a layer only adds its two halves to the stream: with both silenced, what goes in
    must come out. That holds for pre-norm decoders, and not for post-norm models such as BERT.
    """
    return _additive.of(model, lambda: _halves_are_all(model))


def refuse_halves(model: TransformerBridge, plan: Plan) -> None:
    """Raise UnsupportedModelError if `plan` calls half a layer and `model` is not splittable."""
    call = next((call for call in plan.calls if call.half is not None), None)
    if call is not None and not splittable(model):
        raise UnsupportedModelError(
            f"plan {str(plan)!r}: {model.cfg.model_name} cannot call {call.half} of layer "
            f"{call.layer} alone; its layers do more than add an `attn` and an `mlp` to the stream"
        )


def _halves_are_all(model: TransformerBridge) -> bool:
    blocks = list(model.blocks)
    if not all({"attn", "mlp"} <= set(block.submodules) for block in blocks):
        return False
    ends: list[Tensor] = []
    points = ("blocks.0.hook_resid_pre", f"blocks.{len(blocks) - 1}.hook_resid_post")
    with ExitStack() as stack:
        for block in blocks:
            for half in _OTHER:
                stack.enter_context(only(block, half))
        hooks = [(point, lambda stream, hook: ends.append(stream)) for point in points]
        stack.enter_context(model.hooks(fwd_hooks=hooks))
        tokens = torch.arange(1, min(7, int(model.cfg.n_ctx) + 1), device=device_of(model))
        model(tokens[None] % model.cfg.d_vocab)
    return equal(*ends)
