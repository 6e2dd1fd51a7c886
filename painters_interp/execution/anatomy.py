"""Where a model keeps its layers and how it calls them, found on the model itself.

There is no list of architectures. The layer list is located by identity; one padded pass of the
intact model shows whether every layer of a type is called with the same arguments, and one with
stand-ins in reverse order whether those arguments follow the layers. Where they do not, layers keep
their places, the loop only collects what each is called with, and a third pass shows whether that
is all that the loop does.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedConfig, cache_utils
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionCacheLayerMixin

from ..borrowed.of_torch import children
from ..errors import UnsupportedModelError, out_of_memory
from ..models import device_of
from .guards import LENS, Verdicts, made_by
from .layer_arguments import Arguments, same
from .places import collectors, in_place

_NOT_CALLED = "layers_not_called"
# Of the largest logit: rounding is a thousand times less.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Family:
    """One model's anatomy.

    `owner.<attribute>` is the layer list that the model's own loop walks; `configs` are the
    configurations on the way to it, whose `per_layer` lists the loop may consult by position.
    `attends` says which layers keep keys and values, `recurs` which keep a state: that alone does
    not tell how much text it has seen, and is written into in place. Some layers keep both.
    Layers return the stream alone if `extras` is None, else a tuple with so much behind it.
    `follows` says whether what the loop calls a layer with follows the layer to other places.
    """

    owner: nn.Module
    attribute: str
    configs: tuple[PreTrainedConfig, ...]
    per_layer: tuple[str, ...]
    layer_types: tuple[str, ...]
    attends: tuple[bool, ...]
    recurs: tuple[bool, ...]
    extras: int | None
    causal: bool
    follows: bool = True

    @property
    def layers(self) -> nn.ModuleList:
        """The list that the model's loop walks right now: blocks, or slots under a plan."""
        layers: nn.ModuleList = getattr(self.owner, self.attribute)
        return layers

    def _attending(self) -> list[int]:
        return [layer for layer, attends in enumerate(self.attends) if attends]

    def output(self, stream: Tensor) -> Any:
        """`stream` in the form in which this model's layers return it."""
        return stream if self.extras is None else (stream, *[None] * self.extras)

    @contextmanager
    def exchanged(
        self, slots: nn.ModuleList, calls: tuple[int, ...] | None = None
    ) -> Iterator[None]:
        """Let the model's loop walk `slots`; the blocks are back on exit, whatever happened.

        With `calls`, one layer index per slot, the configuration says what runs: otherwise
        longer lists are cut short and sliding and full masks go to the wrong layers. Where
        arguments do not follow, slots are called behind the loop instead (see `places`). Raises
        UnsupportedModelError if no call is left that could tell how long the text is.
        """
        if calls is not None and any(self.attends) and not any(self.attends[i] for i in calls):
            raise UnsupportedModelError(
                f"none of the layers {sorted(set(calls))} attends: this model learns from an "
                "attention layer's cache how long the text is; "
                f"keep one of {self._attending()} in the plan"
            )
        blocks = self.layers
        if not self.follows:
            slots = in_place(self.output, blocks, slots, calls)
        slots.training = self.owner.training
        called = () if calls is None else {*calls}
        outer = children(self.owner).get(_NOT_CALLED)
        # Modes, devices and number formats must reach the layers that nobody calls, too.
        uncalled = nn.ModuleList([b for i, b in enumerate(blocks) if i not in called])
        try:
            setattr(self.owner, self.attribute, slots)
            self.owner.add_module(_NOT_CALLED, uncalled)
            with nullcontext() if calls is None or not self.follows else self.saying(calls):
                yield
        finally:
            if outer is None:
                children(self.owner).pop(_NOT_CALLED, None)
            else:  # a recorder inside the injector of a head
                self.owner.add_module(_NOT_CALLED, outer)
            setattr(self.owner, self.attribute, blocks)
            blocks.training = self.owner.training

    @contextmanager
    def saying(self, calls: tuple[int, ...]) -> Iterator[None]:
        """Let the configurations say what runs, also where they compute it from other settings."""
        saved = [(config, type(config), self._said(config)) for config in self.configs]
        try:
            for config, kind, said in saved:
                runs = {
                    name: len(calls) if isinstance(value, int) else [value[i] for i in calls]
                    for name, value in said.items()
                }
                computed = {
                    kind.attribute_map.get(name, name): runs.pop(name)
                    for name in said
                    if _computed(kind, name)
                }
                if computed:  # nothing can be set there: a class of its own says it
                    config.__class__ = type(kind.__name__, (kind,), computed)
                for name, value in runs.items():
                    setattr(config, name, value)
            yield
        finally:
            for config, kind, said in saved:
                config.__class__ = kind
                for name, value in said.items():
                    if not _computed(kind, name):
                        setattr(config, name, value)

    def _said(self, config: PreTrainedConfig) -> dict[str, Any]:
        """How many layers a configuration says there are, and what it says of each."""
        names = ("num_hidden_layers", *self.per_layer)
        return {name: getattr(config, name) for name in names if hasattr(config, name)}


