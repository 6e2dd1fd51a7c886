"""Where a model computes, and in which number format."""

from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError
from .quiet import first_line

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only loading a model is worth them
    TransformerBridge = Any


_DTYPES = ("float32", "float64", "bfloat16", "float16")


def place_of(device: str | torch.device | None) -> torch.device:
    """The device that is named, or the first GPU if none is. Raises ModelError."""
    if device is None:  # not Apple's GPU, unless asked for: it lacks float64
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device {str(device)!r} cannot be used here ({first_line(error)[:60]}); use cpu, cuda"
            " or cuda:N where there is such a GPU"
        ) from error
    return place


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype:
    """The number format that is named, float32 if none is. Raises ModelError."""
    name = str(dtype or "float32").removeprefix("torch.")
    if name not in _DTYPES:
        raise ModelError(f"dtype {name!r} is not one of {', '.join(_DTYPES)}")
    kind: torch.dtype = getattr(torch, name)
    return kind
