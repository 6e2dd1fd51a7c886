"""How far plans move a model's predictions: KL divergence from the intact model, row by row."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..plans import Plan
from ..progress import Advance
from ..strategies import full
from .guards import user_hooks
from .prefix_walk import Head, Recording, read_out, walk
from .watched import logits_at


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
    plan = full(len(model.blocks))
    if user_hooks(model):  # then `read_out` goes by logits, too
        intact = logits_at(model, plan, recording.tokens, recording.mask, rows)
    else:
        [(_, stream)] = walk(model, [plan], recording)
        intact = stream[rows[:, 0], rows[:, 1]]
    found = read_out(
        model, plans, recording, rows, lambda logits_of: _Against(intact, logits_of), advance
    )
    return found.squeeze(-1)


class Predicted(NamedTuple):
    """What a model predicts at some rows: in nats, and as probabilities."""

    logprobs: Float[Tensor, "row vocab"]
    probabilities: Float[Tensor, "row vocab"]

    @classmethod
    def by(cls, logits: Float[Tensor, "row vocab"]) -> "Predicted":
        """The predictions that `logits` stand for."""
        logprobs = logits.log_softmax(-1)
        return cls(logprobs, logprobs.exp())

    def at(self, rows: Int[Tensor, " row"]) -> "Predicted":
        """The predictions at some of the rows."""
        return Predicted(self.logprobs[rows], self.probabilities[rows])

    def divergence(self, logits: Float[Tensor, "*plan row vocab"]) -> Float[Tensor, "*plan row"]:
        """KL(these || those of `logits`) in nats, row by row.

        Infinite where `logits` exclude (-inf) what is likely here; NaN where anything is NaN.
        """
        apart = logits.log_softmax(-1)
        torch.sub(self.logprobs, apart, out=apart)
        # What is excluded here adds nothing, whatever the others make of it; NaN is not excluded.
        apart.masked_fill_(self.probabilities == 0, 0)
        # A sum of products in pairs: a matrix product would add up with a thousand times the error.
        return apart.mul_(self.probabilities).sum(-1)


class _Against:
    """Reads the divergence from the intact model, whose predictions it holds for one span of rows.

    `read_out` comes to a span with many plans before it goes on, so they are seldom made anew.
    """

    def __init__(self, intact: Float[Tensor, "row d_model"], logits_of: Head) -> None:
        self._intact, self._logits_of = intact, logits_of
        self._held: tuple[slice, Predicted] | None = None

    def __call__(
        self, logits: Float[Tensor, "plan row vocab"], span: slice
    ) -> Float[Tensor, "plan row 1"]:
        if self._held is None or self._held[0] != span:
            expected = self._logits_of(self._intact[span]).to(logits.dtype)
            self._held = span, Predicted.by(expected)
        return self._held[1].divergence(logits).unsqueeze(-1)