def _computed(kind: type[PreTrainedConfig], name: str) -> bool:
    member = getattr(kind, kind.attribute_map.get(name, name), None)
    return isinstance(member, property) and member.fset is None


_families: Verdicts[Family] = Verdicts()


def family_of(model: TransformerBridge) -> Family:
    """The anatomy of `model`, probed once with a short padded pass.

    Raises UnsupportedModelError, before anything is changed, for a model whose layers cannot be
    exchanged without a wrong result: no single layer list, layers that share state or keep nothing
    but states, or layers called with arguments of their own.
    """
    return _families.of(model, lambda: _examine(model))


def _examine(model: TransformerBridge) -> Family:
    name = model.cfg.model_name
    root = model.original_model
    if getattr(root.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{name}: an encoder-decoder has two layer stacks; plans address one. "
            "Decoder-only and encoder-only models work"
        )
    owner, attribute, configs = _layer_list(model)
    n_layers = len(model.blocks)
    _refuse_shared_state(name, configs)
    per_layer = _per_layer_fields(name, configs, n_layers)
    types = next(
        (tuple(c.layer_types) for c in configs if getattr(c, "layer_types", None)),
        ("layer",) * n_layers,
    )
    probe = _intact_pass(model)
    causal = root.can_generate() and not _looks_ahead(probe.calls)
    extras = _extras(name, probe.outputs)
    _refuse_own_memories(name, probe.kept)
    attends, recurs = _memories(name, probe.caches, n_layers)
    family = Family(
        owner=owner,
        attribute=attribute,
        configs=configs,
        per_layer=per_layer,
        layer_types=types,
        attends=tuple(attends),
        recurs=tuple(recurs),
        extras=extras,
        causal=causal,
    )
    if _follow(model, family, probe.calls):
        return family
    if root.can_generate() and not probe.caches:
        raise UnsupportedModelError(
            f"{name}: its layers are given no cache, and what they remember of a text instead is "
            "one for each layer, however often it is called"
        )
    family = replace(family, follows=False)
    _refuse_busy_loop(model, family, probe.logits)
    return family


def _layer_list(model: TransformerBridge) -> tuple[nn.Module, str, tuple[PreTrainedConfig, ...]]:
    """The module and attribute that hold exactly the bridge's blocks, and the configs above it."""
    blocks = list(model.blocks) if "blocks" in children(model) else []
    for path, module in model.original_model.named_modules():
        if isinstance(module, nn.ModuleList) and blocks and list(module) == blocks:
            parents = path.split(".")[:-1]
            chain = [
                model.original_model.get_submodule(".".join(parents[:k]))
                for k in range(len(parents) + 1)
            ]
            found = {id(m.config): m.config for m in chain if hasattr(m, "config")}
            configs = tuple(c for c in found.values() if hasattr(c, "num_hidden_layers"))
            return chain[-1], path.rpartition(".")[2], configs
    raise UnsupportedModelError(
        f"{model.cfg.model_name}: no single list of layers was found "
        "(TransformerLens registers no `blocks` for it); plans need one residual stack"
    )


