"""Getting a hooked model: the bundled default, a hub id, a directory or a `.gguf` file.

What loads weights is imported on first use, so that listing and fetching need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .sources import catalog as catalog
from .sources import fetch as fetch

if TYPE_CHECKING:
    from .device import device_of as device_of
    from .device import numbers as numbers
    from .door import Model as Model
    from .door import as_model as as_model
    from .fingerprint import identity as identity
    from .fingerprint import tokenizer_digest as tokenizer_digest
    from .fingerprint import weights_digest as weights_digest
    from .loading import load_model as load_model
    from .nulls import random_weights as random_weights

_LAZY = {
    "Model": "door",
    "as_model": "door",
    "device_of": "device",
    "identity": "fingerprint",
    "load_model": "loading",
    "numbers": "device",
    "random_weights": "nulls",
    "tokenizer_digest": "fingerprint",
    "weights_digest": "fingerprint",
}

__all__ = ["catalog", "fetch", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
