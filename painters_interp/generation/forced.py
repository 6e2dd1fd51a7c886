"""Given texts decoded token by token, whatever the model would have said."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from ..arguments import counting
from ..errors import TextError
from ..execution import applied, as_plan, measuring, refuse_unable
from ..execution.rotary import rotated_alike
from ..models import Model, as_model, device_of, numbers
from ..notices import warn
from ..plans import Plan
from ..progress import Advance
from ..texts import pad_of
from .ending import Ending
from .reading import Padded
from .rooms import windows
from .routes import Way, bytes_needed, in_parts, room_on, way_to_write
from .writing import Style, decode

_ALONE = 32  # texts that are decoded together under one plan

Nats = Float[np.ndarray, " token"]


@counting(rows=1)
def forced_logprobs(
    model: Model,
    plan: Plan | str,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    cache: str = "exact",
) -> list[Nats]:
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
    [found] = forced_under(model, [as_plan(plan, model)], prompts, continuations, cache)
    return found


@torch.no_grad()
def forced_under(
    model: TransformerBridge,
    plans: Sequence[Plan],
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    cache: str = "exact",
    advance: Advance = lambda calls: None,
    memory: int | None = None,
) -> list[list[Nats]]:
    """The same under many plans, which go through one schedule, as texts do that are written.

    Plan by plan, with a warning that says why, on a model that cannot do this.

    Args:
        model: A model with hooks.
        plans: Plans of this model.
        prompts: Token ids of each prompt.
        continuations: Token ids of what follows each prompt.
        cache: "exact" or "averaged", as for `applied`.
        advance: Told the token-layer calls that are made or spared, those of pads among them.
        memory: Bytes of keys, values and logits; as for `texts_under` if not given.

    Returns:
        An array for each plan and continuation, as [plan][continuation], shape (token,).

    Raises:
        TextError: an empty prompt or continuation, and what exceeds the context.
        PlanError: a plan that the model cannot run.

    Example:
        >>> [[found]] = forced_under(
        ...     model, [painters.Plan.parse("0-2 5", 6)], [[1, 8, 9]], [[10, 11]]
        ... )
        >>> found.shape
        (2,)
    """
    for prompt, continuation in zip(prompts, continuations, strict=True):
        if not prompt or not continuation:
            raise TextError("a prompt or continuation has no tokens; each needs at least one")
        if (length := len(prompt) + len(continuation)) > model.cfg.n_ctx:
            raise TextError(f"{length} tokens exceed the model's context of {model.cfg.n_ctx}")
    refuse_unable(model, plans, cache)  # before anything runs
    # Longest prompts first: neighbours are padded least.
    order = sorted(range(len(prompts)), key=lambda k: (-len(prompts[k]), len(continuations[k])))
    pairs = [(tuple(prompts[k]), tuple(continuations[k])) for k in order]
    if not plans or not pairs:
        return [[] for _ in plans]
    longest = max(len(prompt) + len(text) for prompt, text in pairs)
    memory = room_on(device_of(model)) if memory is None else memory
    with measuring(model):
        way = way_to_write(model, plans, longest, given=True)
        if isinstance(way, Way):
            found = _together(model, way, plans, pairs, cache == "averaged", advance, memory)
        else:
            warn(f"texts are decoded plan by plan: {way}")
            rows = _ALONE if longest <= rotated_alike(model.original_model.config) else 1
            found = [_one_by_one(model, plan, pairs, cache, rows, advance) for plan in plans]
    place = {index: k for k, index in enumerate(order)}
    return [[under[place[index]] for index in range(len(prompts))] for under in found]


Pair = tuple[tuple[int, ...], tuple[int, ...]]


def _together(
    model: TransformerBridge,
    way: Way,
    plans: Sequence[Plan],
    pairs: Sequence[Pair],
    averaged: bool,
    advance: Advance,
    memory: int,
) -> list[list[Nats]]:
    face = way.face
    seen, new = windows(face.root.config), max(len(text) for _, text in pairs)
    assert seen is not None
    style = Style(Ending(new), model.tokenizer, pad_of(model), averaged, way.shares)

    def work(chosen: Sequence[int], some: Sequence[int]) -> list[list[Nats]]:
        after, texts = zip(*(pairs[k] for k in some), strict=True)
        gold = _Gold(texts * len(chosen), face.device)
        decode(face, [plans[k] for k in chosen], after, style, seen, gold, advance)
        found = gold.found()
        return [found[k : k + len(some)] for k in range(0, len(found), len(some))]

    prompts = [prompt for prompt, _ in pairs]
    needed = partial(bytes_needed, model, style)
    return in_parts(plans, prompts, needed, memory, work, lambda nats: bool(np.isnan(nats).any()))


class _Gold:
    """Puts given tokens behind each row, and notes how likely they were."""

    def __init__(self, texts: Sequence[Sequence[int]], device: torch.device) -> None:
        self._lengths = [len(text) for text in texts]
        self._tokens = _padded(texts, device)
        self._logprobs: list[Float[Tensor, " row"]] = []  # of each step, for all rows

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> tuple[Tensor, Sequence[int]]:
        step, places = len(self._logprobs), torch.tensor([*rows], device=logits.device)
        wanted = self._tokens[places, step]
        logprobs = _logprobs(logits, wanted)
        self._logprobs.append(
            logprobs.new_zeros(len(self._lengths)).index_copy(0, places, logprobs)
        )
        return wanted, [row for row in rows if self._lengths[row] > step + 1]

    def found(self) -> list[Nats]:
        """What was noted, for each row as long as its text."""
        rows = numbers(torch.stack(self._logprobs, dim=1))
        return [row[:length] for row, length in zip(rows, self._lengths, strict=True)]


def _logprobs(
    logits: Float[Tensor, "row vocab"], wanted: Int[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """Log-probabilities of the wanted tokens, in float32 at least."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype).log_softmax(-1).gather(-1, wanted[:, None]).squeeze(-1)


