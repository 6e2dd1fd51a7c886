"""How far plans move a model's predictions: KL divergence from the intact model, row by row."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..plans import Plan
from ..strategies import full
from .prefix_walk import Advance, Head, Recording, read_out, walk


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


class _Predicted(NamedTuple):
    """What the intact model predicts at some rows; `excluded` only if it excludes any token."""

    logprobs: Float[Tensor, "row vocab"]
    probabilities: Float[Tensor, "row vocab"]
    excluded: Bool[Tensor, "row vocab"] | None


class _Against:
    """Reads the divergence from the intact model, whose predictions it holds for one span of rows.

    `read_out` comes to a span with many plans before it goes on, so they are seldom made anew.
    """

    def __init__(self, intact: Float[Tensor, "row d_model"], logits_of: Head) -> None:
        self._intact, self._logits_of = intact, logits_of
        self._held: tuple[slice, _Predicted] | None = None

    def __call__(
        self, logits: Float[Tensor, "plan row vocab"], span: slice
    ) -> Float[Tensor, "plan row 1"]:
        if self._held is None or self._held[0] != span:
            self._held = span, self._predicted(span, logits.dtype)
        intact = self._held[1]
        apart = logits.log_softmax(-1)
        torch.sub(intact.logprobs, apart, out=apart)
        if intact.excluded is not None:  # they add nothing, whatever the plan makes of them
            apart.masked_fill_(intact.excluded, 0)
        # A sum of products in pairs: a matrix product would add up with a thousand times the error.
        return apart.mul_(intact.probabilities).sum(-1, keepdim=True)

    def _predicted(self, span: slice, dtype: torch.dtype) -> _Predicted:
        logprobs = self._logits_of(self._intact[span]).to(dtype).log_softmax(-1)
        excluded = logprobs.isneginf()
        return _Predicted(logprobs, logprobs.exp(), excluded if excluded.any() else None)
