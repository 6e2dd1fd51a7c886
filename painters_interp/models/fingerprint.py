"""Which model a bridge holds: its name, revision and dtype, and a digest of its weights."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge

from .conversion import content_hash


def identity(model: TransformerBridge) -> dict[str, Any]:
    """Which model this is: model, revision, dtype, n_layers, d_model.

    The revision is a hub commit or version where one is known, otherwise the hash of the
    checkpoint's files, and None for a model made in memory. Bridges that were booted
    without `load_model` are named as well as they can be.
    """
    config = model.original_model.config
    revision = getattr(model.cfg, "revision", None) or getattr(config, "_commit_hash", None)
    if revision is None:
        # Hashing takes about a second per GB, so only when asked, and once.
        revision = model.cfg.revision = _fingerprint(config.name_or_path)
    return {
        "model": str(model.cfg.model_name),
        "revision": revision,
        # The bridge's own cfg.dtype says float32 for any model handed to it ready-made.
        "dtype": str(next(model.original_model.parameters()).dtype).removeprefix("torch."),
        "n_layers": int(model.cfg.n_layers),
        "d_model": int(model.cfg.d_model),
    }


def _fingerprint(folder: str) -> str | None:
    path = Path(folder)
    weights = sorted([*path.glob("*.safetensors"), *path.glob("*.bin")])
    if not (folder and weights and (path / "config.json").is_file()):
        return None
    return f"sha256:{content_hash(path / 'config.json', *weights)[:16]}"


@torch.no_grad()
def weights_digest(model: TransformerBridge) -> str:
    """A digest of every parameter as it is in memory now: another one after any edit.

    Takes about a second per GB, for which the weights of a model on a GPU come to the processor
    one by one.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.original_model.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
