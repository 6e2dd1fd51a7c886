"""What a patch is judged by: a number for each row of logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import PatchError
from ..execution import Head, Predicted
from .prompts import Prompt

Metric = str | Callable[[Tensor], Tensor]
"""A name out of METRICS, or a function from logits (row, vocab) to a number per row."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Numbers (row,) for logits (row, vocab), given which read position each row is of (row,)."""

_ROWS_AT_ONCE = 128  # 64 MiB of float32 logits for a vocabulary of 128 k


@dataclass(frozen=True, eq=False)
class Standard:
    """What patched logits are compared with, at each position that is read."""

    logits: Float[Tensor, "read vocab"]
    following: Int[Tensor, " read"]
    answers: tuple[int, ...]


def _logit_difference(standard: Standard) -> Score:
    right, wrong = standard.answers
    return lambda logits, at: logits[:, right] - logits[:, wrong]


def _logprob(standard: Standard) -> Score:
    right = standard.answers[0]
    return lambda logits, at: logits[:, right] - logits.logsumexp(-1)


def _probability(standard: Standard) -> Score:
    logprob = _logprob(standard)
    return lambda logits, at: logprob(logits, at).exp()


def _kl(standard: Standard) -> Score:
    """KL(standard || patched)."""
    expected = Predicted.by(standard.logits)
    return lambda logits, at: expected.at(at).divergence(logits)


def _loss(standard: Standard) -> Score:
    following = standard.following

    def score(logits: Tensor, at: Tensor) -> Tensor:
        return logits.logsumexp(-1) - logits.gather(-1, following[at, None]).squeeze(-1)

    return score


METRICS: dict[str, Callable[[Standard], Score]] = {
    "logit_difference": _logit_difference,
    "probability": _probability,
    "logprob": _logprob,
    "kl": _kl,
    "loss": _loss,
}
_ANSWERS = {"logit_difference": 2, "probability": 1, "logprob": 1}


def check_metric(metric: Metric) -> str:
    """The name of a metric; PatchError for an unknown one."""
    if not isinstance(metric, str):
        return getattr(metric, "__name__", type(metric).__name__)
    if metric not in METRICS:
        raise PatchError(
            f"no metric {metric!r}; there are {', '.join(METRICS)}, or give a function from "
            "logits (row, vocab) to one number per row"
        )
    return metric


def score_of(metric: Metric, standard: Standard) -> Score:
    """`metric` against `standard`. Raises PatchError if it needs answers that are not there."""
    name = check_metric(metric)
    if not isinstance(metric, str):
        return _checked(metric, name)
    needed = _ANSWERS.get(name, 0)
    if len(standard.answers) < needed:
        fits = "(right, wrong)" if needed == 2 else "the right token"
        raise PatchError(f"metric {name!r} compares answers; give answers={fits} for each prompt")
    return METRICS[name](standard)


def _checked(metric: Callable[[Tensor], Tensor], name: str) -> Score:
    """A user's function, held to one number per row."""

    def score(logits: Tensor, at: Tensor) -> Tensor:
        values = metric(logits)
        if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise PatchError(
                f"metric {name} made {shape} of logits {tuple(logits.shape)}; "
                f"one number per row, a tensor ({len(logits)},), is needed"
            )
        return values.to(logits.dtype)

    return score


def read_positions(
    metric: Metric, prompt: Prompt, first: int, read: Sequence[int] | int | None
) -> list[int]:
    """Where a metric is read, from the first patched position on; it is averaged over them.

    By default "kl" is read everywhere, "loss" wherever a token follows, others at the last token.
    """
    last = len(prompt) - 1
    if read is None:
        start = first if metric in ("kl", "loss") else last
        chosen = list(range(start, last if metric == "loss" else last + 1))
    else:
        chosen = prompt.places(read)
    if not chosen or (metric == "loss" and max(chosen) == last):
        raise PatchError(f"metric 'loss' reads next tokens; none follows position {last}")
    if min(chosen) < first:
        raise PatchError(
            f"position {min(chosen)} is read, but the first patch is at {first} and changes "
            f"nothing before it; {first}..{last} fits"
        )
    return chosen


@torch.no_grad()
def measured(
    logits_of: Head, streams: Float[Tensor, "row read d_model"], score: Score
) -> Float[Tensor, " row"]:
    """The metric of each row, averaged over the positions read, in float32 or better."""
    rows = streams.flatten(0, 1)
    at = torch.arange(streams.shape[1], device=rows.device).repeat(len(streams))
    dtype = torch.promote_types(rows.dtype, torch.float32)
    values = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        values.append(score(logits_of(rows[part]).to(dtype), at[part]))
    return torch.cat(values).reshape(streams.shape[:2]).mean(dim=1)
