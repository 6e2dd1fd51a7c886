"""Training shared by all that learns with altered execution in place: steps, seeds, checkpoints."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import whole
from ..digests import text_digest
from ..errors import ModelError, UnsupportedModelError
from ..execution import agree, as_they_are, face_around, undisturbed, user_hooks
from ..models import stock_copy
from ..progress import Advance
from ..storage import room_for, writable_file, write_whole

FORWARD_AND_BACK = 3  # a pass back costs two

Loss = Callable[[list[int]], Tensor]  # of the rows that one step learns from


@dataclass(frozen=True)
class Tuning:
    """How weights are trained: AdamW, its rate rising over `warmup` and then falling to 0.

    With `folder`, the state after every epoch is kept there, with `every` also after so many
    steps, and a run that was cut off goes on from it.
    """

    epochs: int = 3
    rate: float = 5e-5
    batch: int = 32
    warmup: float = 0.1
    decay: float = 0.01
    folder: str | Path | None = None
    every: int | None = None

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch": self.batch, "every": self.every}
        for name, count in counts.items():
            if count is not None or name != "every":
                whole(name, count, 1)
        if not all(isinstance(part, Real) for part in (self.rate, self.warmup, self.decay)):
            raise ModelError(f"{self}: rate, warmup and decay are numbers")
        if not (0 < self.rate < np.inf and 0 <= self.warmup <= 1 and 0 <= self.decay < np.inf):
            raise ModelError(f"{self}: the rate is above 0, warmup from 0 to 1, decay 0 or more")

    def recipe(self) -> str:
        """All that the outcome depends on."""
        return f"{self.epochs} {self.rate} {self.batch} {self.warmup} {self.decay}"

    def steps(self, rows: int) -> int:
        """How many steps the epochs take over so many rows."""
        return self.epochs * -(-rows // self.batch)

    def file(self, name: str) -> Path | None:
        """A file of the folder; None where there is no folder."""
        return None if self.folder is None else Path(self.folder).expanduser() / name

    def refuse_unwritable(self) -> None:
        """Raise OutputError where the folder could not be written in; makes and leaves nothing."""
        if (file := self.file("training.pt")) is not None:
            writable_file(file)


def refuse_untrainable(model: TransformerBridge) -> None:
    """Raise for what cannot be trained as it is: hooks, which a copy lacks; half precision."""
    if names := user_hooks(model):
        raise UnsupportedModelError(
            f"{model.cfg.model_name} carries hooks at {names[0]}, which would not act on the copy "
            "that is trained; take them off (model.reset_hooks())"
        )
    if any(weight.is_meta for weight in model.original_model.parameters()):
        raise ModelError(
            f"{model.cfg.model_name} has weights that are not in memory; load all of them to train"
        )
    narrow = [p.dtype for p in model.original_model.parameters() if p.itemsize < 4]
    if narrow:
        raise ModelError(
            f"{model.cfg.model_name} is in {str(narrow[0]).removeprefix('torch.')}, in which small "
            "steps of training are lost; load it with dtype float32"
        )


@contextmanager
def learning_from(model: TransformerBridge, seed: int) -> Iterator[None]:
    """For what learns from a copy of `model`: gradients in its own number formats, a seed.

    Whatever the caller has switched off; torch's generators are as they were afterwards.
    """
    devices = range(torch.cuda.device_count())
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        as_they_are(model),
    ):
        torch.manual_seed(seed)
        yield


def faithful_copy(model: TransformerBridge, *attention: Any) -> Any:
    """The stock model of the same weights (see `stock_copy`), in eval mode.

    Raises ModelError where it computes something else, which would be what is trained then.
    """
    root = stock_copy(model, *attention).eval()
    face = face_around(model, root)
    with undisturbed(model):
        if not agree(model, face):
            raise ModelError(
                f"{model.cfg.model_name} computes otherwise than a stock model of its weights, so "
                "that would be what is trained; undo what was done to its modules, or save the "
                "model and load it again"
            )
    return root


def train(
    weights: list[nn.Parameter],
    loss: Loss,
    lengths: Sequence[int],
    tuning: Tuning,
    seed: int,
    kept: "Kept",
    calls: int,
    advance: Advance = lambda calls: None,
) -> None:
    """Step down `loss`, which is asked for some rows at a time; all rows make an epoch.

    `lengths` are the tokens of each row, `calls` the layers that each of them goes through.
    """
    optimizer = torch.optim.AdamW(weights, lr=tuning.rate, weight_decay=tuning.decay)
    steps = tuning.steps(len(lengths))
    per_epoch = steps // tuning.epochs
    kept.refuse_full(weights)
    for step in range(kept.restore(weights, optimizer), steps):
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
        rows = order[place * tuning.batch : (place + 1) * tuning.batch].tolist()
        optimizer.param_groups[0]["lr"] = tuning.rate * _share(step, steps, tuning.warmup)
        optimizer.zero_grad()
        loss(rows).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        advance(FORWARD_AND_BACK * calls * sum(lengths[row] for row in rows))
        if place + 1 == per_epoch or (step + 1) % (tuning.every or steps) == 0:
            kept.keep(step + 1, weights, optimizer, last=step + 1 == steps)


def _share(step: int, steps: int, warmup: float) -> float:
    """Of the rate, at one of so many steps: it rises, then falls to 0 behind the last."""
    rising = max(1, round(warmup * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))


@dataclass(frozen=True)
class Kept:
    """Where the state of one training is kept between its steps; nowhere where `file` is None."""

    file: Path | None

    @classmethod
    def of(cls, tuning: Tuning, *asked: object) -> "Kept":
        """Under a name that says what is trained on what, how."""
        said = " ".join(map(str, (*asked, tuning.recipe())))
        return cls(tuning.file(f"training-{text_digest(said)}.pt"))

    def restore(self, weights: list[nn.Parameter], optimizer: Any) -> int:
        """Put back what was kept; the number of steps that are done."""
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
        if state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        if weights[0].is_cuda:
            torch.cuda.set_rng_state_all(state["generators"])
        return int(state["steps"])

    def refuse_full(self, weights: list[nn.Parameter]) -> None:
        """Raise OutputError where the disk has no room for the state that `keep` writes."""
        if self.file is not None and not self.file.is_file():
            # Adam holds two numbers for each weight.
            room_for(3 * sum(weight.nbytes for weight in weights), self.file.parent)

    def keep(
        self, steps: int, weights: list[nn.Parameter], optimizer: Any, last: bool = False
    ) -> None:
        """The state after so many steps, whole or not at all. Raises OutputError.

        Behind the last of them only weights are kept: no step will need more.
        """
        if self.file is None:
            return
        state = {
            "steps": steps,
            "weights": [weight.detach().cpu() for weight in weights],
            "optimizer": None if last else optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "generators": torch.cuda.get_rng_state_all() if weights[0].is_cuda else [],
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(self.file, content.getvalue())
