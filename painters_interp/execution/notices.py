"""What is said once under a plan: hooks that never fire, and caches that keep the last call."""

from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from ..notices import warn
from ..plans import Plan
from .guards import carries, made_by

# What has been said of a model: a plan may be applied to it many times, batch by batch.
_said: WeakKeyDictionary[TransformerBridge, set[str]] = WeakKeyDictionary()


class Notices:
    """Looks at layers that a plan calls never or several times, until there was something to say.

    A hook on the first never fires; of the second, `run_with_cache` keeps the last call. The same
    is said of a model once.
    """

    def __init__(self, plan: Plan, model: TransformerBridge) -> None:
        calls, blocks = Counter(plan.layer_calls), list(model.blocks)
        self._plan, self._said = str(plan), _said.setdefault(model, set())
        self._never = {i: [*b.modules()] for i, b in enumerate(blocks) if calls[i] == 0}
        self._often = {i: [*b.modules()] for i, b in enumerate(blocks) if calls[i] > 1}

    def give(self) -> None:
        """Warn, once for each of the two, if hooks hang there now."""
        silent = [str(i) for i, modules in self._never.items() if any(map(_hooked, modules))]
        if silent:
            self._never = {}
            self._say(
                f"hooks on layer {', '.join(silent)} never fire: plan {self._plan!r} does not call "
                "it; steps.{s}.hook_resid_pre and hook_resid_post address what does run"
            )
        cached = [str(i) for i, modules in self._often.items() if any(map(_cached, modules))]
        if cached:
            self._often = {}
            self._say(
                f"the cache keeps the last of several calls of layer {', '.join(cached)} under "
                f"plan {self._plan!r}; steps.{{s}}.hook_resid_post keeps every step"
            )

    def _say(self, notice: str) -> None:
        if notice not in self._said:
            self._said.add(notice)
            warn(notice)


def _hooked(module: nn.Module) -> bool:
    """Whether a user waits for something at `module`; a cache of everything waits for nothing."""
    if not carries(module):
        return False
    return not isinstance(module, HookPoint) or not all(map(_of_lens, _handles(module)))


def _cached(module: nn.Module) -> bool:
    return isinstance(module, HookPoint) and any(
        _of_lens(handle) and not handle.is_permanent for handle in _handles(module)
    )


def _handles(point: HookPoint) -> list[Any]:
    return [*point.fwd_hooks, *point.bwd_hooks]


def _of_lens(handle: Any) -> bool:
    """Whether TransformerLens hooks for itself: it caches, or one of its points feeds another."""
    return made_by(handle.user_hook) == "transformer_lens"
