"""Fused attention that says what is not a number.

Without a mask, torch's kernel for CPUs takes a query or a key that is NaN for one that sees
nothing, and gives zeros: what a broken layer writes would look like an answer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

# The name under which the configuration of a model asks for it.
FUSED = "painters_fused"


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """The stock fused attention; NaN for a query that is NaN, and for all if any key is."""
    out, _ = sdpa_attention_forward(module, query, key, value, mask, **given)
    if mask is None:
        lost = query.amax((1, 3)).isnan() | key.amax((1, 2, 3)).isnan()[:, None]
        out = out.masked_fill(lost[:, :, None, None], torch.nan)
    return out, None


AttentionInterface.register(FUSED, _attention)
AttentionMaskInterface.register(FUSED, sdpa_mask)
