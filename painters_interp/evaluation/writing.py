"""Texts written under plans: lm-eval's own generation, batch by batch, plan by plan.

HFLM generates inside `applied`: the whole model runs the plan, so that stop strings, left padding
and the cache are those of lm-eval and transformers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from ..errors import TaskError
from ..plans import Plan
from .harness import BridgedLM, Instance, normalize_gen_kwargs
from .harness.process import quiet_lm_eval
from .planned import PlannedLM

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Batch:
    """Prompts that are continued together: their indices, the most tokens that each can take, and
    how many of these are new."""

    members: tuple[int, ...]
    width: int
    new: int

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer call, at most."""
        return len(self.members) * self.width


@dataclass(frozen=True, eq=False)
class Prompts:
    """generate_until requests, in batches that lm-eval would form, longest first.

    `truncated` counts prompts that lose tokens on the left, so that there is room to write.
    """

    requests: tuple[Instance, ...] = ()
    batches: tuple[Batch, ...] = ()
    truncated: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer call of a plan, at most."""
        return sum(batch.tokens for batch in self.batches)


@dataclass(frozen=True)
class _Prompt:
    index: int
    settings: str
    length: int
    new: int


def prompts(lm: BridgedLM, requests: Sequence[Instance], rows: int) -> Prompts:
    """Put requests into batches of at most `rows`, which share their generation settings.

    Raises TaskError for a request that samples, that names no end, or that leaves no room in the
    context for a prompt.
    """
    read = [_read(lm, index, request) for index, request in enumerate(requests)]
    read.sort(key=lambda prompt: (prompt.settings, -prompt.length, prompt.index))
    batches = []
    for _, same in groupby(read, key=lambda prompt: prompt.settings):
        group = list(same)
        for start in range(0, len(group), rows):
            chunk = group[start : start + rows]
            width = min(lm.max_length, chunk[0].length + chunk[0].new)
            batches.append(Batch(tuple(prompt.index for prompt in chunk), width - 1, chunk[0].new))
    truncated = sum(prompt.length + prompt.new > lm.max_length for prompt in read)
    return Prompts(tuple(requests), tuple(batches), truncated)


def _read(lm: BridgedLM, index: int, request: Instance) -> _Prompt:
    name, (text, settings, *more) = f"task {request.task_name!r}", request.args
    if more:
        raise TaskError(f"{name} shows images or sounds; only text can be read under a plan")
    given = normalize_gen_kwargs(settings, lm.max_gen_toks)
    if given["do_sample"]:
        raise TaskError(
            f"{name} samples its texts (do_sample or a temperature); plans are compared by greedy "
            "decoding. To sample, give a PlannedLM to lm_eval.simple_evaluate"
        )
    named = {"max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}
    if not any(given["until"]) and not named & set(settings):
        raise TaskError(
            f"{name} says neither where a text ends (until) nor how long it may get "
            "(max_gen_toks); give it one of them in generation_kwargs"
        )
    new = given["max_gen_toks"]
    if not 0 < new < lm.max_length:
        raise TaskError(
            f"{name} asks for {new} new tokens; the model's context of {lm.max_length} allows "
            f"1 to {lm.max_length - 1}, prompt included"
        )
    return _Prompt(index, repr(sorted(settings.items())), len(lm.tok_encode(text)), new)


def generate(
    model: TransformerBridge,
    plans: Sequence[Plan],
    asked: Prompts,
    cache: str = "exact",
    advance: Advance = lambda calls: None,
) -> tuple[tuple[str | None, ...], ...]:
    """What the model writes after every prompt under every plan, as (plan, prompt).

    `advance` is told the token-layer calls of each pass, and at the end of a batch those that an
    early stop has saved.
    """
    if not asked.batches:
        return ((),) * len(plans)
    rows = max(len(batch.members) for batch in asked.batches)
    writers = [PlannedLM(model, plan, cache, batch_size=rows) for plan in plans]  # or refused now
    return tuple(_written(writer, asked, advance) for writer in writers)


def _written(writer: PlannedLM, asked: Prompts, advance: Advance) -> tuple[str | None, ...]:
    texts: list[str | None] = [None] * len(asked.requests)
    for batch in asked.batches:
        requests = [asked.requests[index] for index in batch.members]
        with _counted(writer, batch.tokens, advance):
            found = _continued(writer, requests)
        for index, text in zip(batch.members, found, strict=True):
            texts[index] = text
    return tuple(texts)


def _continued(writer: PlannedLM, requests: Sequence[Instance]) -> list[str | None]:
    """What is written after each prompt; None where a logit is NaN, for which any text would do."""
    with quiet_lm_eval(), _watched(writer) as unknown:
        found: list[str | None] = [*writer.generate_until([*requests], disable_tqdm=True)]
    if not unknown:
        return found
    if len(found) == 1:
        return [None]
    # lm-eval orders a batch by itself, so which row it was is found one by one.
    return [text for request in requests for text in _continued(writer, [request])]


@contextmanager
def _watched(writer: PlannedLM) -> Iterator[list[bool]]:
    """A list that is filled once a next token has been chosen from logits with NaN among them."""
    unknown: list[bool] = []

    def look(module: Any, args: tuple[Any, ...], output: Any) -> None:
        if not unknown and bool(output.logits[:, -1].isnan().any()):
            unknown.append(True)

    hook = writer.model.register_forward_hook(look)
    try:
        yield unknown
    finally:
        hook.remove()


@contextmanager
def _counted(writer: PlannedLM, tokens: int, advance: Advance) -> Iterator[None]:
    """Tell `advance` of each pass of the model, and of all `tokens` in the end."""
    left, calls = tokens, len(writer.plan.calls)

    def count(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        nonlocal left
        passed = given["input_ids"].numel()
        left -= passed
        advance(passed * calls)

    hook = writer.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
    advance(left * calls)
