"""A model that carries hooks of the user: they see one whole sequence at a time, without pads.

Packed rows, pads and heads run on rows of one token are this package's own ways, and a hook that
acts at a position would act somewhere else there.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import UnsupportedModelError
from ..models import refuse_headless
from ..plans import Plan
from .application import applied
from .guards import user_hooks

# What runs before the final norm: hooks there have acted when a stream is read out.
_BEFORE = ("blocks", "steps", "embed", "pos_embed", "rotary_emb", "embed_ln")


def logits_at(
    model: TransformerBridge,
    plan: Plan,
    tokens: Int[Tensor, "batch pos"] | None,
    mask: Int[Tensor, "batch pos"] | None,
    sources: Int[Tensor, "row 2"],
) -> Float[Tensor, "row vocab"]:
    """Logits under `plan` at some (batch, pos), each sequence in a pass of its own, hooks on.

    Raises UnsupportedModelError where the rows were packed, which hooks would see, and for an
    encoder without a head.
    """
    refuse_headless(model)
    if tokens is None:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} carries hooks at {_named(user_hooks(model))}, which would see "
            "several sequences packed in one row; give them in rows of their own"
        )
    real = torch.ones_like(tokens) if mask is None else mask
    places = real.cumsum(dim=1) - 1  # of each column in its sequence, where that is real
    found: Tensor | None = None
    with applied(model, plan):
        for row in sorted(set(sources[:, 0].tolist())):
            alone = tokens[row][real[row].bool()][None]
            logits = model(alone, attention_mask=torch.ones_like(alone))[0]
            asked = sources[:, 0] == row
            if found is None:
                found = logits.new_empty((len(sources), logits.shape[-1]))
            found[asked] = logits[places[row, sources[asked, 1]]]
    assert found is not None
    return found


def refuse_hooked_head(model: TransformerBridge) -> bool:
    """Whether the model carries hooks, none of them where streams are read out.

    Raises UnsupportedModelError for hooks there: they would see rows of one token.
    """
    names = user_hooks(model)
    behind = [name for name in names if name.partition(".")[0] not in _BEFORE]
    if behind:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} carries hooks at {_named(behind)}, behind its layers, where "
            "they would see rows of one token here; take them off (model.reset_hooks())"
        )
    return bool(names)


def _named(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
