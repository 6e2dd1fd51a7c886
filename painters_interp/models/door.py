"""What a user hands over as a model, and the hooked model that it means."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..borrowed.of_torch import is_compiled
from ..borrowed.of_transformers import revision_of
from ..errors import ModelError, UnsupportedModelError
from .cache import cache_folder
from .manifest import stamps
from .quiet import first_line
from .standing import StandsForModel
from .wrapping import bridge_of, refuse_empty, refuse_unusable, remember, wrapped

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel

    Model: TypeAlias = "TransformerBridge | PreTrainedModel | StandsForModel | str | Path"
else:  # importing these takes seconds, and only a model is worth them
    TransformerBridge = Model = Any


class _Named(NamedTuple):
    """A model that was loaded by its name alone, and the files that it was read from."""

    bridge: Any
    folder: Path
    files: list[tuple[str, list[int]]]


_named: dict[tuple[str, Path, Path], _Named] = {}  # the last one


def as_model(model: Model, tokenizer: Any = None) -> TransformerBridge:
    """The hooked model that `model` means; every function that takes a model asks here first.

    Args:
        model: A TransformerBridge, which is returned as it is; a Hugging Face model in memory,
            which is given hooks where it stands, once: the same model gives the same bridge, so
            edits of its weights are seen; or a name or path as `load_model` takes it. The model
            last loaded by its name stays in memory, until another name or other files under it
            are asked for; for all else hold what `load_model` returns.
        tokenizer: For a model in memory, where none can be found under its `name_or_path`.

    Returns:
        The bridge. Wrapping a model in memory changes it in these ways: attention becomes
        eager, modules become components with hook points, and the names in its `state_dict`
        gain `_original_component`; weights, buffers, mode, device and dtype stay.

    Raises:
        ModelError: for anything else, where no tokenizer is found, and for weights on the meta
            device, unless accelerate fetches them.
        UnsupportedModelError: for a bridge around no Hugging Face model, and for an architecture
            that TransformerLens does not know.

    Example:
        >>> as_model(model) is as_model(model.original_model)
        True
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel

    if isinstance(model, StandsForModel):
        return model.bridge
    if isinstance(model, TransformerBridge):
        return _checked(model)
    if isinstance(model, PreTrainedModel):
        known = bridge_of(model)
        return _wrapped(model, tokenizer) if known is None else _checked(known)
    if isinstance(model, str | Path):
        return _loaded(model)
    raise ModelError(_foreign(model))


def _checked(bridge: TransformerBridge) -> TransformerBridge:
    from transformers import PreTrainedModel

    original = getattr(bridge, "original_model", None)
    if not isinstance(original, PreTrainedModel):
        raise UnsupportedModelError(
            f"{bridge.cfg.model_name} is a bridge around {type(original).__name__}, which is no "
            "Hugging Face model (boot_native makes such); use load_model or boot_transformers"
        )
    refuse_empty(original, bridge.cfg.model_name)
    remember(bridge)
    return bridge


def _wrapped(model: Any, tokenizer: Any) -> TransformerBridge:
    name = model.config.name_or_path or type(model).__name__
    refuse_unusable(model, name)
    if tokenizer is None:
        tokenizer = _tokenizer_of(model, name)
    return wrapped(model, tokenizer, Path(name).name if Path(name).is_dir() else name)


def _tokenizer_of(model: Any, name: str) -> Any:
    """The tokenizer under the name a model came from: a folder or a hub id."""
    from transformers import AutoTokenizer

    source, reason = model.config.name_or_path, "it names no folder or hub id that it came from"
    if source:
        try:
            revision = revision_of(model.config)
            return AutoTokenizer.from_pretrained(source, revision=revision)
        except Exception as error:  # missing, damaged, no network
            reason = first_line(error)
    raise ModelError(
        f"no tokenizer was found for {name} ({reason[:120]}); "
        "use model = painters.load_model(model, tokenizer=...)"
    )


def _loaded(name: str | Path) -> TransformerBridge:
    from .loading import load_checkpoint
    from .sources import locate

    key = (str(name), Path(name).expanduser().absolute(), cache_folder())
    last = _named.get(key)
    if last is None or last.files != stamps(last.folder):
        _named.clear()  # before loading: two models may not fit
        source = locate(name, None, False)
        files = stamps(source.folder)
        last = _named[key] = _Named(load_checkpoint(source), source.folder, files)
    return last.bridge


def _foreign(model: Any) -> str:
    """What to do with something that is no model, or one of another kind."""
    kinds = {kind.__name__ for kind in type(model).__mro__}
    name = type(model).__name__
    if kinds & {"HookedTransformer", "HookedEncoder", "HookedRootModule"}:
        advice = "it belongs to an older TransformerLens; load the model by its name or folder"
    elif "PeftModel" in kinds:
        advice = "merge its adapter first: model.merge_and_unload()"
    elif is_compiled(model) or "DataParallel" in kinds:
        advice = "give the model inside it"
    elif model is None or not hasattr(model, "parameters"):
        advice = "a name, a path, a Hugging Face model or a TransformerBridge is one"
    else:
        advice = "give a Hugging Face model (PreTrainedModel), a TransformerBridge, name or path"
    return f"{name} is no model that can be hooked; {advice}"
