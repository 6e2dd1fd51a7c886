"""Half precision judged in float32, one layer at a time: never a second copy of all weights."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_torch import own_parameters
from ..borrowed.of_transformer_lens import outermost
from ..errors import UnsupportedModelError, out_of_memory
from .anatomy import family_of
from .guards import Untold, as_judged

Stack = tuple[nn.Module, Sequence[nn.Module]]  # a model and its layers


class Unwidenable(UnsupportedModelError, Untold):
    """Half precision that cannot be judged: neither proved, nor told by a trial."""


def narrow(model: TransformerBridge) -> bool:
    """Whether any of its tensors is in half precision."""
    return any(map(_is_narrow, _tensors(model.original_model)))


@contextmanager
def in_float32(model: TransformerBridge, *others: Stack) -> Iterator[None]:
    """Half precision computes in float32 for a while; the very same tensors come back.

    A layer is widened when it is called, and is back when it returns; so are the matrices outside
    of the layers, embedding and head, with the modules that own them. Besides the model there is
    room for the largest of these in float32. Offloaded weights are in float32 from when they are
    fetched for a call until they go. `others` are models over the same tensors, with their
    layers, that are called meanwhile. Raises Unwidenable for quantised weights of half precision
    whose library lets them compute in no other.
    """
    _refuse_fixed(model)
    family_of(model)  # it cannot be found once a part is in another format
    stacks: tuple[Stack, ...] = ((model.original_model, tuple(model.blocks)), *others)
    parts = [_parts(*stack) for stack in stacks]
    apart = [part for parts_of_one, _ in parts for part in parts_of_one]
    rest = parts[0][1]
    with as_judged(model), ExitStack() as stack:
        for module, tensors in apart:
            stack.enter_context(_widened_when_called(module, tensors))
        stack.enter_context(_restored(before := []))
        before += _widen(rest)
        stack.enter_context(_fetched_wide(model.original_model))
        yield


def _refuse_fixed(model: TransformerBridge) -> None:
    kinds = {type(tensor): tensor for tensor in _narrow(_tensors(model.original_model))}
    for kind, tensor in kinds.items():
        try:
            tensor.detach().float()
        except Exception as error:  # of whoever has defined that kind
            if out_of_memory(error):
                raise
            raise Unwidenable(
                f"{model.cfg.model_name}: its weights ({kind.__name__}) compute in "
                f"{str(tensor.dtype).removeprefix('torch.')} alone, in which this cannot be "
                "judged; load it with dtype float32"
            ) from error


_Held = list[tuple[Tensor, Tensor]]  # tensors, and what they held


def _parts(
    root: nn.Module, layers: Sequence[nn.Module]
) -> tuple[list[tuple[nn.Module, list[Tensor]]], list[Tensor]]:
    """Modules to widen when they are called, each with its tensors; and the tensors of no such."""
    blocks = {id(block): block for block in layers}.values()
    apart = [(block, _narrow(_tensors(block))) for block in blocks]
    inside = {id(module) for block in blocks for module in block.modules()}
    for name, module in root.named_modules():
        if id(module) not in inside:
            own = [p for p in own_parameters(module).values() if p is not None and p.ndim > 1]
            # The bridge's component around a module looks at the format of its weights, too.
            around = outermost(name)
            apart.append((root.get_submodule(around), _narrow(own)))
    apart = [(module, tensors) for module, tensors in apart if tensors]
    taken = {id(tensor) for _, tensors in apart for tensor in tensors}
    rest = _narrow(_tensors(root))
    return apart, [tensor for tensor in rest if id(tensor) not in taken]


@contextmanager
def _widened_when_called(module: nn.Module, tensors: Collection[Tensor]) -> Iterator[None]:
    calls: list[_Held] = []  # those of the module that are on their way

    def widen(module: nn.Module, args: Any) -> None:
        calls.append(_widen(tensors))

    def put_back(module: nn.Module, args: Any, output: Any) -> None:
        _put_back(calls.pop())

    handles = [
        module.register_forward_pre_hook(widen, prepend=True),
        module.register_forward_hook(put_back, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while calls:
            _put_back(calls.pop())


@contextmanager
def _fetched_wide(root: nn.Module) -> Iterator[None]:
    """Let offloaded weights be fetched in float32: accelerate converts to the format it finds."""
    tables = [own_parameters(module) for module in root.modules()]
    aside = [
        (table, name, weight)
        for table in tables
        for name, weight in table.items()
        if weight is not None and weight.is_meta and _is_narrow(weight)
    ]
    try:
        for table, name, weight in aside:
            table[name] = nn.Parameter(weight.data.float(), requires_grad=weight.requires_grad)
        yield
    finally:
        for table, name, weight in aside:
            table[name] = weight


@contextmanager
def _restored(before: _Held) -> Iterator[None]:
    try:
        yield
    finally:
        _put_back(before)


def _widen(tensors: Collection[Tensor]) -> _Held:
    """Widen those that are narrow now: a tensor may be of two modules, one in the other."""
    before: _Held = []
    for tensor in _narrow(tensors):
        before.append((tensor, tensor.data))
        tensor.data = tensor.data.float()
    return before


def _put_back(before: _Held) -> None:
    for tensor, data in before:
        tensor.data = data


def _narrow(tensors: Collection[Tensor]) -> list[Tensor]:
    """Each tensor here of numbers narrower than float32."""
    return [tensor for tensor in tensors if _is_narrow(tensor) and not tensor.is_meta]


def _is_narrow(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.itemsize < torch.float32.itemsize


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
