"""Fine-tuning under a plan: all weights of a copy learn, with the altered execution in place.

Gradients go through the plan, parallel groups and loops included; the model itself stays as it is.
"""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformer_lens.model_bridge import TransformerBridge

from ..execution import applied
from ..models import device_of, weights_digest, wrapped
from ..plans import Plan
from ..progress import Advance
from ..texts import Batch, pad_of, padded
from .examples import Examples
from .features import Sequences, pooled, types_of
from .training import FORWARD_AND_BACK, Kept, Tuning, faithful_copy, learning_from, train


class Tuned(nn.Module):
    """A copy of the model, and a linear head on its pooled final states.

    The head begins with the default initialisation of `nn.Linear`, drawn from torch's generator.
    """

    def __init__(self, model: TransformerBridge, outputs: int, pool: str) -> None:
        super().__init__()
        root, self.pool = faithful_copy(model), pool
        self.bridge = wrapped(root, model.tokenizer, str(model.cfg.model_name))
        weight = next(root.parameters())
        self.head = nn.Linear(int(model.cfg.d_model), outputs).to(weight.device, weight.dtype)

    def forward(self, batch: Batch, types: dict[str, Tensor]) -> Float[Tensor, "text output"]:
        root = self.bridge.original_model.base_model
        inputs = {"input_ids": batch.tokens, "attention_mask": batch.mask, **types}
        states = root(**inputs).last_hidden_state
        scores: Tensor = self.head(pooled(states, batch.mask, self.pool))
        return scores

    def weights(self) -> list[nn.Parameter]:
        """What is trained; the head of the language model is not."""
        return [*self.bridge.original_model.base_model.parameters(), *self.head.parameters()]


def tuning_calls(tuning: Tuning, plan: Plan, learnt: Sequences, scored: Sequences) -> int:
    """Token-layer calls that training and scoring take."""
    tokens = FORWARD_AND_BACK * tuning.epochs * sum(map(len, learnt.ids))
    return (tokens + sum(map(len, scored.ids))) * len(plan.calls)


def tuned_answers(
    model: TransformerBridge,
    plan: Plan,
    task: Examples,
    learnt: Sequences,
    scored: Sequences,
    pool: str,
    seed: int,
    tuning: Tuning,
    advance: Advance = lambda calls: None,
) -> Float[np.ndarray, " question"]:
    """Answers of a copy of `model` that was trained under `plan`; NaN where it computes none."""
    with learning_from(model, seed):
        tuned = Tuned(model, len(task.classes) or 1, pool)
        with applied(tuned.bridge, plan):
            loss = partial(_loss, tuned, task, learnt)
            tuned.train()
            train(
                tuned.weights(),
                loss,
                [len(ids) for ids in learnt.ids],
                tuning,
                seed,
                _kept(model, plan, task, pool, seed, tuning),
                len(plan.calls),
                advance,
            )
            return _answers(tuned, task, scored, tuning, len(plan.calls), advance)


def _kept(
    model: TransformerBridge, plan: Plan, task: Examples, pool: str, seed: int, tuning: Tuning
) -> Kept:
    if tuning.folder is None:  # weights are hashed for nothing
        return Kept(None)
    return Kept.of(tuning, weights_digest(model), plan, task.digest(), pool, seed)


def _loss(tuned: Tuned, task: Examples, learnt: Sequences, rows: list[int]) -> Tensor:
    scores = tuned(*_batch(tuned, learnt, rows))
    right = torch.as_tensor(task.train.right[rows], device=scores.device)
    if task.classes:
        return cross_entropy(scores, right.long())
    return mse_loss(scores[:, 0], right.to(scores.dtype))


def _batch(tuned: Tuned, texts: Sequences, rows: list[int]) -> tuple[Batch, dict[str, Tensor]]:
    batch = padded(texts.ids, rows, device_of(tuned.bridge), pad_of(tuned.bridge))
    return batch, types_of(texts, batch)


@torch.no_grad()
def _answers(
    tuned: Tuned, task: Examples, scored: Sequences, tuning: Tuning, calls: int, advance: Advance
) -> Float[np.ndarray, " question"]:
    tuned.eval()
    found = np.empty(len(scored.ids))
    for start in range(0, len(scored.ids), tuning.batch):
        rows = [*range(start, min(start + tuning.batch, len(scored.ids)))]
        scores = tuned(*_batch(tuned, scored, rows)).cpu().double()
        answers = scores.argmax(dim=1).double() if task.classes else scores[:, 0]
        known = scores.isfinite().all(dim=1)
        found[rows] = answers.masked_fill(~known, torch.nan).numpy()
        advance(calls * sum(len(scored.ids[row]) for row in rows))
    return found
