"""From a checkpoint folder to a hooked model, and what that model is called in tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError
from .device import dtype_of, place_of
from .quiet import first_line, without_bars
from .sources import Checkpoint, locate

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only loading a model is worth them
    TransformerBridge = Any


def load_model(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> TransformerBridge:
    """Load a model with hooks: `smollm2-135m`, a hub id, a checkpoint directory or a `.gguf`.

    `dtype` is float32 unless given; `device` is the first GPU where there is one. Masked
    language models such as BERT are recognised by their config. Code that comes with a
    model runs only with `trust_remote_code=True`. Raises ModelError.
    """
    place, kind = place_of(device), dtype_of(dtype)
    source = locate(name_or_path, revision, trust_remote_code)
    with without_bars():
        model = _read(source, kind, trust_remote_code).to(place).eval()
        bridge = _bridge(source, model, trust_remote_code)
    bridge.cfg.model_name = source.name
    bridge.cfg.revision = source.revision
    return bridge


def _read(source: Checkpoint, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """The plain Hugging Face model, in a class that holds every weight it needs."""
    from transformers import AutoConfig

    # False, not None: with None transformers asks on the terminal.
    trust = {"trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source.folder, **trust)
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError("it is an encoder-decoder, whose two stacks no single plan describes")
        model, info = _auto_class(config).from_pretrained(
            source.folder, config=config, dtype=dtype, output_loading_info=True, **trust
        )
    except Exception as error:  # each file format has its own errors
        raise _load_error(source, error) from error
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{source.name} lacks {len(missing)} weights of {type(model).__name__}, such as "
            f"{missing[0]}, which would be random; use a checkpoint with its language-model head"
        )
    # A checkpoint may name its bare encoder here; the bridge looks its adapter up by this.
    model.config.architectures = [type(model).__name__]
    return model


def _auto_class(config: Any) -> Any:
    """AutoModelForMaskedLM for encoders, AutoModelForCausalLM for everything else.

    A config that names no head (`BertModel`, or nothing) counts as an encoder where its
    family has a masked-LM class and it is not set up as a decoder.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForCausalLM, AutoModelForMaskedLM

    architecture = (getattr(config, "architectures", None) or [""])[0]
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return AutoModelForCausalLM
    decoder = getattr(config, "is_decoder", False)
    masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not decoder
    return AutoModelForMaskedLM if masked else AutoModelForCausalLM


def _bridge(source: Checkpoint, model: Any, trust_remote_code: bool) -> TransformerBridge:
    from transformer_lens.model_bridge import TransformerBridge

    tokenizer = _tokenizer(source, trust_remote_code)
    try:
        bridge = TransformerBridge.boot_transformers(
            str(source.folder),
            hf_model=model,
            tokenizer=tokenizer,
            dtype=model.dtype,
            device=model.device,
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # an architecture that TransformerLens does not know
        raise _load_error(source, error) from error
    keep_own_tokenizer(bridge, tokenizer)
    return bridge


def keep_own_tokenizer(bridge: TransformerBridge, tokenizer: Any) -> None:
    """Put the checkpoint's tokenizer in place of the bridge's, which always prepends a BOS token.

    Benchmarks and captures read text as the model's makers do; `bridge.to_tokens` and
    `bridge("text")` still prepend BOS unless told otherwise, as everywhere in TransformerLens.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import detect_tokenizer_bos_eos

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Not through the property: its setter would make the tokenizer prepend BOS again.
    bridge._tokenizer = tokenizer
    found = detect_tokenizer_bos_eos(tokenizer)
    bridge.cfg.tokenizer_prepends_bos, bridge.cfg.tokenizer_appends_eos = found


def _tokenizer(source: Checkpoint, trust_remote_code: bool) -> Any:
    """The checkpoint's own tokenizer, read from disk because the bridge reads it there again."""
    from transformers import AutoTokenizer

    cause, reason = None, "no tokenizer files"
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=trust_remote_code
        )
        # Without files, transformers makes up one that knows its special tokens alone.
        if len(tokenizer) > len(tokenizer.all_special_tokens):
            return tokenizer
    except Exception as error:  # missing, damaged, or code of its own
        if "trust_remote_code" in str(error):
            raise _load_error(source, error) from error
        cause, reason = error, first_line(error)
    raise ModelError(
        f"{source.name} has no tokenizer that can be read from {source.folder} ({reason}); "
        "save it there with tokenizer.save_pretrained"
    ) from cause


def _load_error(source: Checkpoint, error: Exception) -> ModelError:
    if "trust_remote_code" in str(error):
        return ModelError(
            f"{source.name} runs code of its own; "
            "read it, and pass trust_remote_code=True if you trust it"
        )
    return ModelError(f"{source.name} cannot be loaded from {source.folder}: {first_line(error)}")
