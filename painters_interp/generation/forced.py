"""Given texts decoded token by token, whatever the model would have said."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from ..errors import TextError
from ..execution import applied
from ..models import Model, as_model, device_of, numbers
from ..plans import Plan


def forced_logprobs(
    model: Model,
    plan: Plan | str,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    cache: str = "exact",
    rows: int = 32,
) -> list[Float[np.ndarray, " token"]]:
    """Log-probability in nats of each token of each continuation, decoded after its prompt.

    The prompts are read in one pass, left-padded; then the continuations are fed one token at a
    time, whatever the model would have said. With `cache="exact"` this equals one pass over prompt
    and continuation.

    Args:
        model: Whatever `load_model` takes or returns.
        plan: The plan that is decoded under.
        prompts: Token ids of each prompt.
        continuations: Token ids of what follows each prompt.
        cache: "exact" or "averaged", as for `applied`.
        rows: How many prompts go through the model together.

    Returns:
        An array for each continuation, shape (token,).

    Raises:
        TextError: an empty prompt or continuation, and what exceeds the context.
        PlanError: a plan that the model cannot run.

    Example:
        >>> [found] = forced_logprobs(model, plan, [[1, 8, 9]], [[10, 11]])
        >>> found.shape
        (2,)
    """
    model = as_model(model)
    for prompt, continuation in zip(prompts, continuations, strict=True):
        if not prompt or not continuation:
            raise TextError("a prompt or continuation has no tokens; each needs at least one")
        if (length := len(prompt) + len(continuation)) > model.cfg.n_ctx:
            raise TextError(f"{length} tokens exceed the model's context of {model.cfg.n_ctx}")
    order = sorted(range(len(prompts)), key=lambda i: (len(continuations[i]), len(prompts[i])))
    found: dict[int, np.ndarray] = {}
    with torch.no_grad(), applied(model, plan, cache=cache), _plain_generation(model):
        for start in range(0, len(order), rows):
            members = order[start : start + rows]
            logprobs = _forced(
                model, [prompts[i] for i in members], [continuations[i] for i in members]
            )
            for i, row in zip(members, numbers(logprobs), strict=True):
                found[i] = row[: len(continuations[i])]
    return [found[i] for i in range(len(prompts))]


class _Teacher(LogitsProcessor):  # type: ignore[misc]
    """Notes the log-probability of the gold token at each step, and allows no other."""

    def __init__(self, gold: Int[Tensor, "row token"], prompt: int) -> None:
        self._gold, self._prompt = gold, prompt
        self.logprobs: list[Float[Tensor, " row"]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        wanted = self._gold[:, input_ids.shape[1] - self._prompt, None]
        dtype = torch.promote_types(scores.dtype, torch.float32)
        logprobs = scores.to(dtype).log_softmax(-1).gather(-1, wanted)
        self.logprobs.append(logprobs.squeeze(-1))
        return torch.full_like(scores, -torch.inf).scatter(-1, wanted, 0.0)


def _forced(
    model: TransformerBridge,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
) -> Float[Tensor, "row token"]:
    device = device_of(model)
    width, length = max(map(len, prompts)), max(map(len, continuations))
    tokens = [[0] * (width - len(row)) + [*row] for row in prompts]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
    gold = [[*row] + [0] * (length - len(row)) for row in continuations]
    teacher = _Teacher(torch.tensor(gold, device=device), width)
    model.original_model.generate(
        torch.tensor(tokens, device=device),
        attention_mask=torch.tensor(mask, device=device),
        max_new_tokens=length,
        do_sample=False,
        logits_processor=LogitsProcessorList([teacher]),
    )
    return torch.stack(teacher.logprobs, dim=1)


@contextmanager
def _plain_generation(model: TransformerBridge) -> Iterator[None]:
    """Without the settings of the checkpoint, which may stop early or penalise repetition."""
    held: Any = model.original_model.generation_config
    model.original_model.generation_config = GenerationConfig(pad_token_id=0)
    try:
        yield
    finally:
        model.original_model.generation_config = held
