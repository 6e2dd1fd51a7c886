"""Which model a bridge holds: its name, revision and dtype, and a digest of its weights."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_accelerate import hook_of
from ..borrowed.of_transformer_lens import plain_name
from ..borrowed.of_transformers import TOKENIZER_SETTINGS, revision_of
from ..digests import digest
from ..errors import ModelError
from ..tables import MODEL
from .copies import quantised_by
from .manifest import fingerprint
from .settings import settings

# What a tokenizer holds beside its rules.
_TOKENIZER = (
    *("special_tokens_map", "chat_template", *TOKENIZER_SETTINGS),
    *("split_special_tokens", "clean_up_tokenization_spaces", "add_prefix_space"),
)


def identity(model: TransformerBridge) -> dict[str, Any]:
    """Which model this is: model, revision, dtype, n_layers, d_model.

    A quantised model's dtype says how: `bfloat16+torchao` computes in bfloat16.
    The revision is a hub commit or version where one is known, otherwise the hash of the
    checkpoint's files, and None for a model made in memory. Bridges that were booted
    without `load_model` are named as well as they can be.

    Args:
        model: A model with hooks.

    Returns:
        These facts by name.

    Example:
        >>> identity(model)["n_layers"], identity(model)["dtype"]
        (6, 'float32')
    """
    config = model.original_model.config
    revision = getattr(model.cfg, "revision", None) or revision_of(config)
    if revision is None and config.name_or_path:
        # Booted by the user; hashing takes about a second per GB, so only when asked, and once.
        revision = model.cfg.revision = fingerprint(Path(config.name_or_path))
    return {
        "model": str(model.cfg.model_name),
        "revision": revision,
        # The bridge's own cfg.dtype says float32 for any model handed to it ready-made.
        "dtype": _format(model.original_model),
        "n_layers": int(model.cfg.n_layers),
        "d_model": int(model.cfg.d_model),
    }


def model_columns(model: TransformerBridge) -> dict[str, Any]:
    """What every table says of its model: model, revision and dtype, out of `identity`."""
    facts = identity(model)
    return {name: facts[name] for name in MODEL}


def _format(root: Any) -> str:
    dtype = str(next(root.parameters()).dtype).removeprefix("torch.")
    method = quantised_by(root.config)
    return dtype if method is None else f"{dtype}+{method}"


@torch.no_grad()
def weights_digest(model: TransformerBridge) -> str:
    """A digest of the model as it is in memory now: another one after any edit of what it computes.

    Of every parameter and buffer, the config, and what modules hold besides (see `settings`).
    Takes about a second per GB, for which the weights of a model on a GPU come to the processor
    one by one.

    Args:
        model: A model with hooks.

    Returns:
        Sixteen hexadecimal digits.

    Raises:
        ModelError: for weights that are on no device and cannot be fetched.

    Example:
        >>> before = weights_digest(model)
        >>> with painters.patching.weights_swapped(model, 2, 3):
        ...     weights_digest(model) == before
        False
    """
    found = hashlib.sha256(json.dumps(settings(model), sort_keys=True).encode())
    original = model.original_model
    for tensors in (dict(original.named_parameters()), dict(original.named_buffers())):
        for name in sorted({*tensors} - _repeated(original, tensors)):
            _update(found, name, _value(original, name, tensors[name]))
    return found.hexdigest()[:16]


def _repeated(model: Any, tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """Tied weights that stand there a second time: accelerate parts those that it offloads."""
    names = {plain_name(name): name for name in tensors}
    pairs = dict(getattr(model, "all_tied_weights_keys", None) or {}).items()
    return {
        names[one]
        for one, other in pairs
        if one in names
        and other in names
        and torch.equal(*(_value(model, names[k], tensors[names[k]]).cpu() for k in (one, other)))
    }


def _value(model: Any, name: str, tensor: torch.Tensor) -> torch.Tensor:
    return _fetched(model, name) if tensor.is_meta else tensor


def _fetched(model: Any, name: str) -> torch.Tensor:
    """A tensor that accelerate keeps elsewhere until it is needed."""
    place, _, own = name.rpartition(".")
    weights = getattr(hook_of(model.get_submodule(place)), "weights_map", None)
    if weights is None:
        raise ModelError(f"{name} has no values (it is on the meta device); load the weights first")
    tensor: torch.Tensor = weights[own]
    return tensor


def _update(found: Any, name: str, tensor: torch.Tensor) -> None:
    found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
    if hasattr(tensor, "__tensor_flatten__"):  # quantised: several tensors behind one
        for part in tensor.__tensor_flatten__()[0]:
            _update(found, f"{name}.{part}", getattr(tensor, part))
        return
    found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def tokenizer_digest(tokenizer: Any) -> str:
    """A digest of a tokenizer as it is in memory: its vocabulary, every rule, the chat template.

    How it pads and cuts is not in it, for that changes with every use.

    Args:
        tokenizer: A tokenizer, or none.

    Returns:
        Sixteen hexadecimal digits.

    Example:
        >>> len(tokenizer_digest(model.tokenizer))
        16
    """
    facts: dict[str, Any] = {name: repr(getattr(tokenizer, name, None)) for name in _TOKENIZER}
    facts["class"] = type(tokenizer).__qualname__
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        facts["rules"] = {k: v for k, v in rules.items() if k not in ("padding", "truncation")}
    elif tokenizer is not None:
        facts["files"] = _saved(tokenizer)
    return digest(facts)


def _saved(tokenizer: Any) -> dict[str, str]:
    """The vocabulary of a tokenizer written in Python, as digests of the files it would save."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_vocabulary(folder)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    added = json.dumps(sorted(tokenizer.get_added_vocab().items())).encode()
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in (files | {"added": added}).items()
    }
