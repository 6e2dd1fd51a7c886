"""Private names of accelerate: the hook by which a module fetches its weights when called."""

from typing import Any

SEEN = "1.15.0"
NAMES = {
    "accelerate.hooks.add_hook_to_module": {
        "_hf_hook": "where offloaded weights are, and on which device they compute",
    },
}


def hook_of(module: Any) -> Any:
    """The hook that accelerate has put around a module, or None."""
    return vars(module).get("_hf_hook")
