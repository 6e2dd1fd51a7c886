"""Low-rank adapters (LoRA, arXiv 2106.09685) by peft, an extra of this package."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ..errors import ModelError


@dataclass(frozen=True)
class Lora:
    """Train low-rank updates of linear layers alone, each `alpha / rank * B A`.

    `targets` are names of linear layers as peft takes them, "all-linear" all but the head's.
    Raises ModelError without peft.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ModelError(f"{self}: the rank is 1 or more, dropout from 0 to below 1")
        if find_spec("peft") is None:  # before a model is loaded, and read
            raise ModelError(
                "low-rank adapters need peft, which is not installed: pip install "
                "'painters_interp[peft]', or train all weights"
            )


def adapted(root: Any, lora: Lora) -> Any:
    """Put adapters into a plain model, whose other weights no longer learn; peft's handle on it.

    `merged` takes them out again. Raises ModelError for targets that are none.
    """
    from peft import LoraConfig, LoraModel

    targets = lora.targets if isinstance(lora.targets, str) else [*lora.targets]
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets
    )
    with warnings.catch_warnings():
        # It finds out by itself which layers keep their weights transposed, and says so for each.
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        try:
            return LoraModel(root, {"default": config}, "default")
        except ValueError as error:
            raise ModelError(f"{lora}: {error}") from error


def merged(adapters: Any) -> Any:
    """The plain model, the updates added to its weights, all of which may learn again."""
    root = adapters.merge_and_unload()
    return root.requires_grad_(True)
