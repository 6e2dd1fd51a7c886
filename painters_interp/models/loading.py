"""From a checkpoint folder to a hooked model, and what that model is called in tables."""

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError, UnsupportedModelError
from .capacity import refuse_impossible_config
from .copies import quantised_by
from .headless import adapted, encoder_class
from .manifest import fingerprint, stamps
from .placement import Placement
from .quiet import first_line, without_bars
from .sources import Checkpoint
from .wrapping import unadapted, wrapped

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only loading a model is worth them
    TransformerBridge = Any

_IN_LAYERS = re.compile(r"\.\d+\.")


def load_checkpoint(
    source: Checkpoint,
    place: Placement | None = None,
    dtype: torch.dtype | None = None,
    trust_remote_code: bool = False,
    tokenizer: Any = None,
    ignore_unused: bool = False,
) -> TransformerBridge:
    """The hooked model of a folder, called by the name that the user knows."""
    refuse_impossible_config(source.folder, source.name)
    tokenizer = _tokenizer(source, trust_remote_code) if tokenizer is None else tokenizer
    place = Placement() if place is None else place
    with without_bars(), _revision(source) as revision:
        model = _read(source, place, dtype, trust_remote_code, ignore_unused)
        model = place.placed(model).eval()
    bridge = wrapped(model, tokenizer, source.name, trust_remote_code)
    bridge.cfg.revision, bridge.cfg.origin = revision(), source.origin
    return bridge


@contextmanager
def _revision(source: Checkpoint) -> Iterator[Callable[[], str | None]]:
    """What revision is read inside: a folder's files are hashed meanwhile, not when it is asked."""
    if source.revision is not None:
        yield lambda: source.revision
        return
    before = stamps(source.folder)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(fingerprint, source.folder)
        yield found.result
    if stamps(source.folder) != before:
        raise ModelError(f"{source.folder} was changed while it was loaded; load it again")


def _read(
    source: Checkpoint,
    place: Placement,
    dtype: torch.dtype | None,
    trust_remote_code: bool,
    ignore_unused: bool,
) -> Any:
    """The plain Hugging Face model, in a class that holds every weight it needs."""
    model, info = _from_files(source, place, dtype, trust_remote_code)
    if missing := sorted(info["missing_keys"]):
        raise _incomplete(source, model, missing)
    # A head that is not wanted has no number in its name.
    unused = sorted(name for name in info["unexpected_keys"] if _IN_LAYERS.search(name))
    if unused and not ignore_unused:
        raise ModelError(
            f"{source.name} has {len(unused)} weights in its layers that {type(model).__name__} of "
            f"this config does not use, such as {unused[0]}; give the config that belongs to them, "
            "or pass ignore_unused=True"
        )
    return model


def _incomplete(source: Checkpoint, model: Any, missing: list[str]) -> ModelError:
    """What to do about weights that are missing, unless all of them would be of no use, too."""
    if not adapted(type(model).__name__):
        return UnsupportedModelError(f"{source.name} cannot be given hooks: {unadapted(model)}")
    inner = [name for name in missing if _IN_LAYERS.search(name)]
    return ModelError(
        f"{source.name} lacks {len(missing)} weights of {type(model).__name__}, such as "
        f"{(inner or missing)[0]}, which would be random; use a checkpoint "
        + (
            "that is whole, and the config that is its own"
            if inner
            else "with its language-model head"
        )
    )


def _refuse_other_format(config: Any, dtype: torch.dtype | None, name: str) -> None:
    """Refuse another number format than that in which torchao multiplies what it has quantised."""
    own = getattr(config, "dtype", None)
    if quantised_by(config) == "torchao" and None not in (own, dtype) and own != dtype:
        raise ModelError(
            f"{name} is quantised by torchao, which multiplies its weights in "
            f"{str(own).removeprefix('torch.')} alone; leave dtype out, or load the checkpoint "
            "that it was made from"
        )


def _from_files(
    source: Checkpoint, place: Placement, dtype: torch.dtype | None, trust_remote_code: bool
) -> tuple[Any, Any]:
    """The model and what transformers says of its weights; an encoder alone where no head is."""
    from transformers import AutoConfig, AutoModel

    # False, not None: with None transformers asks on the terminal.
    trust = {"trust_remote_code": trust_remote_code}

    def read(auto: Any, **options: Any) -> tuple[Any, Any]:
        return auto.from_pretrained(  # type: ignore[no-any-return]
            source.folder,
            config=config,
            dtype=kind,
            output_loading_info=True,
            **place.options,
            **trust,
            **options,
        )

    try:
        config = AutoConfig.from_pretrained(source.folder, **trust)
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError("it is an encoder-decoder, whose two stacks no single plan describes")
        _refuse_other_format(config, dtype, source.name)
        # Other libraries multiply what they have quantised in the format that it was quantised in.
        kind = dtype or ("auto" if quantised_by(config) else torch.float32)
        model, info = read(_auto_class(config))
        if _is_encoder_alone(model, info["missing_keys"]):
            # What a pooler makes of the final states, no function here reads.
            model, info = read(AutoModel, **_WITHOUT_POOLER.get(config.model_type, {}))
    except ModelError:
        raise
    except Exception as error:  # each file format has its own errors
        raise _load_error(source, error) from error
    return model, info


_NO_POOLER = {"add_pooling_layer": False}
_POOLED = ("bert", "camembert", "data2vec-text", "ernie", "roberta", "xlm-roberta")
_WITHOUT_POOLER = dict.fromkeys(_POOLED, _NO_POOLER)


def _is_encoder_alone(model: Any, missing: Iterable[str]) -> bool:
    """Whether a head is all that is missing, or has no adapter, of an encoder that can do without.

    Decoders are loaded with their heads: theirs predict what plans are judged by.
    """
    encoder = encoder_class(model.config)
    if encoder is None or type(model).__name__.endswith(("ForCausalLM", "LMHeadModel")):
        return False
    lacking = [name for name in missing if not name.startswith(f"{model.base_model_prefix}.")]
    return not adapted(type(model).__name__) or (bool(lacking) and len(lacking) == len([*missing]))


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


def _tokenizer(source: Checkpoint, trust_remote_code: bool) -> Any:
    """The checkpoint's own tokenizer."""
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
        "save it there with tokenizer.save_pretrained, or give tokenizer=..."
    ) from cause


def _load_error(source: Checkpoint, error: Exception) -> ModelError:
    if "trust_remote_code" in str(error):
        return ModelError(
            f"{source.name} runs code of its own; "
            "read it, and pass trust_remote_code=True if you trust it"
        )
    reason = first_line(error)
    if "ignore_mismatched_sizes" in reason:
        reason = "its config.json and its weights differ in size; give the config that is theirs"
    return ModelError(f"{source.name} cannot be loaded from {source.folder}: {reason}")
