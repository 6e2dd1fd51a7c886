"""Log-probabilities of tokens under many plans."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import several
from ..errors import TextError, UnsupportedModelError
from ..models import Model, as_model, of_planned
from ..plans import Plan
from ..progress import Advance
from ..texts import TokenIds, as_tokens
from .application import as_plan, ready
from .guards import measuring
from .plain import face_of
from .prefix_walk import Recording, read_out, record_on


@dataclass(frozen=True, eq=False)
class Scores:
    """Per plan and target: log-probability in nats, and whether the target was the argmax."""

    logprobs: Float[Tensor, "plan row target"]
    greedy: Bool[Tensor, "plan row target"]


def score_targets(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    sources: Int[Tensor, "row 2"],
    targets: Int[Tensor, "row target"],
    advance: Advance = lambda calls: None,
) -> Scores:
    """Score target tokens from the residual row (batch, pos) that predicts them, under each plan.

    Logits are computed at `sources` only, once for all targets of a row.
    """
    each = targets.shape[1]

    def read(logits: Tensor, span: slice) -> Tensor:
        target = targets[span].expand(len(logits), -1, -1)
        largest = logits.max(-1, keepdim=True)
        own = logits.gather(-1, target) - largest.values
        # In place, for nobody else reads them: with room made anew it takes twice as long.
        total = logits.sub_(largest.values).exp_().sum(-1, keepdim=True)
        return torch.cat([own - total.log(), (largest.indices == target).to(own)], dim=-1)

    found = read_out(model, plans, recording, sources, lambda logits_of: read, advance)
    return Scores(found[..., :each], found[..., each:].bool())


def likeliest(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    sources: Int[Tensor, "row 2"],
    top: int,
    advance: Advance = lambda calls: None,
) -> tuple[Int[Tensor, "plan row top"], Float[Tensor, "plan row top"]]:
    """The likeliest next tokens at the residual rows (batch, pos), and their log-probabilities."""

    def read(logits: Tensor, span: slice) -> Tensor:
        best = logits.topk(top, dim=-1)
        logprobs = best.values - logits.logsumexp(-1, keepdim=True)
        return torch.cat([best.indices.to(logprobs), logprobs], dim=-1)

    found = read_out(model, plans, recording, sources, lambda logits_of: read, advance)
    return found[..., :top].long(), found[..., top:]


def refuse_bidirectional(model: TransformerBridge) -> None:
    """Raise UnsupportedModelError for a model whose tokens see later ones: it predicts no next."""
    if not ready(model).causal:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is a masked language model, or bidirectional: it has no "
            "next-token probabilities (`classify` and `readers` read its states)"
        )


@of_planned
def token_logprobs(
    model: Model,
    plans: Plan | str | Sequence[Plan | str],
    tokens: TokenIds,
    attention_mask: TokenIds | None = None,
) -> Float[Tensor, "plan batch next"]:
    """Log-probability in nats of every token given the real tokens before it, under each plan.

    Entry t is log p(token t+1 | real tokens up to t), in float32 (float64 for a float64 model);
    NaN where token t+1 is padding or has only padding before it. Positions are derived from the
    mask, so left and right padding give the same numbers.

    Args:
        model: a bridge, a Hugging Face model, or a name.
        plans: one or several; all share one walk.
        tokens: ids, (batch, pos).
        attention_mask: 1 on real tokens; None if all are.

    Returns:
        Nats, (plan, batch, pos - 1), on the model's device.

    Raises:
        UnsupportedModelError: a masked language model, which has no next token.
        TextError: no batch of sequences of two tokens or more, or ids without an embedding.

    Example:
        >>> token_logprobs(model, ["0-5", plan], [[5, 6, 7], [8, 9, 10]]).shape
        torch.Size([2, 2, 2])
    """
    model = as_model(model)
    refuse_bidirectional(model)
    tokens = as_tokens(model, tokens)
    if tokens.shape[1] < 2:
        raise TextError(f"tokens have shape {tuple(tokens.shape)}; (batch, pos >= 2) is needed")
    if attention_mask is not None:
        attention_mask = torch.as_tensor(attention_mask).to(tokens)
    real = torch.ones_like(tokens) if attention_mask is None else attention_mask
    checked = [as_plan(plan, model) for plan in several(plans, str, Plan)]
    # The row that predicts token t+1 is the last real token at or before t.
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    previous = torch.where(real.bool(), positions, -1).cummax(dim=1).values[:, :-1]
    batch, pos = torch.nonzero(real[:, 1:].bool() & (previous >= 0), as_tuple=True)
    sources = torch.stack([batch, previous[batch, pos]], dim=1)
    with measuring(model):
        recording = record_on(face_of(model, checked), model, tokens, attention_mask)
        scores = score_targets(model, checked, recording, sources, tokens[batch, pos + 1, None])
    shape = (len(checked), tokens.shape[0], tokens.shape[1] - 1)
    out = scores.logprobs.new_full(shape, torch.nan)
    out[:, batch, pos] = scores.logprobs[..., 0]
    return out
