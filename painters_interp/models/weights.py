"""Telling the weights of two models apart, whatever they are called."""

import hashlib

import torch
from transformer_lens.model_bridge import TransformerBridge


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
