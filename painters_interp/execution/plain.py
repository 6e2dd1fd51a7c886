"""The plain face of a model: the stock class over the same tensors, for what nobody watches.

The hooked face runs Python at every hook point and has eager attention. Where no hook hangs, a
stock model with the fastest attention of its class computes the same, which a trial proves.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_transformers import attentions
from ..errors import out_of_memory
from ..models import device_of, has_head
from ..plans import Plan
from ..strategies import full
from .anatomy import Family
from .application import applied, ready
from .faces import Face, hooked
from .fused import FUSED
from .guards import Verdicts, configs_in, nats_apart, user_hooks
from .overlapped import overlapped_slots
from .prefix_walk import head, record_on, walk
from .rotary import rotated_alike
from .slots import StepPoints, plan_slots
from .twins import (
    Twin,
    altered,
    copies,
    fingerprint,
    harmless_hooks,
    made_of,
    stock_modules,
    twin_of,
)
from .widening import in_float32, narrow

_TOLERANCE = 1e-3  # nats, in float32 or float64
_LENGTH = 12  # tokens of a row that is tried
_same: Verdicts[bool] = Verdicts()


@dataclass(frozen=True, eq=False)
class _Made:
    """Twins of a model, by the attention that each has, and what they were made from.

    None where there is none; made as they are asked for.
    """

    source: Hashable
    twins: dict[str, Twin | None]


_twins: WeakKeyDictionary[TransformerBridge, _Made] = WeakKeyDictionary()


def face_of(model: TransformerBridge, plans: Sequence[Plan] = ()) -> Face:
    """The fastest face of `model` that computes what its hooked one does under `plans`.

    The plain one where nobody watches: no hook of the user hangs at `model`, none of its modules
    is altered or in training mode, and plans call layers whole. Raises PlanError while a plan is
    applied.
    """
    if any(call.half for plan in plans for call in plan.calls):
        return hooked(model)
    return plain(model) or hooked(model)


def plain(model: TransformerBridge) -> Face | None:
    """The stock face of `model`, or None where it would not compute the same."""
    ready(model)
    if user_hooks(model) or getattr(model, "compatibility_mode", False):
        return None
    # Its rotary frequencies are state, which two models cannot share.
    if rotated_alike(model.original_model.config) < torch.inf or altered(model):
        return None
    modules = stock_modules(model)
    if any(module.training for module in modules.values()):
        return None
    made, source = _twins.get(model), made_of(model, modules)
    if made is None or made.source != source:
        made = _twins[model] = _Made(source, {})
    # Layers may ask their config for the name of their attention, and know the stock ones alone.
    for attention in attentions(type(model.original_model), FUSED):
        if attention not in made.twins:
            made.twins[attention] = twin_of(model, modules, attention)
        twin = made.twins[attention]
        if twin is not None and (face := _proved(model, modules, twin)) is not None:
            return face
    return None


def _proved(model: TransformerBridge, modules: dict[str, nn.Module], twin: Twin) -> Face | None:
    """The face that a twin is, if it computes the same as things stand."""
    face = face_around(model, twin.root)
    apart = copies(model, modules)
    # What the bridge keeps copies of may be changed there or here: then both are compared anew.
    layers = [p for block in face.blocks for p in block.parameters()] if apart else []
    known = twin.number, fingerprint([*apart, *layers]), harmless_hooks(model)
    face = replace(face, known=known)
    return face if _same.told(model, partial(agree, model, face), known, else_=False) else None


@contextmanager
def loop_under(model: TransformerBridge, plan: Plan) -> Iterator[Face]:
    """The fastest face of `model` whose own loop runs `plan`, caches and all, as in `applied`.

    Raises what `applied` raises.
    """
    face = face_of(model, [plan])
    if face.root is model.original_model:
        with applied(model, plan):
            yield face
        return
    with _loop_of(model, face, plan, _in_turn):
        yield face


@contextmanager
def overlapped_under(model: TransformerBridge, plan: Plan) -> Iterator[Face | None]:
    """The plain face likewise, with the members of groups launched together; None without one."""
    face = face_of(model, [plan])
    if face.root is model.original_model:
        yield None
        return
    with _loop_of(model, face, plan, overlapped_slots):
        yield face


SlotsOf = Callable[
    [Plan, TransformerBridge, StepPoints, Family, Sequence[nn.Module]], nn.ModuleList
]


def _in_turn(
    plan: Plan,
    model: TransformerBridge,
    points: StepPoints,
    family: Family,
    blocks: Sequence[nn.Module],
) -> nn.ModuleList:
    return plan_slots(plan, model, points, "exact", family.causal, blocks)


@contextmanager
def _loop_of(model: TransformerBridge, face: Face, plan: Plan, slots_of: SlotsOf) -> Iterator[None]:
    """The loop of a plain face walks such slots."""
    theirs, ours = (configs_in(root.config) for root in (model.original_model, face.root))
    own = [id(config) for config in hooked(model).family.configs]
    configs = tuple(b for a, b in zip(theirs, ours, strict=True) if id(a) in own)
    points, family = StepPoints(plan.depth), replace(face.family, configs=configs)
    slots = slots_of(plan, model, points, family, face.blocks)
    with family.exchanged(slots, plan.layer_calls):
        yield


def face_around(model: TransformerBridge, root: Any) -> Face:
    """The face that `root` is, a stock model of the class and config of `model`, on its device."""
    family = ready(model)
    paths = {id(module): path for path, module in stock_modules(model).items()}
    own = replace(family, owner=root.get_submodule(paths[id(family.owner)]), configs=())
    return Face(root, own, tuple(own.layers), device_of(model))


def agree(model: TransformerBridge, face: Face) -> bool:
    """Whether both faces predict the same, with and without padding on the left, all layers run.

    Of an encoder that predicts nothing final states are compared, as logits are.
    Judged in float32, half precision one layer at a time; in half precision itself rounding hides
    other differences, but what is no number in one face must be none in the other.
    """
    generator = torch.Generator().manual_seed(0)
    length = min(_LENGTH, int(model.cfg.n_ctx))
    tokens = torch.randint(1, int(model.cfg.d_vocab), (2, length), generator=generator)
    tokens = tokens.to(device_of(model))
    left = torch.ones_like(tokens)
    left[0, : length // 3] = 0
    try:
        for mask in (left, None):
            with in_float32(model, (face.root, face.blocks)):
                expected, found = (_rows(model, some, tokens, mask) for some in (None, face))
            if not nats_apart(found, expected) <= _TOLERANCE:  # nor for NaN
                return False
            if not torch.equal(found.isfinite(), expected.isfinite()):  # a token that one excludes
                return False
            if narrow(model):
                ours, theirs = (_rows(model, some, tokens, mask) for some in (face, None))
                if not torch.equal(ours.isfinite(), theirs.isfinite()):
                    return False
    except Exception as error:  # a stock layer that cannot be called as the hooked one is
        if out_of_memory(error):
            raise
        return False
    return True


def _rows(
    model: TransformerBridge, face: Face | None, tokens: Tensor, mask: Tensor | None
) -> Tensor:
    """Logits of the intact model at all real tokens; final states, where there is no head."""
    real = torch.ones_like(tokens) if mask is None else mask
    [(_, stream)] = walk(model, [full(len(model.blocks))], record_on(face, model, tokens, mask))
    rows = stream[real.bool()]
    if not has_head(model):
        return rows
    with head(model, face) as logits_of:
        return logits_of(rows)
