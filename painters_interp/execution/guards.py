"""Contexts in which a model is probed and measured, and verdicts that hold as long as they should.

A hidden probe must disturb nobody: no hook of the user sees it, no mode or state changes. A
measurement sees the user's hooks, but no dropout.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedConfig

from ..borrowed.of_torch import HOOKS, children, own_buffers, own_parameters, parts_of
from ..borrowed.of_transformer_lens import plain_name
from ..errors import PlanError, UnsupportedModelError, out_of_memory
from ..models import device_of

V = TypeVar("V")

_LENS_HOOKS = ("fwd_hooks", "bwd_hooks")
# What these libraries hang on modules is part of how the model computes.
_LIBRARIES = ("transformers", "transformer_lens", "accelerate", "peft", "torch", "painters_interp")
LENS = "transformer_lens"
# Ways of the bridge to compute that its users switch on and off.
_SWITCHES = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")
# A buffer of up to so many numbers may be state, such as a rotary table; larger ones hold weights.
_STATE = 1 << 22


class Verdicts(Generic[V]):
    """What was found out about a model by trying, remembered as long as it holds.

    A verdict is looked up by all that it depends on: the model's settings, attention
    implementations, number formats, device, modes and layers, and whatever else it was tried with.
    What ends in an exception is no verdict and is tried again.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[TransformerBridge, dict[Hashable, V]] = WeakKeyDictionary()

    def of(self, model: TransformerBridge, tried: Callable[[], V], *given: Hashable) -> V:
        """The verdict on `model` for what was `given`; `tried` finds it, undisturbed.

        Raises PlanError if it is to be found while a plan is applied, which would be judged then.
        """
        with alone_with(model):
            return self._of(model, tried, *given)

    def _of(self, model: TransformerBridge, tried: Callable[[], V], *given: Hashable) -> V:
        known = self._known.setdefault(model, {})
        key = (_held.get(model) or _conditions(model), given)
        if key not in known:
            if _exchanged(model):
                raise PlanError(
                    f"a plan is already applied to {model.cfg.model_name}; "
                    "leave that `with applied(...)` block, or close() the planned model, first"
                )
            with undisturbed(model):
                known[key] = tried()
        return known[key]

    def told(
        self, model: TransformerBridge, tried: Callable[[], V], *given: Hashable, else_: V
    ) -> V:
        """As `of`; `else_`, and only this once, where `tried` raises Untold or memory runs out."""
        try:
            return self.of(model, tried, *given)
        except Exception as error:
            if isinstance(error, Untold) or out_of_memory(error):
                return else_
            raise


_held: WeakKeyDictionary[TransformerBridge, Hashable] = WeakKeyDictionary()


@contextmanager
def as_judged(model: TransformerBridge) -> Iterator[None]:
    """Let verdicts that were found before go on for a while, whatever is done to the weights."""
    before = _held.get(model)
    _held[model] = before or _conditions(model)
    try:
        yield
    finally:
        if before is None:
            del _held[model]


def _exchanged(model: TransformerBridge) -> bool:
    """Whether something stands in the place of the layers, which are registered beside it then."""
    modules = model.original_model.modules()
    return any("layers_not_called" in children(module) for module in modules)


def _conditions(model: TransformerBridge) -> Hashable:
    """What decides how a model computes, besides the numbers in its weights."""
    root = model.original_model
    return (
        tuple(map(settings, configs_in(root.config))),
        frozenset(
            weight.dtype
            for part in parts_of(root)
            for weight in own_parameters(part).values()
            if weight is not None
        ),
        device_of(model),
        bool(getattr(model, "compatibility_mode", False)),
        tuple(bool(getattr(model.cfg, switch, False)) for switch in _SWITCHES),
        tuple(map(id, model.blocks)) if "blocks" in children(model) else (),
    )


