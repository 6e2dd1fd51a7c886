"""Fused attention that says what is not a number.

Without a mask, torch's kernel for CPUs takes a query or a key that is NaN for one that sees
nothing, and gives zeros: what a broken layer writes would look like an answer. Zeros are looked for
in its output, which is much less to read than all the keys.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

# The name under which the configuration of a model asks for it.
FUSED = "painters_fused"

# From a query, keys, values and a mask to what a layer's attention gives.
Attend = Callable[..., Tensor]
_other: ContextVar[Attend | None] = ContextVar("_other", default=None)


@contextmanager
def attention_by(attend: Attend) -> Iterator[None]:
    """Let attention be computed by `attend`, which may know of more keys than it is given."""
    before = _other.set(attend)
    try:
        yield
    finally:
        _other.reset(before)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """The stock fused attention, with NaN wherever a query or a key that it sees is NaN."""
    if (attend := _other.get()) is not None:
        return attend(query, key, value, mask, **given), None
    out, _ = sdpa_attention_forward(module, query, key, value, mask, **given)
    if mask is not None:
        return out, None
    if query.device.type != "cpu":  # where a look at the numbers would have to be waited for
        lost = query.amax((1, 3)).isnan() | key.amax((1, 2, 3)).isnan()[:, None]
        return out.masked_fill(lost[:, :, None, None], torch.nan), None
    if bool((out[..., 0] == 0).any()):
        with sdpa_kernel(SDPBackend.MATH):
            out, _ = sdpa_attention_forward(module, query, key, value, mask, **given)
    return out, None


AttentionInterface.register(FUSED, _attention)
AttentionMaskInterface.register(FUSED, sdpa_mask)
