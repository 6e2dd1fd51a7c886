"""A stock model over the tensors of a hooked one.

Made without memory: each of its modules shares the tables of parameters and buffers with the
module that the hooked model has in its place. So whatever is done to the weights, in place, by
`.to()` or by putting others there, is done to both; and what is done to the modules is noticed.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers.initialization import no_init_weights

from ..borrowed.of_accelerate import hook_of, without_placing
from ..borrowed.of_torch import HOOKS, children, own_buffers, own_parameters, share_tensors
from ..borrowed.of_transformer_lens import inner
from ..borrowed.of_transformers import IDLE_ATTRIBUTES, use_attention
from ..errors import out_of_memory
from .guards import made_by, settings, submodules

# What these hang on modules leaves what they compute as it is. Others prune and normalise.
_HARMLESS = ("transformers", "transformer_lens", "painters_interp")
_SCALARS = (bool, int, float, str, type(None))
# These differ between modules that compute the same.
_APART = ("training", "gradient_checkpointing", *IDLE_ATTRIBUTES)
_FUNCTIONS = (FunctionType, MethodType, partial)
_numbers = count()


@dataclass(frozen=True, eq=False)
class Twin:
    """A stock model over the tensors of a hooked one; no two have the same `number`."""

    root: Any
    number: int


class _Lent(ModelHook):  # type: ignore[misc]
    """The hook by which a module of the hooked model fetches and moves the tensors of both."""

    def __init__(self, hook: Any) -> None:
        super().__init__()
        self._hook = hook

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return self._hook.pre_forward(module, *args, **kwargs)

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        return self._hook.post_forward(module, output)


def stock_modules(model: TransformerBridge) -> dict[str, nn.Module]:
    """The modules of the model inside a bridge by the paths that they have without one."""
    return dict(_inside("", model.original_model))


def _inside(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    while (wrapped := inner(module)) is not None:
        module = wrapped  # a component of the bridge stands in its place
    yield path, module
    for name, child in children(module).items():
        if child is not None and not isinstance(child, HookPoint):
            yield from _inside(f"{path}.{name}" if path else name, child)


def made_of(model: TransformerBridge, modules: dict[str, nn.Module]) -> Hashable:
    """What a twin is made from: classes and settings of modules, the config, tables of tensors."""
    config = model.original_model.config
    return (
        repr(config.to_dict()),
        settings(config),
        tuple((path, *_made_of(module)) for path, module in modules.items()),
    )


def _made_of(module: nn.Module) -> tuple[object, ...]:
    return (
        type(module),
        id(own_parameters(module)),
        id(own_buffers(module)),
        tuple(_scalars(module)),
        hook_of(module),
    )


def _scalars(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if type(value) in _SCALARS and name not in _APART:
            yield name, value


def altered(model: TransformerBridge) -> bool:
    """Whether modules of `model` compute otherwise than their classes do, by hooks or functions."""
    return any(
        any(made_by(hook) not in _HARMLESS for place in HOOKS for hook in held[place].values())
        or any(_foreign(value) for value in held.values() if type(value) in _FUNCTIONS)
        for held in (without_placing(m) for m in submodules(model) if not isinstance(m, HookPoint))
    )


def harmless_hooks(model: TransformerBridge) -> tuple[int, ...]:
    """Which hooks of libraries hang at modules: torch gives every hook a number of its own."""
    held = (vars(module) for module in submodules(model) if not isinstance(module, HookPoint))
    return tuple(number for own in held for place in HOOKS for number in own[place])


def _foreign(value: Any) -> bool:
    """Whether a function that stands in the place of a method is of somebody who changes models."""
    while isinstance(value, partial | MethodType):
        value = value.func if isinstance(value, partial) else value.__func__
    if not isinstance(value, FunctionType):
        return not isinstance(value, BuiltinFunctionType)
    # Not by `__module__`, which a wrapper takes over from what it wraps.
    return str(value.__globals__.get("__name__")).partition(".")[0] not in (*_HARMLESS, "torch")


def twin_of(model: TransformerBridge, modules: dict[str, nn.Module], attention: str) -> Twin | None:
    """A stock model of the class and config of `model`; None if it is not made of the same."""
    root = model.original_model
    twin = _made(root, attention)
    if twin is None:
        return None
    _leave_out(twin, modules)
    own = dict(twin.named_modules(remove_duplicate=False))
    if own.keys() != modules.keys():
        return None
    for path, module in own.items():
        other = modules[path]
        # What was set besides, as by `from_pretrained`, the trial of the twin judges.
        if type(module) is not type(other) or not {*_scalars(module)} <= {*_scalars(other)}:
            return None
        share_tensors(module, other)
        if (hook := hook_of(other)) is not None:
            add_hook_to_module(module, _Lent(hook))
    if root.can_generate():
        twin.generation_config = root.generation_config
    return Twin(twin.eval(), next(_numbers))


def _leave_out(twin: nn.Module, modules: dict[str, nn.Module]) -> None:
    """Take out of a twin what its model was made without, as encoders are without a pooler."""
    for path, module in twin.named_modules(remove_duplicate=False):
        given = vars(modules.get(path, module))
        for name in [name for name in children(module) if given.get(name, module) is None]:
            delattr(module, name)
            setattr(module, name, None)


def _made(root: Any, attention: str) -> Any:
    """A model like `root` without memory; None if its class asks for more, or for another one."""
    config = deepcopy(root.config)
    use_attention(config, attention)
    try:
        with init_empty_weights(include_buffers=False), no_init_weights():
            return type(root)(config)
    except Exception as error:  # whatever a class asks for besides its config
        if out_of_memory(error):
            raise
        return None


def copies(model: TransformerBridge, modules: dict[str, nn.Module]) -> list[Tensor]:
    """Tensors that the hooked model computes with and that are no views of those of its twin."""
    shared = {_place(tensor) for module in modules.values() for tensor in _tensors(module)}
    found = [tensor for module in submodules(model) for tensor in _tensors(module)]
    return [tensor for tensor in found if _place(tensor) not in shared]


def _tensors(module: nn.Module) -> list[Tensor]:
    held = (*own_parameters(module).values(), *own_buffers(module).values())
    return [tensor for tensor in held if tensor is not None]


def _place(tensor: Tensor) -> Hashable:
    return id(tensor) if tensor.is_meta else tensor.untyped_storage().data_ptr()


def fingerprint(tensors: list[Tensor]) -> tuple[float, ...]:
    """Numbers that change with any number in `tensors`, but for those that are offloaded."""
    sums = defaultdict(list)
    for tensor in tensors:
        if tensor.is_meta:
            continue
        rows = tensor.detach().reshape(-1, tensor.shape[-1] if tensor.ndim else 1).double()
        down, across = (
            torch.linspace(1, 2, n, dtype=rows.dtype, device=rows.device).sin() for n in rows.shape
        )
        sums[tensor.device].append(down @ (rows @ across))
    return tuple(number for found in sums.values() for number in torch.stack(found).tolist())
