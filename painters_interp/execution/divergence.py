"""How far plans move a model's predictions: KL divergence from the intact model, row by row."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..plans import Plan
from ..strategies import full
from .runner import Advance, Head, Recording, read_out, walk


@torch.no_grad()
def divergences(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    rows: Int[Tensor, "row 2"],
    advance: Advance = lambda calls: None,
) -> Float[Tensor, "plan row"]:
    """KL(intact || plan) in nats between the predictions at the residual rows (batch, pos).

    Float32 (float64 for a float64 model); infinite where a plan excludes what the intact model
    allows, zero up to rounding for the intact model itself. The intact model is walked once more
    than the plans ask for, without telling `advance`. Besides what the walk holds, memory grows
    with d_model times the rows, and not with rows times vocabulary.
    """
    [(_, stream)] = walk(model, [full(len(model.blocks))], recording)
    intact = stream[rows[:, 0], rows[:, 1]]
    found = read_out(
        model, plans, recording, rows, lambda logits_of: _Against(intact, logits_of), advance
    )
    return found.squeeze(-1)


class _Against:
    """Reads the divergence from the intact model, whose predictions it holds for one span of rows.

    `read_out` comes to a span with many plans before it goes on, so they are seldom made anew.
    """

    def __init__(self, intact: Float[Tensor, "row d_model"], logits_of: Head) -> None:
        self._intact, self._logits_of = intact, logits_of
        self._held: tuple[slice, Tensor] | None = None

    def __call__(
        self, logits: Float[Tensor, "plan row vocab"], span: slice
    ) -> Float[Tensor, "plan row 1"]:
        if self._held is None or self._held[0] != span:
            predicted = self._logits_of(self._intact[span]).to(logits.dtype)
            self._held = span, predicted.log_softmax(-1)
        ours = self._held[1]
        # A token that the intact model excludes adds nothing, whatever the plan makes of it.
        apart = (ours - logits.log_softmax(-1)).masked_fill_(ours.isneginf(), 0)
        found: Tensor = torch.linalg.vecdot(ours.exp(), apart)
        return found[..., None]
