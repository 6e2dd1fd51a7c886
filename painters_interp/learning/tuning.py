"""Fine-tuning under a plan: all weights of a copy learn, with the altered execution in place.

Gradients go through the plan, parallel groups and loops included; the model itself stays as it is.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformer_lens.model_bridge import TransformerBridge

from ..errors import ModelError, UnsupportedModelError
from ..execution import applied, user_hooks
from ..models import copied, device_of, weights_digest
from ..plans import Plan
from ..progress import Advance
from ..storage import write_whole
from ..texts import Batch, pad_of, padded
from .examples import Examples
from .features import Sequences, pooled, types_of

_FORWARD_AND_BACK = 3  # a pass back costs two


@dataclass(frozen=True)
class Tuning:
    """How all weights are trained: AdamW, its rate rising over `warmup` and then falling to 0.

    With `folder`, the state after every epoch is kept there, and a run that was cut off goes on
    from it.
    """

    epochs: int = 3
    rate: float = 5e-5
    batch: int = 32
    warmup: float = 0.1
    decay: float = 0.01
    folder: str | Path | None = None

    def __str__(self) -> str:
        return f"{self.epochs} {self.rate} {self.batch} {self.warmup} {self.decay}"

    def calls(self, plan: Plan, learnt: Sequences, scored: Sequences) -> int:
        """Token-layer calls that training and scoring take."""
        tokens = _FORWARD_AND_BACK * self.epochs * sum(map(len, learnt.ids))
        return (tokens + sum(map(len, scored.ids))) * len(plan.calls)


class Tuned(nn.Module):
    """A copy of the model, and a linear head on its pooled final states.

    The head begins with the default initialisation of `nn.Linear`, drawn from torch's generator.
    """

    def __init__(self, model: TransformerBridge, outputs: int, pool: str) -> None:
        super().__init__()
        self.bridge, self.pool = copied(model), pool
        root = self.bridge.original_model
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


def refuse_untrainable(model: TransformerBridge) -> None:
    """Raise for what cannot be trained as it is: hooks, which a copy lacks; half precision."""
    if names := user_hooks(model):
        raise UnsupportedModelError(
            f"{model.cfg.model_name} carries hooks at {names[0]}, which would not act on the copy "
            "that is trained; take them off (model.reset_hooks())"
        )
    narrow = [p.dtype for p in model.original_model.parameters() if p.itemsize < 4]
    if narrow:
        raise ModelError(
            f"{model.cfg.model_name} is in {str(narrow[0]).removeprefix('torch.')}, in which small "
            "steps of training are lost; load it with dtype float32"
        )


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
    with _seeded(seed):
        tuned = Tuned(model, len(task.classes) or 1, pool)
        with applied(tuned.bridge, plan):
            kept = _Kept.of(model, plan, task, pool, seed, tuning)
            _train(tuned, task, learnt, tuning, seed, kept, len(plan.calls), advance)
            return _answers(tuned, task, scored, tuning, len(plan.calls), advance)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's generators seeded for a while; afterwards they are as they were."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)
        yield


def _train(
    tuned: Tuned,
    task: Examples,
    learnt: Sequences,
    tuning: Tuning,
    seed: int,
    kept: "_Kept",
    calls: int,
    advance: Advance,
) -> None:
    weights = tuned.weights()
    optimizer = torch.optim.AdamW(weights, lr=tuning.rate, weight_decay=tuning.decay)
    done = kept.restore(weights, optimizer)
    tuned.train()
    for epoch in range(done, tuning.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(learnt.ids))
        for place, start in enumerate(starts := range(0, len(order), tuning.batch)):
            rows = order[start : start + tuning.batch].tolist()
            loss = _loss(tuned(*_batch(tuned, learnt, rows)), task, rows)
            at = (epoch * len(starts) + place, tuning.epochs * len(starts))
            optimizer.param_groups[0]["lr"] = tuning.rate * _share(*at, tuning.warmup)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            advance(_FORWARD_AND_BACK * calls * sum(len(learnt.ids[row]) for row in rows))
        kept.keep(epoch + 1, weights, optimizer)


def _share(step: int, steps: int, warmup: float) -> float:
    """Of the rate, at one of so many steps: it rises, then falls to 0 behind the last."""
    rising = max(1, round(warmup * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))


def _loss(scores: Float[Tensor, "text output"], task: Examples, rows: list[int]) -> Tensor:
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


@dataclass(frozen=True)
class _Kept:
    """Where the state of one training is kept between its epochs; nowhere where `file` is None."""

    file: Path | None

    @classmethod
    def of(
        cls,
        model: TransformerBridge,
        plan: Plan,
        task: Examples,
        pool: str,
        seed: int,
        tuning: Tuning,
    ) -> "_Kept":
        """Under a name that says what is trained on what, how."""
        if tuning.folder is None:
            return cls(None)
        asked = f"{weights_digest(model)} {plan} {task.digest()} {pool} {seed} {tuning}"
        name = hashlib.sha256(asked.encode()).hexdigest()[:16]
        return cls(Path(tuning.folder).expanduser() / f"tuning-{name}.pt")

    def restore(self, weights: list[nn.Parameter], optimizer: Any) -> int:
        """Put back what was kept; the number of epochs that are done."""
        if self.file is None or not self.file.is_file():
            return 0
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes the reader stumble over
            raise ModelError(
                f"{self.file} cannot be read ({str(error)[:60]}); delete it, and the training "
                "begins anew"
            ) from error
        with torch.no_grad():
            for weight, before in zip(weights, state["weights"], strict=True):
                weight.copy_(before)
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        return int(state["epochs"])

    def keep(self, epochs: int, weights: list[nn.Parameter], optimizer: Any) -> None:
        """The state after so many epochs, whole or not at all. Raises OutputError."""
        if self.file is None:
            return
        state = {
            "epochs": epochs,
            "weights": [weight.detach().cpu() for weight in weights],
            "optimizer": optimizer.state_dict(),
            "generator": torch.get_rng_state(),
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(self.file, content.getvalue())
