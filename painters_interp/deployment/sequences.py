"""A plan of layers in sequence as a plain model of its own: config and weights by slot."""

from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from accelerate import init_empty_weights
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from ..borrowed.of_torch import children
from ..borrowed.of_transformer_lens import plain_name
from ..borrowed.of_transformers import use_attention, use_fastest_attention
from ..errors import PlanError, UnsupportedModelError, out_of_memory
from ..execution import Family, as_plan, ready, refuse_halves
from ..execution.guards import configs_in
from ..models import Model, as_model, refuse_copying
from ..plans import Call, Half, Plan, Step

# Settings that list the layers of a kind, where others say of every layer what it is.
_LISTING = ("moe_layers", "mlp_only_layers")
_RECIPE = "write a recipe instead, which this package opens: painters.recipe, or --recipe"
# What of each half of a layer writes into the stream, as the bridge calls it.
_WRITERS: dict[Half, str] = {"attn": "o", "mlp": "out"}
# A layer call, and what its attention and its MLP are multiplied by.
_Slot = tuple[int, Mapping[Half, float]]


def in_sequence(model: Model, plan: Plan | str, attention: str | None = "eager") -> PreTrainedModel:
    """A plain Hugging Face model whose layers are those of `plan`, one behind the other.

    Its weights are those of `model`, not copies, but for layers that run several times or scaled.
    Layers can only be scaled by scaling what their two halves write, which is the same where both
    halves read one stream, or where one of them is silent; that remains to be tried.

    Args:
        model: Whatever `load_model` takes or returns.
        plan: Layers in sequence, repeated or scaled.
        attention: How transformers computes it; None stands for the fastest that there is.

    Returns:
        The model, without hooks.

    Raises:
        PlanError: a plan with branches, with a series that is scaled, or one applied already.
        UnsupportedModelError: a model whose layers cannot be written down in another order.

    Example:
        >>> in_sequence(model, "0-2 5").config.num_hidden_layers
        4
    """
    model = as_model(model)
    plan, family = as_plan(plan, model), ready(model)
    slots = [_slot(step, plan) for step in plan.steps]
    refuse_halves(model, plan)
    _refuse_foreign(model)
    if not family.follows:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} hands every place arguments of its own, which a checkpoint "
            f"in another order would hand to other layers; {_RECIPE}"
        )
    fresh = _empty(model, plan.layer_calls, family, attention)
    weights = _by_slot(model, family, slots)
    _fill(fresh, weights, str(plan), str(model.cfg.model_name))
    return fresh


def _slot(step: Step, plan: Plan) -> _Slot:
    """What stands in one place. Raises PlanError for what no single layer computes."""
    [branch, *more] = step.branches
    if more or not isinstance(branch, Call):
        kind = "joins branches side by side" if more else "scales a series of layers as a whole"
        raise PlanError(
            f"plan {str(plan)!r}: step {step} {kind}, which no ordinary checkpoint can say; "
            f"{_RECIPE}"
        )
    silent = {"attn": "mlp", "mlp": "attn"}.get(branch.half or "")
    return branch.layer, {half: 0.0 if half == silent else step.scale for half in _WRITERS}


def _refuse_foreign(model: TransformerBridge) -> None:
    root, name = model.original_model, model.cfg.model_name
    refuse_copying(model)
    if type(root).__module__.startswith("transformers_modules"):
        raise UnsupportedModelError(
            f"{name} runs code of its own, without which a checkpoint would not load; {_RECIPE}"
        )
    if getattr(model, "compatibility_mode", False):
        raise UnsupportedModelError(
            f"the weights of {name} were processed by TransformerLens (compatibility mode) and no "
            "longer fit its class; load it anew"
        )


def _config(model: TransformerBridge, family: Family, calls: tuple[int, ...]) -> PreTrainedConfig:
    """The config that says what runs, and says it again when it is read from a file.

    Raises UnsupportedModelError where none can.
    """
    root = model.original_model
    with family.saying(calls):
        wanted = [_said(config, family.per_layer) for config in family.configs]
        said = root.config.to_dict()
    config = type(root.config).from_dict(said)
    places = [configs_in(root.config).index(part) for part in family.configs]
    found = [configs_in(config)[place] for place in places]
    for part, original in zip(found, family.configs, strict=True):
        for field in _LISTING:
            if (own := getattr(original, field, None)) is not None:
                setattr(part, field, [slot for slot, layer in enumerate(calls) if layer in own])
    for part, values in zip(found, wanted, strict=True):
        if lost := [
            field for field, value in values.items() if value != _said(part, [field])[field]
        ]:
            raise UnsupportedModelError(
                f"{model.cfg.model_name}: its config computes {', '.join(lost)} from other "
                f"settings, which cannot say that order of layers; {_RECIPE}"
            )
    config.architectures = [type(root).__name__]
    config.dtype = next(root.parameters()).dtype
    return config


