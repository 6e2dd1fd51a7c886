"""Getting a hooked model: the bundled default, a hub id, a directory or a `.gguf` file.

What loads weights is imported on first use, so that listing and fetching need no torch.
"""

from typing import TYPE_CHECKING, Any

from .sources import catalog as catalog
from .sources import fetch as fetch

if TYPE_CHECKING:
    from .loading import identity as identity
    from .loading import load_model as load_model
    from .loading import random_weights as random_weights
    from .weights import weights_digest as weights_digest

__all__ = ["catalog", "fetch", "identity", "load_model", "random_weights", "weights_digest"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import loading, weights

    return getattr(weights if name == "weights_digest" else loading, name)
