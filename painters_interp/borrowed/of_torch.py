"""Private names of torch: what a module holds, its hooks, and the version of a tensor."""

from collections.abc import Callable, Sequence
from typing import Any

SEEN = "2.13.0"
NAMES = {
    "torch.nn.Module": {
        "_modules": "children by name without walking the tree, which takes milliseconds a pass",
        "_parameters": "a module's own parameters, those that are None too, by name",
        "_buffers": "likewise its buffers, which are put back after a hidden pass",
        "_forward_pre_hooks": "hooks of a user are set aside and put back in their order",
        "_forward_hooks": "likewise",
        "_backward_pre_hooks": "likewise",
        "_backward_hooks": "likewise",
    },
    "torch.Tensor": {
        "_version": "autograd refuses to go back over weights that were exchanged meanwhile",
    },
    "torch._C._autograd": {
        "_unsafe_set_version_counter": "and weights that were put back are as they were",
    },
    "torch._dynamo.eval_frame.OptimizedModule": {
        "_orig_mod": "a compiled model is known by it, and refused",
    },
}
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def children(module: Any) -> dict[str, Any]:
    """The modules inside a module, by name; None where one was left out. Not a copy."""
    found: dict[str, Any] = module._modules
    return found


def parts_of(*roots: Any, leaving_out: Callable[[Any], bool] | None = None) -> list[Any]:
    """Every module inside of some, each once; of what is left out, nothing inside either.

    As `modules()`, which makes names of thousands on the way, in every short pass.
    """
    found: dict[int, Any] = {}
    waiting = [*reversed(roots)]
    while waiting:
        module = waiting.pop()
        if id(module) in found or (leaving_out is not None and leaving_out(module)):
            continue
        found[id(module)] = module
        waiting += [child for child in module._modules.values() if child is not None]
    return [*found.values()]


def own_parameters(module: Any) -> dict[str, Any]:
    """The parameters that a module itself has, by name. Not a copy."""
    found: dict[str, Any] = module._parameters
    return found


def own_buffers(module: Any) -> dict[str, Any]:
    """The buffers that a module itself has, by name. Not a copy."""
    found: dict[str, Any] = module._buffers
    return found


def share_tensors(module: Any, other: Any) -> None:
    """Let `module` hold the parameters and buffers of `other`: the tables, not copies of them."""
    vars(module).update(_parameters=other._parameters, _buffers=other._buffers)


def version_of(tensor: Any) -> int:
    """How often a tensor was changed, as autograd counts."""
    return int(tensor._version)


def set_versions(tensors: Sequence[Any], versions: Sequence[int]) -> None:
    """Let autograd believe that the tensors were changed so often."""
    import torch

    torch._C._autograd._unsafe_set_version_counter(tuple(tensors), tuple(versions))


def is_compiled(model: Any) -> bool:
    """Whether this is what `torch.compile` made of a model."""
    return hasattr(model, "_orig_mod")