def _said(config: PreTrainedConfig, fields: Iterable[str]) -> dict[str, list[Any]]:
    """What a config says of every layer."""
    names = [name for name in fields if hasattr(config, name) and name not in _LISTING]
    return {name: [*getattr(config, name)] for name in names}


def _empty(
    model: TransformerBridge, calls: tuple[int, ...], family: Family, attention: str | None
) -> PreTrainedModel:
    """A model with these layers, without memory for its weights."""
    root = model.original_model
    try:
        config = _config(model, family, calls)
        if attention is None:
            use_fastest_attention(config, type(root))
        else:
            use_attention(config, attention)
        with init_empty_weights(include_buffers=False), no_init_weights():
            fresh: PreTrainedModel = type(root)(config)
    except UnsupportedModelError:
        raise
    except Exception as error:  # whatever a class makes of an order it was not made for
        if out_of_memory(error):
            raise
        raise UnsupportedModelError(
            f"{model.cfg.model_name}: no {type(root).__name__} can be made with these layers "
            f"({error}); {_RECIPE}"
        ) from error
    for name in [*children(fresh)]:
        if getattr(root, name, None) is None:  # a pooler that the model was loaded without
            setattr(fresh, name, None)
    if root.can_generate():
        fresh.generation_config = deepcopy(root.generation_config)
    return fresh.train(root.training)


def _by_slot(model: TransformerBridge, family: Family, slots: list[_Slot]) -> dict[str, Tensor]:
    """Every tensor by the name that it has in the new model."""
    root = model.original_model
    [stack] = [plain_name(p) for p, module in root.named_modules() if module is family.layers]
    source = {plain_name(name): tensor for name, tensor in root.state_dict().items()}
    inside = f"{stack}."
    found = {name: t for name, t in source.items() if not name.startswith(inside)}
    times = Counter(layer for layer, _ in slots)
    for slot, (layer, scales) in enumerate(slots):
        factors = _factors(model, layer, scales)
        own = f"{stack}.{layer}."
        for name, tensor in source.items():
            if name.startswith(own):
                factor = factors.get(name, 1.0)
                several = times[layer] > 1
                moved = tensor * factor if factor != 1 else tensor.clone() if several else tensor
                found[f"{stack}.{slot}.{name.removeprefix(own)}"] = moved
    return found


def _factors(
    model: TransformerBridge, layer: int, scales: Mapping[Half, float]
) -> dict[str, float]:
    """What the weights that write into the stream are multiplied by, by their plain names."""
    if all(scale == 1 for scale in scales.values()):
        return {}
    block = model.blocks[layer]
    found: dict[str, float] = {}
    # Some matrices have two names: the bridge's, and that in the wrapped model.
    named = [*model.original_model.named_parameters(remove_duplicate=False)]
    for half, part in _WRITERS.items():
        writer = getattr(getattr(block, half, None), part, None)
        if not isinstance(writer, nn.Module) or not [*writer.parameters()]:
            raise UnsupportedModelError(
                f"{model.cfg.model_name}: layer {layer} has no single matrix by which its {half} "
                f"writes into the stream, so it cannot be scaled in a checkpoint; {_RECIPE}"
            )
        own = {id(parameter) for parameter in writer.parameters()}
        found |= {plain_name(name): scales[half] for name, p in named if id(p) in own}
    return found


def _fill(fresh: PreTrainedModel, weights: Mapping[str, Tensor], plan: str, name: str) -> None:
    wanted = fresh.state_dict()
    for key, empty in wanted.items():
        if key not in weights or weights[key].shape != empty.shape:
            raise UnsupportedModelError(
                f"plan {plan!r}: {name} makes the layer of {key} otherwise in that place, by a "
                f"setting that cannot follow the plan; {_RECIPE}"
            )
    fresh.load_state_dict({key: weights[key] for key in wanted}, assign=True)
    fresh.tie_weights()
