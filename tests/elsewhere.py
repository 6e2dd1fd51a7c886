"""A device without having one: `meta` stands in for an accelerator, and what comes home is counted.

Tensors of the `meta` device have shapes, formats and a place, but no numbers, and no operation
takes some of them together with the processor's. Here such a tensor may also come home, as zeros;
each time, a real device would be waited for.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformer_lens.model_bridge import TransformerBridge

from painters_interp.execution.guards import as_judged

# By what numbers are asked for, and how the answer is made at home.
_ASKED: dict[Any, Callable[[Tensor], Any]] = {
    Tensor.cpu: lambda home: home,
    Tensor.tolist: Tensor.tolist,
    Tensor.item: Tensor.item,
    Tensor.__bool__: bool,
    Tensor.__int__: int,
    Tensor.__float__: float,
    Tensor.__index__: int,
}


class Elsewhere(TorchFunctionMode):
    """While it is entered, tensors on `meta` can come home.

    `fetched` names the lines of this package that asked for it; what transformers asks for, to
    choose a kernel, is not counted. Without `float64`, making one there is an AssertionError:
    Apple's GPUs do not have it.
    """

    def __init__(self, float64: bool = True) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.float64 = float64

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given, first = kwargs or {}, args[0] if args else None
        if isinstance(first, Tensor) and first.is_meta:
            if func in _ASKED:
                return _ASKED[func](self._home(first))
            if func is Tensor.to and _place(*args[1:], **given) not in (None, "meta"):
                return self._home(first).to(*args[1:], **given)
            if func is torch.nonzero:  # how many there are has to be known
                indices = torch.nonzero(torch.ones_like(self._home(first)), **given)
                several = isinstance(indices, tuple)
                return tuple(i.to("meta") for i in indices) if several else indices.to("meta")
        found = func(*args, **given)
        for tensor in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(tensor, Tensor) and tensor.is_meta and not self.float64:
                assert tensor.dtype != torch.float64, f"{func} makes float64 on the device"
        return found

    def _home(self, tensor: Tensor) -> Tensor:
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals["__name__"] == __name__:
            frame = frame.f_back
        assert frame is not None
        module, name = frame.f_globals["__name__"], frame.f_code.co_name
        if module.startswith("painters_interp"):
            self.fetched.append(f"{module}.{name}, line {frame.f_lineno}: {[*tensor.shape]}")
        return torch.zeros(tensor.shape, dtype=tensor.dtype)


def _place(*args: Any, **kwargs: Any) -> str | None:
    """The kind of device in what `Tensor.to` is given."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value.device.type
        if isinstance(value, (str, torch.device)):
            return torch.device(value).type
    return None


@contextmanager
def elsewhere(model: TransformerBridge) -> Iterator[Elsewhere]:
    """Put `model`, all verdicts on which have been found, on the device that is not there."""
    with as_judged(model):
        model.original_model.to("meta")
        with Elsewhere() as mode:
            yield mode


@contextmanager
def halfway(model: TransformerBridge) -> Iterator[Elsewhere]:
    """Spread `model` as accelerate does: the first layers stay, all behind them are elsewhere."""
    root, blocks = model.original_model, [*model.blocks]
    middle = len(blocks) // 2
    behind = [*blocks[middle:], model.ln_final, model.unembed]
    options = {"skip_keys": ["past_key_values"], "place_submodules": True}
    with as_judged(model):
        for place, modules in (("cpu", blocks[:middle]), ("meta", behind)):
            for module in modules:
                hook = AlignDevicesHook(torch.device(place), **options)
                add_hook_to_module(module._original_component, hook)
        home = AlignDevicesHook(torch.device("cpu"), io_same_device=True)
        add_hook_to_module(root, home)
        with Elsewhere() as mode:
            yield mode
