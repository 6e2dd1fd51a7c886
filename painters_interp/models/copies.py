"""A second model with the same weights, for what must not touch the first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from ..borrowed.of_accelerate import hook_of
from ..borrowed.of_torch import children
from ..borrowed.of_transformer_lens import plain_name
from ..errors import ModelError, PlanError, UnsupportedModelError
from .quiet import without_bars
from .standing import under_plan
from .wrapping import wrapped

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only a model is worth them
    TransformerBridge = Any


def copied(model: TransformerBridge) -> TransformerBridge:
    """A model of the same weights, buffers, mode, device and tokenizer; hooks stay behind.

    Args:
        model: A model with hooks.

    Returns:
        A second model in memory.

    Raises:
        ModelError: where a weight is not where its class puts it.
        UnsupportedModelError: for weights that are quantised, or spread over devices.

    Example:
        >>> second = copied(model)
        >>> second is model, second.cfg.n_layers
        (False, 6)
    """
    return wrapped(stock_copy(model), model.tokenizer, str(model.cfg.model_name))


def quantised_by(config: Any) -> str | None:
    """By what the weights of a model of this config are quantised, such as bitsandbytes."""
    how = getattr(config, "quantization_config", None)
    if how is None:
        return None
    method = how.get("quant_method") if isinstance(how, dict) else getattr(how, "quant_method", "")
    return str(getattr(method, "value", method))


def refuse_copying(model: TransformerBridge) -> None:
    """Refuse a model whose weights nothing can take from one place as plain numbers.

    Args:
        model: A model with hooks.

    Raises:
        PlanError: while a plan is applied, in whose order the layers stand.
        UnsupportedModelError: for weights that are quantised, for those that accelerate has
            spread over devices, or fetches when they are needed, and for adapters of peft.

    Example:
        >>> refuse_copying(model)  # it is whole
    """
    root, name = model.original_model, model.cfg.model_name
    if under_plan(model):
        raise PlanError(
            f"a plan is already applied to {name}, and this needs its layers in their own order; "
            "leave that `with applied(...)` block, or close() the planned model, first"
        )
    if quantised_by(root.config) is not None:
        raise UnsupportedModelError(
            f"{name} is quantised, and this needs its weights as plain numbers; load it in "
            "floating point"
        )
    if any(hook_of(module) is not None for module in root.modules()):
        raise UnsupportedModelError(
            f"the weights of {name} are offloaded or spread over devices, and this needs them on "
            "one; load it without a device_map"
        )
    for place, module in root.named_modules():
        if type(module).__module__.startswith("peft."):
            adapters = ", ".join(map(repr, getattr(module, "active_adapters", ())))
            raise UnsupportedModelError(
                f"{name} carries an adapter of peft ({adapters or type(module).__name__}, at "
                f"{plain_name(f'{place}.')[:-1]}), which a plain model of its class has no place "
                "for; give what merge_and_unload() of the PeftModel returns, called before the "
                "model has hooks"
            )


@contextmanager
def on_cpu_in_float32() -> Iterator[None]:
    """Make tensors on the processor in float32, whatever the caller's defaults are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def in_formats_of(original: Any, fresh: Any) -> None:
    """Bring the tensors of a model to the device and, one by one, the dtypes of another's.

    Narrower weights leave rotary tables in float32.
    """
    weight = next(original.parameters())
    named = chain(
        original.named_parameters(remove_duplicate=False),
        original.named_buffers(remove_duplicate=False),
    )
    formats = {plain_name(name): tensor.dtype for name, tensor in named}
    for name, tensor in fresh.named_parameters():
        tensor.data = tensor.data.to(weight.device, formats.get(name, weight.dtype))
    for name, tensor in fresh.named_buffers():
        tensor.data = tensor.data.to(weight.device, formats.get(name, tensor.dtype))


def stock_copy(
    model: TransformerBridge, attention: Callable[[Any, type], None] = lambda config, kind: None
) -> Any:
    """The plain Hugging Face model of the same weights, buffers, mode and device, without hooks.

    Args:
        model: A model with hooks.
        attention: Told its config and its class, says how attention is computed; as in the config
            by default.

    Returns:
        A second model in memory.

    Raises:
        ModelError: where a weight is not where its class puts it.
        UnsupportedModelError: for weights that are quantised, or spread over devices.

    Example:
        >>> type(stock_copy(model)).__name__
        'LlamaForCausalLM'
    """
    refuse_copying(model)
    original = model.original_model
    config = deepcopy(original.config)
    attention(config, type(original))
    # The default generator gives every parameter a number, which is overwritten at once.
    with torch.random.fork_rng(devices=[]), on_cpu_in_float32(), without_bars():
        fresh = type(original)(config)
    for name in [*children(fresh)]:
        if getattr(original, name, None) is None:  # a pooler that the model was loaded without
            setattr(fresh, name, None)
    in_formats_of(original, fresh)
    source = {plain_name(name): tensor for name, tensor in original.state_dict().items()}
    wanted = fresh.state_dict()
    for name in wanted:
        if name not in source or source[name].shape != wanted[name].shape:
            raise ModelError(f"{model.cfg.model_name} cannot be copied: {name} is not in its place")
    fresh.load_state_dict({name: source[name] for name in wanted})
    if original.can_generate():
        fresh.generation_config = deepcopy(original.generation_config)
    return fresh.train(original.training)
