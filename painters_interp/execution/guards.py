"""Contexts in which a model is probed and measured, and verdicts that hold as long as they should.

A hidden probe must disturb nobody: no hook of the user sees it, no mode changes, no random number
is drawn. A measurement sees the user's hooks, but no dropout.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from ..models import device_of

V = TypeVar("V")

# Where torch keeps the hooks of a module. There is no public way to set them aside in order.
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_LENS_HOOKS = ("fwd_hooks", "bwd_hooks")
# What these libraries hang on modules is part of how the model computes.
_LIBRARIES = ("transformers", "transformer_lens", "accelerate", "peft", "torch", "painters_interp")


class Verdicts(Generic[V]):
    """What was found out about a model by trying, remembered as long as it holds.

    A verdict is looked up by all that it depends on: the model's attention implementations,
    number format, device, compatibility mode and layers, and whatever else it was tried with.
    What ends in an exception is no verdict and is tried again.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[TransformerBridge, dict[Hashable, V]] = WeakKeyDictionary()

    def of(self, model: TransformerBridge, tried: Callable[[], V], *given: Hashable) -> V:
        """The verdict on `model` for what was `given`; `tried` finds it, undisturbed."""
        known = self._known.setdefault(model, {})
        key = (_conditions(model), given)
        if key not in known:
            with undisturbed(model):
                known[key] = tried()
        return known[key]


def _conditions(model: TransformerBridge) -> Hashable:
    """What decides how a model computes, besides its weights."""
    root = model.original_model
    configs = [root.config, *(getattr(root.config, name) for name in root.config.sub_configs)]
    weight = next(root.parameters())
    return (
        tuple(str(getattr(c, "_attn_implementation", None)) for c in configs),
        weight.dtype,
        device_of(model),
        bool(getattr(model, "compatibility_mode", False)),
        tuple(map(id, model.blocks)) if "blocks" in model._modules else (),
    )


@contextmanager
def undisturbed(model: TransformerBridge) -> Iterator[None]:
    """For the package's own hidden passes: no hook of the user fires, eval mode, no gradients.

    Afterwards every hook is back in its order, and every submodule in its mode, whatever happened.
    """
    with torch.no_grad(), measuring(model), _without_hooks(model):
        yield


@contextmanager
def measuring(model: TransformerBridge) -> Iterator[None]:
    """For what is measured: eval mode, so that dropout is off, and the modes as they were after.

    Hooks of the user stay on: they are what may be measured.
    """
    training = [module for module in _modules(model) if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def user_hooks(model: TransformerBridge) -> tuple[str, ...]:
    """Names of the modules and hook points that carry hooks of the user, each once.

    Hooks of TransformerLens, transformers, accelerate and the like do not count.
    """
    found: dict[str, None] = {}
    for name, module in model.named_modules():
        if _carries(module):
            found[_readable(module, name)] = None
    known = {id(module) for module in model.modules()}
    for name, module in model.original_model.named_modules():
        if id(module) not in known and _carries(module):
            found[_readable(module, name)] = None
    return tuple(found)


def _readable(module: nn.Module, name: str) -> str:
    point = module.name if isinstance(module, HookPoint) else None
    return point or name.replace("_original_component.", "") or type(module).__name__


def _modules(model: TransformerBridge) -> list[nn.Module]:
    """Every module of the bridge and of the model it wraps, each once."""
    both = (*model.modules(), *model.original_model.modules())
    return [*{id(module): module for module in both}.values()]


def _carries(module: nn.Module) -> bool:
    return any(_of_user(hook) for place in _HOOKS for hook in getattr(module, place).values())


def _of_user(hook: Any) -> bool:
    """Whether a torch hook was hung up by the user, with TransformerLens or without."""
    hook = getattr(hook, "func", hook)  # of a partial
    origin = str(getattr(hook, "__module__", None) or type(hook).__module__)
    # TransformerLens wraps what it is given in a function of its own.
    return origin == HookPoint.__module__ or origin.partition(".")[0] not in _LIBRARIES


@contextmanager
def _without_hooks(model: TransformerBridge) -> Iterator[None]:
    aside: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in _modules(model):
            if not _carries(module):
                continue
            for place in _HOOKS:
                hooks = getattr(module, place)
                aside.append((module, place, hooks))
                kept = {key: hook for key, hook in hooks.items() if not _of_user(hook)}
                setattr(module, place, OrderedDict(kept))
            if isinstance(module, HookPoint):
                for place in _LENS_HOOKS:
                    aside.append((module, place, getattr(module, place)))
                    setattr(module, place, [])
        yield
    finally:
        for module, place, hooks in reversed(aside):
            if place in _HOOKS:
                # What a library has hung up meanwhile, on first use, comes after what was there.
                hooks.update(getattr(module, place))
            setattr(module, place, hooks)