def _refuse_shared_state(name: str, configs: tuple[PreTrainedConfig, ...]) -> None:
    for config in configs:
        if getattr(config, "num_kv_shared_layers", 0):
            raise UnsupportedModelError(
                f"{name}: the last {config.num_kv_shared_layers} layers read keys and values of "
                "other layers (num_kv_shared_layers), so no layer can be moved alone"
            )


def _per_layer_fields(
    name: str, configs: tuple[PreTrainedConfig, ...], n_layers: int
) -> tuple[str, ...]:
    """Names of configuration lists with one entry per layer; all must be settable."""
    found: dict[str, None] = {}
    for config in configs:
        for field in dir(type(config)) + list(vars(config)):
            if "layer" not in field or field.startswith("_") or field == "per_layer_config":
                continue
            value = getattr(config, field, None)
            if not isinstance(value, (list, tuple)) or len(value) != n_layers:
                continue
            found[field] = None
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Probe:
    """What one pass of the intact model shows: arguments and outputs, layer by layer."""

    calls: list[Arguments]
    outputs: list[Any]
    caches: list[Cache]
    kept: list[str]
    logits: Any


def _intact_pass(model: TransformerBridge) -> _Probe:
    """One padded pass of the intact model, watched.

    An unwatched one comes before it and asks for hidden states and attentions: transformers
    installs its capture hooks on first use, and must not find slots there when it does.
    """
    _padded_pass(model, output_hidden_states=True, output_attentions=True)
    calls: list[Arguments] = []
    outputs: list[Any] = []
    caches: list[Cache] = []

    def note_arguments(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caches.extend(a for a in (*args, *kwargs.values()) if isinstance(a, Cache))
        rest = {k: v for k, v in kwargs.items() if k != "hidden_states"}
        calls.append(Arguments(args[1:], rest).without_cache().frozen())

    def note_output(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # Of a tuple, what stands behind the stream counts; tensors need not be kept.
        outputs.append(tuple(map(type, output)) if isinstance(output, tuple) else type(output))

    handles = [b.register_forward_pre_hook(note_arguments, with_kwargs=True) for b in model.blocks]
    handles += [block.register_forward_hook(note_output) for block in model.blocks]
    before = _tensors_beside(model)
    try:
        logits = _padded_pass(model)
    finally:
        for handle in handles:
            handle.remove()
    now = _tensors_beside(model)
    kept = [name for name, tensor in now.items() if before.get(name) is not tensor]
    return _Probe(calls, outputs, caches, kept, logits)


def _tensors_beside(model: TransformerBridge) -> dict[str, Tensor]:
    """What the modules of layers hold besides weights and buffers, by place in its layer."""
    return {
        f"{layer}, {name}": value
        for layer, block in enumerate(model.blocks)
        for module in block.modules()
        if made_by(module) != LENS  # whose patterns are for looking at
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def _refuse_own_memories(name: str, kept: list[str]) -> None:
    """A layer that is called twice needs two memories, so each must lie in a cache."""
    if kept:
        raise UnsupportedModelError(
            f"{name}: its layers remember a text in their own modules (layer {kept[0]}), "
            "one for each layer, however often it is called"
        )


# Tokens of a probe: enough for padding on the left and a past.
_LENGTH = 6


def _padded_pass(model: TransformerBridge, **kwargs: bool) -> Any:
    length = min(_LENGTH, int(model.cfg.n_ctx))
    tokens = torch.arange(1, 2 * length + 1, device=device_of(model)) % int(model.cfg.d_vocab)
    tokens = tokens.reshape(2, length)
    mask = torch.ones_like(tokens)
    mask[0, : length // 3] = 0
    if model.original_model.can_generate():
        kwargs["use_cache"] = True
    return model(tokens, attention_mask=mask, **kwargs)


def _looks_ahead(calls: list[Arguments]) -> bool:
    """Whether a mask lets a token see later ones, as some decoders do by their configuration."""
    masks = [
        argument
        for call in calls
        for argument in (*call.args, *(v for k, v in call.kwargs.items() if "mask" in k))
        if isinstance(argument, Tensor) and argument.ndim == 4
    ]
    for mask in masks:
        queries, keys = mask.shape[-2:]
        whole = mask[-1]  # the row without pads
        if queries == keys and whole.dtype == torch.bool:
            seen = whole == whole[..., :1, :1]  # a token sees itself, whichever value says so
        elif queries == keys and whole.is_floating_point():
            seen = whole > torch.finfo(whole.dtype).min / 4
        else:
            continue
        if bool(seen.triu(diagonal=1).any()):
            return True
    return False


def _extras(name: str, outputs: list[Any]) -> int | None:
    """How much the layers return behind the stream; None where they return it alone."""
    lone = [kind for kind in outputs if not isinstance(kind, tuple)]
    if not all(issubclass(kind, Tensor) for kind in lone):
        kinds = ", ".join(sorted({kind.__name__ for kind in lone}))
        raise UnsupportedModelError(
            f"{name}: layers return {kinds}; a tensor, or a tuple that begins with one, is needed"
        )
    sizes = {len(kind) - 1 for kind in outputs if isinstance(kind, tuple)}
    return max(sizes, default=None)


def _memories(name: str, caches: list[Cache], n_layers: int) -> tuple[list[bool], list[bool]]:
    """Which layers keep keys and values, and which keep states.

    Read off the cache that the intact pass has filled; keys and values where there is none.
    """
    entries = caches[0].layers if caches else []
    if len(entries) != n_layers:
        return [True] * n_layers, [False] * n_layers
    for layer, entry in enumerate(entries):
        # An entry defined beside a model is read and written in that model's own ways.
        if type(entry).__module__ != cache_utils.__name__:
            raise UnsupportedModelError(
                f"{name}: layer {layer} keeps a {type(entry).__name__}, which only its own place "
                "in the cache can hold"
            )
    attends = [isinstance(entry, CacheLayerMixin) for entry in entries]
    return attends, [isinstance(e, LinearAttentionCacheLayerMixin) for e in entries]


def _follow(model: TransformerBridge, family: Family, calls: list[Arguments]) -> bool:
    """Whether layers of a type are called alike, and in reverse order as in their own places."""
    first: dict[str, int] = {}
    for layer, kind in enumerate(family.layer_types):
        a, b = calls[first.setdefault(kind, layer)], calls[layer]
        if not same((a.args, a.kwargs), (b.args, b.kwargs)):
            return False
    order = tuple(reversed(range(len(calls))))
    moved: list[tuple[Arguments, ...]] = []

    def note(stream: Tensor, given: tuple[Arguments, ...]) -> Tensor:
        moved.append(given)
        return stream

    stand_ins = collectors(family.output, len(order), note)
    try:
        with family.exchanged(stand_ins, order):
            _padded_pass(model)
    except Exception as error:  # whatever the model's own loop does with a layer besides calling it
        if out_of_memory(error):
            raise
        return False
    [given] = moved
    found = [call.without_cache() for call in given]
    return all(
        same((calls[layer].args, calls[layer].kwargs), (now.args, now.kwargs))
        for layer, now in zip(order, found, strict=True)
    )


def _refuse_busy_loop(model: TransformerBridge, family: Family, intact: Any) -> None:
    """Call the layers behind the loop: the model must compute the same as with them inside."""
    name, order = model.cfg.model_name, tuple(range(len(family.layers)))
    try:
        with family.exchanged(nn.ModuleList(_Call(block) for block in family.layers), order):
            found = _padded_pass(model)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UnsupportedModelError(
            f"{name}: its loop asks more of a layer than to be called ({error})"
        ) from error
    known = intact.isfinite()  # stock attention knows no number for pads in float64
    apart = (found - intact)[known].abs().max()
    if not apart <= _TOLERANCE * intact[known].abs().max():
        raise UnsupportedModelError(
            f"{name}: its loop does more than to call one layer after the other, so a layer moved "
            "elsewhere would compute something else"
        )


class _Call(nn.Module):
    """One call of a layer, with nothing to remember."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = Arguments(args, kwargs).without_cache()
        return self.block(hidden_states, *call.args, **call.kwargs)
