"""What a layer is called with besides the residual stream: masks, rotary tables, a cache."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from .guards import equal


@dataclass(frozen=True, eq=False)
class Arguments:
    """What a layer is called with besides the residual stream."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def without_cache(self) -> "Arguments":
        """The same call with nothing to remember: no cache object, `use_cache` off."""
        bare = self.with_cache(None)
        off = {"use_cache": False} if "use_cache" in self.kwargs else {}
        return Arguments(bare.args, {**bare.kwargs, **off})

    def with_cache(self, cache: Any) -> "Arguments":
        """The same call with `cache` in place of the cache object it was recorded with."""
        args = tuple(cache if isinstance(a, Cache) else a for a in self.args)
        return Arguments(
            args, {k: cache if isinstance(v, Cache) else v for k, v in self.kwargs.items()}
        )

    @property
    def cache(self) -> Cache | None:
        """The cache object among them, if there is one."""
        found = (a for a in (*self.args, *self.kwargs.values()) if isinstance(a, Cache))
        return next(found, None)

    def frozen(self) -> "Arguments":
        """A copy that a layer cannot write into, as recurrent layers do with their state."""
        return Arguments(_mapped(self.args, Tensor.clone), _mapped(self.kwargs, Tensor.clone))


# Eager attention hides a key by adding the least number there is, and takes the softmax in
# float32. The least float64 is -inf there, and the least float16 becomes it by a score below -16:
# what sees no key, as pads on the left, is NaN then, and so is all that gives it the weight 0.
_LEAST = {
    torch.float64: torch.finfo(torch.float32).min,
    torch.float16: torch.finfo(torch.float16).min / 2,
}


def bounded(calls: Iterable[Arguments]) -> tuple[Arguments, ...]:
    """The same calls with masks that stay finite; what calls share, they share afterwards.

    A mask is given by position, or under a name that says so; all else stays the same object,
    which a layer may write into.
    """
    bound = partial(_bound, {})
    return tuple(
        Arguments(
            _mapped(call.args, bound),
            {k: _mapped(v, bound) if "mask" in k else v for k, v in call.kwargs.items()},
        )
        for call in calls
    )


def _bound(known: dict[int, Tensor], tensor: Tensor) -> Tensor:
    """The tensor with finite entries, the same one each time; `known` are those that were made."""
    if tensor.dtype not in _LEAST:
        return tensor
    if id(tensor) not in known:
        known[id(tensor)] = tensor.clamp(min=_LEAST[tensor.dtype])
    return known[id(tensor)]


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same value with every tensor changed that it is or holds."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(_mapped(item, change) for item in value)
    return {k: _mapped(v, change) for k, v in value.items()} if type(value) is dict else value


def same(a: Any, b: Any) -> bool:
    """Whether two arguments are alike, down to every tensor that they hold."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and equal(a, b)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a is b or bool(a == b)
