"""What a user hands over as a model, and the hooked model that it means."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

from ..borrowed.of_torch import is_compiled
from ..borrowed.of_transformers import revision_of
from ..errors import ModelError, UnsupportedModelError
from .cache import cache_folder
from .device import dtype_of
from .loading import load_checkpoint
from .manifest import stamps
from .placement import DeviceMap, Placement
from .quiet import first_line
from .sources import locate
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


def load_model(
    model: Model,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    *,
    tokenizer: Any = None,
    ignore_unused: bool = False,
    device_map: DeviceMap | None = None,
    offload_folder: str | Path | None = None,
) -> TransformerBridge:
    """Load a model with hooks, or give hooks to one in memory.

    Args:
        model: `smollm2-135m`, `minilm-l6`, a hub id, a checkpoint directory or a `.gguf` file; or
            a Hugging Face model in memory, which `as_model` says more about; or a recipe (`.json`),
            which is opened as a planned model, under its plan until it is closed; or such a planned
            model, which is returned as it is. Masked language models such as BERT are recognised by
            their config; where the checkpoint has no such head (`minilm-l6` has none), or one that
            TransformerLens does not know, the encoder alone is loaded: of BERT, RoBERTa, XLM-R,
            CamemBERT, data2vec, DistilBERT, ELECTRA and ERNIE.
        device: The first GPU where there is one, unless given.
        dtype: float32 unless given; what is quantised stays in the format that its file says.
        revision: Of a hub id: a commit, tag or branch.
        trust_remote_code: Whether code that comes with a model may run.
        tokenizer: One to be used in place of the checkpoint's own; for a model in memory, that
            of the folder or hub id it came from is found without it.
        ignore_unused: Whether weights of layers may be left over: a config that counts fewer
            layers than there are, or knows a part of them only. Heads of other purposes may
            always be.
        device_map: For a model that is too large for one device: how accelerate spreads its
            modules. "auto", "balanced", "balanced_low_0" and "sequential" fill the GPUs that there
            are; a dict names the device of every module, where "disk" leaves it in its file until
            it is called. Layers on GPUs and on the processor or disk at once, TransformerLens
            cannot hook.
        offload_folder: Where "disk" puts what cannot stay in the checkpoint's own files.

    Returns:
        The bridge, in evaluation mode; a model in memory stays in the mode it is in.

    Raises:
        ModelError: where the model or its tokenizer cannot be found, fetched or read, where its
            config and its weights are of two models, and for devices that are not here.
        UnsupportedModelError: for an architecture or a device map that TransformerLens cannot hook.

    Example:
        >>> load_model(model.original_model) is model  # in memory, and hooked already
        True
    """
    if not isinstance(model, str | Path):
        _refuse_options(
            device=device,
            dtype=dtype,
            revision=revision,
            device_map=device_map,
            offload_folder=offload_folder,
        )
        if isinstance(model, StandsForModel):
            _refuse_options(tokenizer=tokenizer)
            _ = model.bridge  # refuses what is closed
            return model  # whoever had the bridge alone would not hold the plan
        return as_model(model, tokenizer)
    if Path(model).suffix == ".json" and Path(model).expanduser().is_file():
        from ..deployment.recipes import opened

        _refuse_options(revision=revision)
        return opened(
            Path(model).expanduser(),
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            tokenizer=tokenizer,
            ignore_unused=ignore_unused,
            device_map=device_map,
            offload_folder=offload_folder,
        )
    place = Placement.of(device, device_map, offload_folder)
    kind = None if dtype is None else dtype_of(dtype)
    source = locate(model, revision, trust_remote_code)
    return load_checkpoint(source, place, kind, trust_remote_code, tokenizer, ignore_unused)


def _refuse_options(**options: Any) -> None:
    """What says how to load has no say over what is in memory."""
    for name, value in options.items():
        if value is not None:
            raise ModelError(
                f"{name}={str(value)!r} applies to models that are loaded; "
                "change one in memory before it is handed over"
            )


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
