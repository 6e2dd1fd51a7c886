"""Whether the weights in memory are those of the files that a model came from."""

from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_transformer_lens import plain_name
from .copies import quantised_by


@torch.no_grad()
def edited_weight(model: TransformerBridge) -> str | None:
    """The first weight that is another one in memory than in the folder a model came from.

    File by file, tensor by tensor, so that no second model is held; it takes as long as reading
    the files. What cannot be compared counts as the same: quantised and offloaded weights, and
    files other than safetensors of names as in the model.

    Args:
        model: A model with hooks.

    Returns:
        The name of a weight; None where all that can be compared are the same.

    Example:
        >>> edited_weight(model) is None  # it was made in memory
        True
    """
    from safetensors import safe_open

    root = model.original_model
    folder = Path(root.config.name_or_path or "")
    if not root.config.name_or_path or quantised_by(root.config) is not None:
        return None
    held = {plain_name(name): tensor for name, tensor in root.state_dict().items()}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - it is no dict
                own = held.get(name)
                if own is not None and not own.is_meta and _differ(own, stored.get_tensor(name)):
                    return str(name)
    return None


def _differ(own: torch.Tensor, stored: torch.Tensor) -> bool:
    """NaN is the same as NaN."""
    if own.shape != stored.shape:
        return True
    own, stored = own.cpu(), stored.to(own.dtype)
    return not torch.equal(own, stored) and not torch.allclose(own, stored, 0, 0, equal_nan=True)
