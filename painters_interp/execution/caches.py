"""Key/value caches under a plan: seen by slot, owned by the plan that filled them, averaged."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from inspect import Signature, signature
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import Cache

from ..errors import PlanError, UnsupportedModelError

# The types whose keys and values of the latest tokens are known to lie at the end, or at a
# position that they count themselves. Others may keep them quantised, or somewhere else.
_AT_THE_END = (cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer)
_COUNTED = (cache_utils.StaticLayer,)


class SlotCache:
    """A cache as one slot sees it: whatever layer a method is asked about, it answers for the slot.

    That holds for keys and values, the states of linear layers, lengths and mask sizes alike.
    """

    def __init__(self, cache: Cache, slot: int) -> None:
        self._cache, self._slot = cache, slot

    @property
    def layers(self) -> Any:
        """Refused: entries taken out by hand would be those of another slot."""
        raise UnsupportedModelError(
            "a layer reads cache entries by its own index, which is not its place in the plan"
        )

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cache, name)
        if isinstance(found, Owner):  # it stands in the way of others, not of the plan's own slots
            found = getattr(type(self._cache), name).__get__(self._cache)
        if not callable(found) or "layer_idx" not in (named := _signature(found)).parameters:
            return found
        return partial(self._of_this_slot, found, named)

    def _of_this_slot(
        self, method: Callable[..., Any], named: Signature, *args: Any, **kwargs: Any
    ) -> Any:
        given = named.bind(*args, **kwargs)
        given.arguments["layer_idx"] = self._slot
        return method(*given.args, **given.kwargs)


def _signature(method: Callable[..., Any]) -> Signature:
    """What a method takes besides its object, taken apart once for each function: it is slow."""
    function = getattr(method, "__func__", None)
    return signature(method) if function is None else _of_function(function)


@lru_cache
def _of_function(function: Callable[..., Any]) -> Signature:
    named = signature(function)
    return named.replace(parameters=[*named.parameters.values()][1:])


@dataclass(frozen=True)
class Owner:
    """The plan that has filled a cache, standing where the cache's own `update` was.

    An entry belongs to a call of the plan, not to a layer: the intact model, or another plan,
    that went on from it would read what other layers have written.
    """

    plan: str
    decoding: str
    model: int
    layers: tuple[int, ...]
    in_pass: bool = field(default=False, compare=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise PlanError(
            f"this cache was filled under plan {self.plan!r}; go on inside "
            "`with applied(model, plan)` for that plan, or give a new cache"
        )

    def claim(self, cache: Cache) -> None:
        """Own `cache` from now on, and be in a pass with it, until it is released.

        Raises PlanError if somebody else has filled it, or a pass that did not end.
        """
        other = vars(cache).get("update")
        if isinstance(other, Owner) and other.in_pass and filled(cache):
            raise PlanError(
                "a pass with this cache ended half-way, so that some of its entries know more of "
                "the text than others; read the text again with a new cache"
            )
        if other == self:
            cache.update = replace(self, in_pass=True)
            return
        if cache.layer_class_to_replicate is None and len(cache.layers) < len(self.layers):
            raise PlanError(
                f"this cache has {len(cache.layers)} entries and plan {self.plan!r} makes "
                f"{len(self.layers)} calls, each with an entry of its own; make the cache inside "
                "`with applied(...)`, where the model's config says so"
            )
        if filled(cache):
            whose = f"under plan {other.plan!r}" if isinstance(other, Owner) else "without a plan"
            raise PlanError(
                f"this cache was filled {whose}, and cannot go on under plan {self.plan!r}, whose "
                "calls have entries of their own; read the text again with a new cache"
            )
        cache.update = replace(self, in_pass=True)

    def release(self, cache: Cache) -> None:
        """The pass has reached its last call."""
        cache.update = self


def arrange(cache: Cache, calls: Sequence[int], n_layers: int) -> None:
    """Give a cache without text an entry per call, of the kind that the called layer's own one is.

    Raises PlanError for a cache that has been arranged for another plan.
    """
    other = vars(cache).get("update")
    if isinstance(other, Owner):
        if not filled(cache) and other.layers != tuple(calls):
            raise PlanError(
                f"this cache was made for plan {other.plan!r}, whose calls have entries of other "
                "kinds; give a new cache"
            )
        return
    if len(cache.layers) == n_layers and not filled(cache):
        cache.layers = [copy.deepcopy(cache.layers[layer]) for layer in calls]


def filled(cache: Cache) -> bool:
    """Whether a cache knows some text already."""
    for layer in cache.layers:
        length = getattr(layer, "get_seq_length", lambda: 0)()
        states = getattr(layer, "has_previous_state", False)  # one verdict, or one for each state
        if int(length) > 0 or (any(states.values()) if isinstance(states, dict) else states):
            return True
    return False


def average(layers: Sequence[Any], new: int) -> None:
    """Give the latest `new` tokens of every entry the mean of all entries' keys and values.

    Raises UnsupportedModelError for entries that keep them in a way that is not known here.
    """
    kinds = {type(layer) for layer in layers}
    if len(kinds) > 1 or not kinds <= {*_AT_THE_END, *_COUNTED}:
        named = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise UnsupportedModelError(
            f'cache entries of type {named} have no mean that is known here; use cache="exact", '
            "or a dynamic or static cache"
        )
    [kind] = kinds
    for name in ("keys", "values"):
        held = [getattr(layer, name) for layer in layers]
        if kind in _COUNTED:
            end = int(layers[0].cumulative_length)
            recent = slice(end - new, end)
        else:
            length = held[0].shape[-2]
            recent = slice(length - min(new, length), length)
        latest = [entry[..., recent, :].to(held[0].device) for entry in held]
        mean = torch.stack(latest).mean(dim=0)
        for layer, entry in zip(layers, held, strict=True):
            setattr(layer, name, _written(entry, recent, mean))


def _written(entry: Tensor, recent: slice, mean: Tensor) -> Tensor:
    """In place, which costs the new tokens alone, unless gradients need what was there."""
    if torch.is_grad_enabled() and entry.requires_grad:
        entry = entry.clone()
    entry[..., recent, :] = mean
    return entry
