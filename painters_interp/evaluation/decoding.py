"""Texts decoded token by token under a plan: what the memory of a parallel group costs.

The only difference between `cache="exact"` and the published `cache="averaged"` is what is
remembered from token to token. Whether a text that was written freely is right says whether that
matters; a small model is often wrong anyway, so the probability that it gives to the right text
while it is made to decode it is a finer measure.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from lm_eval.api.task import Task
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from ..errors import TaskError, TextError
from ..execution import Plans, applied, as_plan, labels_for
from ..execution.slots import CACHES
from ..models import identity
from ..plans import Plan
from ..progress import progress
from ..tables import MODEL, primary, typed
from .evaluating import score_items
from .questions import Questions, tokens_of

_KEYS = ["plan", "task", "cache", "item"]


@dataclass(frozen=True)
class Gold:
    """The right text of an item, in the model's tokens, and the prompt before it."""

    task: str
    item: int
    prompt: tuple[int, ...]
    text: tuple[int, ...]

    @property
    def size(self) -> int:
        """Tokens that pass through every layer call."""
        return len(self.prompt) + len(self.text)


def golds(model: TransformerBridge, questions: Questions) -> list[Gold]:
    """The gold texts of all items, which must be of tasks that write (generate_until).

    Prompts lose tokens on the left where both do not fit into the context. Raises TaskError for a
    task of another type, and TextError for a text that leaves no room for its prompt.
    """
    asked = [(task, instance) for task in map(_written, questions.tasks)
             for instance in task.instances]  # fmt: skip
    texts = [
        (instance.args[0], f"{task.config.target_delimiter}{task.doc_to_target(instance.doc)}")
        for task, instance in asked
    ]
    return [
        Gold(task.config.task, instance.doc_id, _fitting(model, prompt, text), tuple(text))
        for (task, instance), (prompt, text) in zip(asked, tokens_of(model, texts), strict=True)
    ]


def _fitting(model: TransformerBridge, prompt: list[int], text: list[int]) -> tuple[int, ...]:
    context = int(model.cfg.n_ctx)
    if len(text) >= context:
        raise TextError(f"a gold text has {len(text)} tokens; the model's context is {context}")
    return tuple(prompt[-(context - len(text)) :])


def _written(task: Task) -> Task:
    if task.OUTPUT_TYPE != "generate_until":
        raise TaskError(
            f"task {task.config.task!r} is of type {task.OUTPUT_TYPE}, and decodes nothing; give "
            "one that writes texts, such as probe_word_problems or gsm8k"
        )
    return task


def calls_needed(model: TransformerBridge, plans: Sequence[Plan], questions: Questions) -> int:
    """Token-layer calls of `decode`, at most: texts may end early. Raises what `decode` would."""
    _refuse_early(model, plans)
    forced = sum(gold.size for gold in golds(model, questions)) * sum(len(p.calls) for p in plans)
    return len(CACHES) * (forced + questions.calls(plans))


def _refuse_early(model: TransformerBridge, plans: Sequence[Plan]) -> None:
    for plan in plans:
        for cache in CACHES:
            with applied(model, plan, cache=cache):
                pass


def decode(model: TransformerBridge, plans: Plans, questions: Questions) -> pd.DataFrame:
    """Decode under every plan with both caches: the gold texts, and what the model itself writes.

    Returns one row per labelled plan, task, cache and item: the labels, then model, revision,
    dtype, task, cache, item; `nats` and `tokens` (see `teacher_forced`); `metric` and `value`
    (see `free_running`). Raises what these raise.
    """
    labels = labels_for(model, plans)
    forced, free = (ways(model, labels, questions) for ways in (teacher_forced, free_running))
    return typed(forced.merge(free[[*_KEYS, "metric", "value"]].drop_duplicates(), on=_KEYS))


def teacher_forced(model: TransformerBridge, plans: Plans, questions: Questions) -> pd.DataFrame:
    """Decode the gold text of every item under every plan with both caches.

    Returns one row per labelled plan, task, cache and item: the labels, then model, revision,
    dtype, task, cache, item, `nats` (surprisal of the gold text, summed) and `tokens`. Raises
    TaskError for a task that writes nothing, and what `golds` and `applied` raise.
    """
    labels, asked = labels_for(model, plans), golds(model, questions)
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    _refuse_early(model, distinct)
    prompts, texts = [gold.prompt for gold in asked], [gold.text for gold in asked]
    size = sum(gold.size for gold in asked)
    rows = []
    with progress("decoding", size * len(CACHES) * sum(len(p.calls) for p in distinct)) as advance:
        for plan in distinct:
            for cache in CACHES:
                found = forced_logprobs(model, plan, prompts, texts, cache)
                advance(size * len(plan.calls))
                for gold, logprobs in zip(asked, found, strict=True):
                    nats = -float(logprobs.sum())
                    rows.append((str(plan), gold.task, cache, gold.item, nats, len(logprobs)))
    return _labelled(model, labels, pd.DataFrame(rows, columns=[*_KEYS, "nats", "tokens"]))


def free_running(model: TransformerBridge, plans: Plans, questions: Questions) -> pd.DataFrame:
    """Let the model write under every plan with both caches, greedily.

    Returns one row per labelled plan, task, cache and item: the labels, then model, revision,
    dtype, task, cache, item, `metric` (the task's first) and its `value`. Raises TaskError for a
    task that writes nothing, and what `score_items` raises.
    """
    labels = labels_for(model, plans)
    for task in questions.tasks:
        _written(task)
    parts = [
        primary(score_items(model, labels, questions, cache=cache)).assign(cache=cache)
        for cache in CACHES
    ]
    found = pd.concat(parts)[[*_KEYS, "metric", "value"]]
    return _labelled(model, labels, found.astype({"plan": str, "task": str, "metric": str}))


def _labelled(model: TransformerBridge, labels: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    facts = {name: fact for name, fact in identity(model).items() if name in MODEL}
    joined = labels.merge(found.assign(**facts), on="plan")
    return typed(joined[[*labels.columns, *MODEL, *found.columns.drop("plan")]])


def forced_logprobs(
    model: TransformerBridge,
    plan: Plan | str,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    cache: str = "exact",
    rows: int = 32,
) -> list[Float[np.ndarray, " token"]]:
    """Log-probability in nats of each token of each continuation, decoded after its prompt.

    The prompts are read in one pass, left-padded in batches of `rows`; then the continuations are
    fed one token at a time, whatever the model would have said. With `cache="exact"` this equals
    one pass over prompt and continuation. Raises TextError for an empty prompt or continuation
    and for what exceeds the context, and what `applied` raises.
    """
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
            for i, row in zip(members, logprobs.double().cpu().numpy(), strict=True):
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
    device = next(model.original_model.parameters()).device
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
