"""Models that were never trained: what an architecture does by itself."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch

from .loading import keep_own_tokenizer
from .quiet import without_bars

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only loading a model is worth them
    TransformerBridge = Any


def random_weights(model: TransformerBridge, seed: int = 0) -> TransformerBridge:
    """A model of the same architecture, dtype and tokenizer, with weights as before any training.

    The null for what an architecture does by itself. A second model in memory.
    """
    from transformer_lens.model_bridge import TransformerBridge

    original = model.original_model
    weight = next(original.parameters())
    with torch.random.fork_rng(devices=[]), without_bars():
        torch.manual_seed(seed)
        fresh = type(original)(deepcopy(original.config)).to(weight.device, weight.dtype).eval()
        bridge = TransformerBridge.boot_transformers(
            str(model.cfg.model_name),
            hf_model=fresh,
            tokenizer=model.tokenizer,
            dtype=weight.dtype,
            device=weight.device,
        )
    keep_own_tokenizer(bridge, model.tokenizer)
    bridge.cfg.model_name = f"{model.cfg.model_name}, random weights (seed {seed})"
    return bridge
