"""Texts that tasks ask for, written under plans: all plans and prompts together.

Prompts, ends of texts and what is cut are those of lm-eval. Where a task asks for more than the
likeliest token (beams, penalties), HFLM generates inside `applied`, plan by plan.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from ..errors import TaskError
from ..generation import Ending, texts_under
from ..plans import Plan
from ..progress import Advance, up_to
from .harness import BridgedLM, Instance, normalize_gen_kwargs
from .harness.process import quiet_lm_eval
from .planned import PlannedLM


@dataclass(frozen=True)
class Batch:
    """Prompts that end alike: their indices, the most tokens that each can take, and how many of
    these are new. `ending` is None where their settings are more than an end."""

    members: tuple[int, ...]
    width: int
    new: int
    ending: Ending | None

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer call, at most."""
        return len(self.members) * self.width


@dataclass(frozen=True, eq=False)
class Prompts:
    """generate_until requests, in batches that lm-eval would form, longest first.

    `ids` are their tokens. `cut` are the indices of prompts that lose some on the left, so that
    there is room to write.
    """

    requests: tuple[Instance, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()
    batches: tuple[Batch, ...] = ()
    cut: frozenset[int] = frozenset()

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer call of a plan, at most."""
        return sum(batch.tokens for batch in self.batches)


@dataclass(frozen=True)
class _Prompt:
    index: int
    settings: str
    ids: tuple[int, ...]
    new: int
    ending: Ending | None

    @property
    def length(self) -> int:
        return len(self.ids)


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
            members = tuple(prompt.index for prompt in chunk)
            batches.append(Batch(members, width - 1, chunk[0].new, chunk[0].ending))
    cut = frozenset(p.index for p in read if p.length + p.new > lm.max_length)
    ids = {prompt.index: prompt.ids[-(lm.max_length - prompt.new) :] for prompt in read}
    whole = tuple(ids[index] for index in range(len(requests)))
    return Prompts(tuple(requests), whole, tuple(batches), cut)


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
    ids = tuple(lm.tok_encode(text))
    return _Prompt(
        index, repr(sorted(settings.items())), ids, new, _ending(lm, given) if ids else None
    )


def _ending(lm: BridgedLM, settings: Mapping[str, Any]) -> Ending | None:
    """Where texts end; None if there is more to their settings than that."""
    if {*settings} - {"do_sample", "temperature", "until", "max_gen_toks"}:
        return None
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    stop = [string for string in (*settings["until"], eos) if string]
    ids = () if lm.eot_token_id is None else (int(lm.eot_token_id),)
    return Ending(settings["max_gen_toks"], tuple(dict.fromkeys(stop)), ids)


def generate(
    model: TransformerBridge,
    plans: Sequence[Plan],
    asked: Prompts,
    cache: str = "exact",
    advance: Advance = lambda calls: None,
) -> tuple[tuple[str | None, ...], ...]:
    """What the model writes after every prompt under every plan, as (plan, prompt).

    `advance` is told the token-layer calls of each pass, and at the end those that were saved.
    """
    texts: list[list[str | None]] = [[None] * len(asked.requests) for _ in plans]
    for ending, batches in _alike(asked.batches):
        members = [index for batch in batches for index in batch.members]
        if ending is None:
            rows = max(len(batch.members) for batch in batches)
            writers = [PlannedLM(model, plan, cache, batch_size=rows) for plan in plans]
            found = [_written(writer, asked, batches, advance) for writer in writers]
        else:
            size = sum(batch.tokens for batch in batches) * sum(len(plan.calls) for plan in plans)
            with up_to(size, advance) as told:
                found = _together(
                    model, plans, [asked.ids[k] for k in members], ending, cache, told
                )
        for plan, under in enumerate(found):
            for index, text in zip(members, under, strict=True):
                texts[plan][index] = text
    return tuple(map(tuple, texts))


def _alike(batches: Sequence[Batch]) -> list[tuple[Ending | None, list[Batch]]]:
    """Batches whose texts end alike, together."""
    groups: dict[Ending | None, list[Batch]] = {}
    for batch in batches:
        groups.setdefault(batch.ending, []).append(batch)
    return [*groups.items()]


def _together(
    model: TransformerBridge,
    plans: Sequence[Plan],
    prompts: Sequence[tuple[int, ...]],
    ending: Ending,
    cache: str,
    advance: Advance,
) -> list[list[str | None]]:
    """What follows each prompt under each plan; None where a logit is NaN."""
    written = texts_under(model, plans, prompts, ending, cache, advance)
    return [
        [None if text.tokens is None else ending.text(text.tokens, model.tokenizer)[0]
         for text in under]
        for under in written
    ]  # fmt: skip


def _written(
    writer: PlannedLM, asked: Prompts, batches: Sequence[Batch], advance: Advance
) -> list[str | None]:
    """What HFLM writes under one plan, batch by batch."""
    texts: list[str | None] = []
    for batch in batches:
        requests = [asked.requests[index] for index in batch.members]
        with _counted(writer, batch.tokens, advance):
            texts += _continued(writer, requests)
    return texts


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