def _padded(texts: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "row token"]:
    length = max(map(len, texts))
    return torch.tensor([[*text] + [0] * (length - len(text)) for text in texts], device=device)


def _one_by_one(
    model: TransformerBridge,
    plan: Plan,
    pairs: Sequence[Pair],
    cache: str,
    rows: int,
    advance: Advance,
) -> list[Nats]:
    found: list[Nats] = []
    with applied(model, plan, cache=cache), _plain_generation(model):
        for start in range(0, len(pairs), rows):
            prompts, texts = zip(*pairs[start : start + rows], strict=True)
            logprobs = _forced(model, prompts, texts)
            found += [row[: len(text)] for row, text in zip(numbers(logprobs), texts, strict=True)]
            width = max(map(len, prompts)) + max(map(len, texts))
            advance(width * len(prompts) * len(plan.calls))
    return found


class _Teacher(LogitsProcessor):  # type: ignore[misc]
    """Notes the log-probability of the gold token at each step, and allows no other."""

    def __init__(self, gold: Int[Tensor, "row token"], prompt: int) -> None:
        self._gold, self._prompt = gold, prompt
        self.logprobs: list[Float[Tensor, " row"]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        wanted = self._gold[:, input_ids.shape[1] - self._prompt, None]
        self.logprobs.append(_logprobs(scores, wanted.squeeze(-1)))
        return torch.full_like(scores, -torch.inf).scatter(-1, wanted, 0.0)


def _forced(
    model: TransformerBridge,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
) -> Float[Tensor, "row token"]:
    device = device_of(model)
    batch, gold = Padded.of(prompts, 0, device), _padded(continuations, device)
    teacher = _Teacher(gold, batch.tokens.shape[1])
    model.original_model.generate(
        batch.tokens,
        attention_mask=batch.mask,
        max_new_tokens=gold.shape[1],
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
