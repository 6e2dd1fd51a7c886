"""Where a model computes, in which number format, and how numbers come home from there."""

from typing import Any

import numpy as np
import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from ..borrowed.of_accelerate import hook_of
from ..errors import ModelError
from .quiet import first_line

# Kinds of devices that have no float64.
_NARROW = ("mps",)
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
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ModelError(f"dtype {name!r} is not one of {', '.join(_DTYPES)}")
    kind: torch.dtype = getattr(torch, name)
    return kind


def device_of(model: Any) -> torch.device:
    """The device on which a bridge takes its tokens.

    That of its first weight, unless accelerate keeps the weights elsewhere until they are needed:
    then the one that accelerate computes that module on.

    Args:
        model: A model with hooks.

    Returns:
        The device.

    Raises:
        ModelError: for a model without weights.

    Example:
        >>> str(device_of(model))
        'cpu'
    """
    for module in model.original_model.modules():
        place = getattr(hook_of(module), "execution_device", None)
        if place is not None:
            return torch.device(place)
        if (weight := next(module.parameters(recurse=False), None)) is not None:
            device: torch.device = weight.device
            return device
    raise ModelError(f"{model.cfg.model_name} has no weights, so it computes nowhere")


def memory_of(place: torch.device) -> int:
    """How many bytes a device has; 16 GiB are taken for granted where it does not say.

    Args:
        place: The device.

    Returns:
        Bytes, those that are in use among them.

    Example:
        >>> memory_of(torch.device("cpu")) > 1 << 20
        True
    """
    if place.type == "cpu":
        return int(psutil.virtual_memory().total)
    if place.type == "cuda":
        return int(torch.cuda.get_device_properties(place).total_memory)
    return 16 << 30


def widened(tensor: Tensor) -> Tensor:
    """`tensor` in float64 where it stands, or on the processor if its device has no float64.

    Args:
        tensor: On any device, of any number format.

    Returns:
        A tensor of the same shape.

    Example:
        >>> widened(torch.ones(2)).dtype
        torch.float64
    """
    return (tensor.cpu() if lacks_float64(tensor.device) else tensor).double()


def lacks_float64(place: torch.device) -> bool:
    """Whether a device has no float64, so that what is to be exact is computed at home.

    Args:
        place: The device.

    Returns:
        True of Apple's GPUs.

    Example:
        >>> lacks_float64(torch.device("mps"))
        True
    """
    return place.type in _NARROW


def numbers(tensor: Tensor) -> Float[np.ndarray, "..."]:
    """`tensor` in float64 on the processor: moved first, then widened.

    Apple's GPUs have no float64, so the order matters.

    Args:
        tensor: On any device, of any number format.

    Returns:
        An array of the same shape.

    Example:
        >>> numbers(torch.ones(2, dtype=torch.bfloat16)).dtype
        dtype('float64')
    """
    home: np.ndarray = tensor.detach().cpu().double().numpy()
    return home