def configs_in(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """A configuration and those inside it, of the parts of a model."""
    parts = [part for part in vars(config).values() if isinstance(part, PreTrainedConfig)]
    return [config, *(inner for part in parts for inner in configs_in(part))]


def settings(config: PreTrainedConfig) -> tuple[tuple[str, str], ...]:
    """What a configuration says, but for what is set to the order of a plan while one runs."""
    depth = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    said = {name: value for name, value in vars(config).items() if name != depth}
    return tuple(
        (name, repr(value))
        for name, value in said.items()
        if not isinstance(value, list | tuple | PreTrainedConfig)
    )


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape hold the same numbers; NaN is the same as NaN."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


class Untold(Exception):
    """A trial that tells nothing of a model: what it was to be judged by is not a number."""


def nats_apart(found: Float[Tensor, "row vocab"], expected: Float[Tensor, "row vocab"]) -> float:
    """The largest difference of two logits' log-probabilities, over what is finite in `expected`.

    NaN where one is finite and the other is not. Raises Untold if a row of `expected` has no
    finite number: a model that computes NaN there does so either way.
    """
    finite = expected.isfinite()
    if not bool(finite.any(-1).all()):
        raise Untold
    a, b = (logits.masked_fill(~finite, -torch.inf).log_softmax(-1) for logits in (found, expected))
    return float((a - b)[finite].abs().max())


@contextmanager
def undisturbed(model: TransformerBridge) -> Iterator[None]:
    """For the package's own hidden passes: no hook of the user fires, eval mode, no gradients.

    Afterwards every hook is back in its order, every submodule in its mode, and what modules keep
    from pass to pass as it was, whatever happened.
    """
    with torch.no_grad(), measuring(model), without_hooks(model), _keeping_state(model):
        yield


_LOCKING = Lock()
_locks: WeakKeyDictionary[TransformerBridge, Any] = WeakKeyDictionary()


@contextmanager
def alone_with(*models: TransformerBridge) -> Iterator[None]:
    """One thread at a time: what stands in the place of the layers stands there for all of them."""
    with _LOCKING:
        # In one order whoever asks, so that two threads do not wait for each other.
        locks = {id(model): _locks.setdefault(model, RLock()) for model in models}
    with ExitStack() as held:
        for _, lock in sorted(locks.items()):
            held.enter_context(lock)
        yield


@contextmanager
def measuring(*models: TransformerBridge) -> Iterator[None]:
    """For what is measured: eval mode, so that dropout is off, and the modes as they were after.

    In the number formats of the models, whatever `torch.autocast` is on, and by one thread at a
    time. Hooks of the user stay on: they are what may be measured.
    """
    with alone_with(*models), as_they_are(*models):
        before = [(part, part.training) for model in models for part in submodules(model)]
        try:
            _set_modes((module, False) for module, _ in before)
            yield
        finally:
            _set_modes(before)


@contextmanager
def as_they_are(*models: TransformerBridge) -> Iterator[None]:
    """Compute in the models' own number formats: results say that they are in these."""
    with ExitStack() as off:
        for kind in {device_of(model).type for model in models}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                off.enter_context(torch.autocast(kind, enabled=False))
        yield


def _set_modes(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        if module.training is not training:  # modules are slow to take an attribute
            module.training = training


def user_hooks(model: TransformerBridge) -> tuple[str, ...]:
    """Names of the modules and hook points that carry hooks of the user, each once.

    Hooks of TransformerLens, transformers, accelerate and the like do not count.
    """
    if not any(map(carries, submodules(model))):
        return ()
    found: dict[str, None] = {}
    for name, module in model.named_modules():
        if carries(module):
            found[_readable(module, name)] = None
    known = {id(module) for module in model.modules()}
    for name, module in model.original_model.named_modules():
        if id(module) not in known and carries(module):
            found[_readable(module, name)] = None
    return tuple(found)


def _readable(module: nn.Module, name: str) -> str:
    point = module.name if isinstance(module, HookPoint) else None
    return point or plain_name(name) or type(module).__name__


def submodules(model: TransformerBridge) -> list[nn.Module]:
    """Every module of the bridge and of the model it wraps, each once."""
    return parts_of(model.original_model, model)


def carries(module: nn.Module) -> bool:
    """Whether a hook of the user hangs at `module` itself."""
    held = vars(module)
    return any(held[place] and _of_user(module, place) for place in HOOKS)


def made_by(hook: Any) -> str:
    """The library, or the module of the user, that the function of a hook comes from."""
    hook = getattr(hook, "func", hook)  # of a partial
    origin = str(getattr(hook, "__module__", None) or type(hook).__module__)
    return origin.partition(".")[0]


def _of_user(module: nn.Module, place: str) -> list[int]:
    """The keys of torch hooks that were hung up by the user, with TransformerLens or without."""
    hooks = getattr(module, place)
    if hooks and isinstance(module, HookPoint):
        # What it is given, TransformerLens wraps in a function of its own. Some architectures
        # come with hooks for good, by which one of its points passes on to another.
        handles = [*module.fwd_hooks, *module.bwd_hooks]
        own = [h for h in handles if h.is_permanent and made_by(h.user_hook) == LENS]
        return [key for key in hooks if key not in {handle.hook.id for handle in own}]
    return [key for key, hook in hooks.items() if made_by(hook) not in _LIBRARIES]


def refuse_hooks_kept(model: TransformerBridge) -> None:
    """Raise UnsupportedModelError for hooks of the user: what they do is in no digest of a model.

    Args:
        model: One whose results are to be kept, to be found again by what it computes.

    Example:
        >>> refuse_hooks_kept(model)
    """
    if names := user_hooks(model):
        raise UnsupportedModelError(
            f"{model.cfg.model_name} carries hooks at {', '.join(names[:3])}, and results are kept "
            "by its weights, so those under other hooks would be taken for these; keep none "
            "(store=None), or take the hooks off (model.reset_hooks())"
        )


@contextmanager
def without_hooks(model: TransformerBridge) -> Iterator[None]:
    """Set the hooks of the user aside; afterwards all are back, in their order."""
    aside: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in submodules(model):
            if not carries(module):
                continue
            for place in HOOKS:
                hooks = getattr(module, place)
                aside.append((module, place, hooks))
                gone = _of_user(module, place)
                kept = {key: hook for key, hook in hooks.items() if key not in gone}
                setattr(module, place, OrderedDict(kept))
            if isinstance(module, HookPoint):
                for place in _LENS_HOOKS:
                    aside.append((module, place, handles := getattr(module, place)))
                    setattr(module, place, [h for h in handles if h.hook.id in _running(module)])
        yield
    finally:
        for module, place, hooks in reversed(aside):
            if place in HOOKS:
                # What a library has hung up meanwhile, on first use, comes after what was there.
                hooks.update(getattr(module, place))
            setattr(module, place, hooks)


def _running(point: HookPoint) -> set[int]:
    return {key for place in HOOKS for key in getattr(point, place)}


@contextmanager
def _keeping_state(model: TransformerBridge) -> Iterator[None]:
    """Put back buffers, numbers and tensors that modules keep, such as growing rotary tables."""
    modules = [m for m in submodules(model) if not isinstance(m, HookPoint)]
    before = [(module, _numbers(module), dict(own_buffers(module))) for module in modules]
    buffers = {id(b): b for _, _, own in before for b in own.values() if b is not None}
    small = [(b, b.clone()) for b in buffers.values() if b.numel() <= _STATE and not b.is_meta]
    try:
        yield
    finally:
        for module, numbers, own in before:
            own_buffers(module).update(own)
            for name, value in _numbers(module).items():
                if name in numbers:
                    vars(module)[name] = numbers[name]
                elif isinstance(value, Tensor):
                    del vars(module)[name]
        for buffer, values in small:
            if not torch.equal(buffer, values):
                buffer.copy_(values)


def _numbers(module: nn.Module) -> dict[str, Any]:
    """What a module holds beside its buffers that is a number, a tensor or nothing."""
    kinds = (int, float, type(None))
    return {k: v for k, v in vars(module).items() if type(v) in kinds or isinstance(v, Tensor)}
