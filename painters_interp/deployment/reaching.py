"""What layer calls reach on this machine: operations and bytes a second, for `experiments.cost`."""

import time
from statistics import median

import torch
from accelerate.utils import get_max_memory
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting
from ..errors import PaintersError
from ..execution import face_of, measuring, record_on, walk
from ..experiments import Hardware
from ..models import Model, as_model, device_of
from ..strategies import full


@counting(batch=1, length=1, repeats=1)
def reached(model: Model, batch: int = 8, length: int = 128, repeats: int = 5) -> Hardware:
    """Time layer calls here: on many tokens for operations a second, on one for bytes a second.

    The plain face runs all layers of the intact model once for each measurement, after one that
    does not count.

    Args:
        model: a bridge, a Hugging Face model, or a name; the larger, the nearer to large models.
        batch: rows of the call on many tokens.
        length: tokens of each row.
        repeats: measurements, of which the median counts.

    Returns:
        What this device reaches, and how much memory it has (a processor: how much is free).

    Raises:
        PaintersError: for numbers that are none, or rows longer than the model's context.

    Example:
        >>> here = reached(model, batch=2, length=8, repeats=1)
        >>> here.rate > 0, here.bandwidth > 0
        (True, True)
    """
    model = as_model(model)
    if length > model.cfg.n_ctx:
        raise PaintersError(f"length={length} exceeds the model's context of {model.cfg.n_ctx}")
    weights = [p for block in model.blocks for p in {*block.parameters()} if p.ndim > 1]
    multiplied = sum(weight.numel() for weight in weights)
    seen = 4 * int(model.cfg.d_model) * len(model.blocks) * length / 2
    flops = batch * length * (2 * multiplied + seen)
    read = sum(weight.numel() * weight.element_size() for weight in weights)
    device = device_of(model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"this {device.type}"
    many, one = (_seconds(model, *shape, repeats) for shape in ((batch, length), (1, 1)))
    return Hardware(name, flops / many, read / one, _memory(device))


@torch.no_grad()
def _seconds(model: TransformerBridge, rows: int, length: int, repeats: int) -> float:
    """Of all layers on so many tokens."""
    plan = full(len(model.blocks))
    tokens = torch.ones((rows, length), dtype=torch.long, device=device_of(model))
    with measuring(model):
        recording = record_on(face_of(model, [plan]), model, tokens)
        taken = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            for _, stream in walk(model, [plan], recording):
                stream[0, 0, 0].item()  # all that was asked of the device is done
            taken.append(time.perf_counter() - start)
    return median(taken[1:])


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(get_max_memory()["cpu"])
