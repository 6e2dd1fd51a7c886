"""Private names of accelerate: the hook by which a module fetches its weights when called."""

from collections.abc import Mapping
from functools import partial
from types import MethodType
from typing import Any

SEEN = "1.15.0"
NAMES = {
    "accelerate.hooks.add_hook_to_module": {
        "_hf_hook": "where offloaded weights are, and on which device they compute",
        "_old_forward": "what a module computes between its weights' coming and going",
    },
}
_HOOK, _FORWARD = "_hf_hook", "_old_forward"


def hook_of(module: Any) -> Any:
    """The hook that accelerate has put around a module, or None."""
    return vars(module).get(_HOOK)


def only_places(hook: Any) -> bool:
    """Whether a hook moves tensors between devices and does nothing else."""
    from accelerate.hooks import AlignDevicesHook, SequentialHook

    if type(hook) is SequentialHook:
        return all(map(only_places, hook.hooks))
    return type(hook) is AlignDevicesHook


def without_placing(module: Any) -> Mapping[str, Any]:
    """What a module holds, as if accelerate had not dispatched it; also its own `forward`.

    Hooks that do more than to move tensors stay visible.
    """
    held: dict[str, Any] = vars(module)
    dispatched = "hf_device_map" in held
    placed = _HOOK in held and only_places(held[_HOOK])
    if not (dispatched or placed):
        return held
    own = {name: value for name, value in held.items() if not _of_accelerate(value)}
    own.pop("hf_device_map", None)
    if placed:
        for name in (_HOOK, _FORWARD):
            own.pop(name, None)
        if getattr(held[_FORWARD], "__func__", None) is not type(module).forward:
            own["forward"] = held[_FORWARD]
    elif "forward" in held:
        own["forward"] = held["forward"]
    return own


def _of_accelerate(value: Any) -> bool:
    """Whether a function was put there by accelerate, whatever it wraps."""
    while isinstance(value, partial | MethodType):
        value = value.func if isinstance(value, partial) else value.__func__
    origin = str(getattr(value, "__globals__", {}).get("__name__"))
    return origin.partition(".")[0] == "accelerate"
