"""From a plain Hugging Face model and its tokenizer to a hooked one, changing what is needed."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ..borrowed.of_accelerate import hook_of
from ..borrowed.of_torch import children, own_buffers, own_parameters, parts_of
from ..borrowed.of_transformer_lens import nothing_installed, plain_name, set_tokenizer
from ..errors import ModelError, UnsupportedModelError
from .quiet import first_line, without_bars

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only loading a model is worth them
    TransformerBridge = Any

# Under this name the bridge around a model is kept on the model itself.
_KEPT = "_painters_bridge"
_SPECIAL = ("pad_token", "bos_token", "eos_token")


class _Kept:
    """Holds the bridge of a model, so that both go together; neither copied nor saved with it."""

    def __init__(self, bridge: Any = None) -> None:
        self.bridge = bridge

    def __deepcopy__(self, memo: Any) -> "_Kept":
        return _Kept()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Kept, ()


def bridge_of(model: Any) -> Any:
    """The bridge that was made around a plain model before, or None."""
    kept = getattr(vars(model).get(_KEPT), "bridge", None)
    return kept if kept is not None and kept.original_model is model else None


def remember(bridge: TransformerBridge) -> None:
    """Let the model inside a bridge know its bridge."""
    if bridge_of(bridge.original_model) is not bridge:
        # Not by attribute: a module would register the bridge as a part of itself.
        vars(bridge.original_model)[_KEPT] = _Kept(bridge)


def wrapped(
    model: Any, tokenizer: Any, name: str, trust_remote_code: bool = False
) -> TransformerBridge:
    """A bridge around a plain model, in the mode it is in, with the tokenizer as it is.

    The bridge puts its components into the model itself, and switches it to eager attention,
    which alone shows its pattern to hooks.

    Args:
        model: A Hugging Face model in memory.
        tokenizer: Its tokenizer.
        name: What the bridge calls it.
        trust_remote_code: Whether code that comes with the model may run.

    Returns:
        The bridge.

    Raises:
        UnsupportedModelError: for an architecture that TransformerLens does not know.

    Example:
        >>> from painters_interp.models import stock_copy
        >>> wrapped(stock_copy(model), model.tokenizer, "second").cfg.n_layers
        6
    """
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    from .device import device_of
    from .headless import encoders_known

    # A config may name another class or none; the bridge looks its adapter up by this.
    model.config.architectures = [type(model).__name__]
    modes = [(module, module.training) for module in model.modules()]
    try:
        # Of some architectures it makes matrices anew, first with weights that are drawn.
        as_before = torch.random.fork_rng(devices=[])
        with as_before, without_bars(), nothing_installed(), encoders_known():
            bridge = TransformerBridge.boot_transformers(
                name,
                hf_model=model,
                # A copy, which the bridge may edit; without a BOS token it is not read from disk.
                tokenizer=_plain_copy(tokenizer),
                dtype=model.dtype,
                device=model.device,
                trust_remote_code=trust_remote_code,
            )
    except Exception as error:  # an architecture that TransformerLens does not know
        reason = first_line(error)
        if "Could not determine supported architecture" in reason:
            reason = unadapted(model)
        raise UnsupportedModelError(f"{name} cannot be given hooks: {reason}") from error
    bridge.train(model.training)
    for module, training in modes:
        module.training = training
    # The model's own, where the bridge's always prepends a BOS token: benchmarks and captures read
    # text as the model's makers do.
    set_tokenizer(bridge, within(tokenizer, model))
    bridge.cfg.model_name = name
    # Where tokens go, also if the embedding is offloaded.
    bridge.cfg.device = str(device_of(bridge))
    remember(bridge)
    return bridge


def unadapted(model: Any) -> str:
    """Why a model has no hooks; of ALBERT, whose layers share weights, what plans would mean."""
    from .headless import encoder_class

    reason = f"TransformerLens has no adapter for {type(model).__name__}"
    if encoder_class(model.config):
        return f"{reason}; its encoder can be given hooks: model.base_model"
    if getattr(model.config, "num_hidden_groups", None) == 1:
        return f"{reason}; besides, its layers are one layer called again and again, in any order"
    return reason


def _plain_copy(tokenizer: Any) -> Any:
    """A tokenizer without special tokens of its own for the bridge to edit, and to throw away."""
    copy = deepcopy(tokenizer)
    copy.bos_token = None
    return copy


def within(tokenizer: Any, model: Any) -> Any:
    """The tokenizer itself where its special tokens fit the model's vocabulary, else a copy.

    In the copy a special token beyond the vocabulary is none, and a pad token that is missing is
    the end of text, where there is one, as TransformerLens has it.
    """
    size = model.get_input_embeddings().num_embeddings
    ids = {name: getattr(tokenizer, f"{name}_id", None) for name in _SPECIAL}
    beyond = [name for name, number in ids.items() if number is not None and number >= size]
    fitting = [n for n in ("pad_token", "eos_token", "bos_token") if ids[n] is not None]
    pads = [getattr(tokenizer, name) for name in fitting if name not in beyond]
    lacks_pad = bool(pads) and (ids["pad_token"] is None or "pad_token" in beyond)
    if not (beyond or lacks_pad):
        return tokenizer
    own = deepcopy(tokenizer)
    for name in beyond:
        setattr(own, name, None)
    if lacks_pad:
        own.pad_token = pads[0]
    return own


def refuse_unusable(model: Any, name: str) -> None:
    """Raise ModelError for a plain model that no bridge can be put around, with the reason."""
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder, whose two stacks no single plan describes")
    _refuse_headless_decoder(model, name)
    refuse_empty(model, name)
    if any(hasattr(module, "original_component") for module in model.modules()):
        raise ModelError(
            f"{name} has been given hooks before; pass the TransformerBridge around it"
        )


def _refuse_headless_decoder(model: Any, name: str) -> None:
    from .headless import ENCODERS, head_adapted

    if type(model).__name__ in ENCODERS or model.get_output_embeddings() is not None:
        return
    if not head_adapted(model.config):
        raise UnsupportedModelError(f"{name} cannot be given hooks: {unadapted(model)}")
    raise ModelError(
        f"{name} is a {type(model).__name__}, which has no language-model head; load it with "
        "AutoModelForCausalLM (encoders: AutoModelForMaskedLM, or give the encoder inside it: "
        "model.base_model)"
    )


def refuse_empty(model: Any, name: str) -> None:
    """Raise ModelError for weights on the meta device, unless accelerate fetches their numbers."""
    # A hook of accelerate fetches all that is inside.
    kept_here = parts_of(model, leaving_out=lambda module: hook_of(module) is not None)
    if any(_without_numbers(module) for module in kept_here):
        raise ModelError(
            f"{name} has weights on the meta device, which hold no numbers "
            f"({plain_name(_first_empty(model))}); load them"
        )


def _without_numbers(module: Any) -> list[str]:
    """The names of a module's own tensors that are on the meta device."""
    tables = (own_parameters(module), own_buffers(module))
    return [
        name
        for table in tables
        for name, tensor in table.items()
        if tensor is not None and tensor.is_meta
    ]


def _first_empty(module: Any) -> str:
    """The name of a tensor without numbers in a model that has some."""
    if hook_of(module) is not None:
        return ""
    for name in _without_numbers(module):
        return name
    for name, child in children(module).items():
        if child is not None and (inner := _first_empty(child)):
            return f"{name}.{inner}"
    return ""
