"""Which layers of a model are of one kind, so that a probe need not run all of them."""

from collections import Counter
from collections.abc import Hashable

from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_torch import own_parameters
from ..plans import Plan, Step
from .anatomy import Family, family_of

# As many layers of a kind as let what one writes be read by another.
_OF_A_KIND = 2
# Numbers by which a module knows its place, and not what it does there.
_PLACES = ("layer", "idx", "index")


def few_layers(model: TransformerBridge) -> Plan:
    """A plan of the first two layers of every kind, in order; for most models, of two layers.

    Layers are of one kind if the configuration says the same of them, and they are made of the
    same modules with the same shapes and settings.
    """
    family, seen, layers = family_of(model), Counter[Hashable](), []
    for layer, block in enumerate(model.blocks):
        kind = (_configured(family, layer), _made(block))
        seen[kind] += 1
        if seen[kind] <= _OF_A_KIND:
            layers.append(layer)
    return Plan(tuple(Step.of(layer) for layer in layers), len(model.blocks))


def _configured(family: Family, layer: int) -> Hashable:
    held = (getattr(c, name, None) for c in family.configs for name in family.per_layer)
    return tuple(repr(values[layer]) for values in held if values is not None)


def _made(block: nn.Module) -> Hashable:
    return tuple(
        (
            name,
            type(module).__name__,
            tuple((n, tuple(p.shape)) for n, p in own_parameters(module).items() if p is not None),
            tuple((n, v) for n, v in vars(module).items() if _setting(n, v)),
        )
        for name, module in block.named_modules()
        if not isinstance(module, HookPoint)
    )


def _setting(name: str, value: object) -> bool:
    placed = any(word in name for word in _PLACES)
    return isinstance(value, bool | int) and name != "training" and not placed
