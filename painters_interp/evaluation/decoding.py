"""Texts decoded token by token under a plan: what the memory of a parallel group costs.

The only difference between `cache="exact"` and the published `cache="averaged"` is what is
remembered from token to token. Whether a text that was written freely is right says whether that
matters; a small model is often wrong anyway, so the probability that it gives to the right text
while it is made to decode it is a finer measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..errors import TaskError, TextError
from ..execution import as_plan, laid_out, refuse_unable
from ..execution.slots import CACHES
from ..generation import forced_under
from ..models.fingerprint import model_columns
from ..plans import Plan, groups
from ..progress import Advance, progress, up_to
from ..tables import MODEL, primary, typed
from ..tables.labels import Plans, labels_for
from .evaluator import score_items
from .harness import Task
from .harness.tokens import tokens_of
from .questions import Questions, Request
from .scoring import score
from .writing import Prompts

_TOGETHER = 256  # tokens that go through a layer together
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
    again = [plan for plan in plans if groups(plan)]
    written = questions.calls(plans) + (questions.calls(again) if again else 0)
    return forced_calls(model, plans, questions) + written


def forced_calls(model: TransformerBridge, plans: Sequence[Plan], questions: Questions) -> int:
    """Token-layer calls of `teacher_forced`."""
    return _forced_calls(plans, golds(model, questions))


def _refuse_early(model: TransformerBridge, plans: Sequence[Plan]) -> None:
    for cache in CACHES:
        refuse_unable(model, plans, cache)


def decode(model: TransformerBridge, plans: Plans, questions: Questions) -> pd.DataFrame:
    """Decode under every plan with both caches: the gold texts, and what the model itself writes.

    Returns one row per labelled plan, task, cache and item: the labels, then model, revision,
    dtype, task, cache, item; `nats` and `tokens` (see `teacher_forced`); `metric` and `value`
    (see `free_running`). Raises what these raise.
    """
    labels = labels_for(plans, len(model.blocks))
    forced, free = (ways(model, labels, questions) for ways in (teacher_forced, free_running))
    return typed(forced.merge(free[[*_KEYS, "metric", "value"]].drop_duplicates(), on=_KEYS))


def teacher_forced(model: TransformerBridge, plans: Plans, questions: Questions) -> pd.DataFrame:
    """Decode the gold text of every item under every plan with both caches.

    Returns one row per labelled plan, task, cache and item: the labels, then model, revision,
    dtype, task, cache, item, `nats` (surprisal of the gold text, summed) and `tokens`. Raises
    TaskError for a task that writes nothing, and what `golds` and `applied` raise.
    """
    labels, asked = labels_for(plans, len(model.blocks)), golds(model, questions)
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    _refuse_early(model, distinct)
    remembering = [plan for plan in distinct if groups(plan)]
    rows: list[tuple[object, ...]] = []
    with progress("decoding", _forced_calls(distinct, asked)) as advance:
        nats = {"exact": _surprisals(model, distinct, asked, questions)}
        size = sum(gold.size for gold in asked)
        advance(size * sum(len(plan.calls) for plan in distinct))
        averaged = _averaged(model, remembering, asked, advance)
        nats["averaged"] = [
            averaged.get(plan, exact) for plan, exact in zip(distinct, nats["exact"], strict=True)
        ]
    for number, plan in enumerate(distinct):
        for cache in CACHES:
            rows += [
                (str(plan), gold.task, cache, gold.item, value, len(gold.text))
                for gold, value in zip(asked, nats[cache][number], strict=True)
            ]
    return _labelled(model, labels, pd.DataFrame(rows, columns=[*_KEYS, "nats", "tokens"]))


def _forced_calls(plans: Sequence[Plan], asked: Sequence[Gold]) -> int:
    """Exactly under every plan; again under those whose memories can be averaged."""
    calls = sum(len(plan.calls) * (2 if groups(plan) else 1) for plan in plans)
    return calls * sum(gold.size for gold in asked)


def _averaged(
    model: TransformerBridge, plans: Sequence[Plan], asked: Sequence[Gold], advance: Advance
) -> dict[Plan, list[float]]:
    """Nats of every gold text under plans that have groups, decoded token by token."""
    if not plans:
        return {}
    prompts, texts = [gold.prompt for gold in asked], [gold.text for gold in asked]
    size = sum(gold.size for gold in asked) * sum(len(plan.calls) for plan in plans)
    with up_to(size, advance) as told:
        found = forced_under(model, plans, prompts, texts, "averaged", told)
    return {
        plan: [-float(row.sum()) for row in under] for plan, under in zip(plans, found, strict=True)
    }


def _surprisals(
    model: TransformerBridge, plans: Sequence[Plan], asked: Sequence[Gold], questions: Questions
) -> list[list[float]]:
    """Nats of every gold text under every plan, in one pass: decoded exactly, it costs the same."""
    inputs = [(*gold.prompt, *gold.text)[:-1] for gold in asked]
    sequences = tuple(dict.fromkeys(inputs))
    layout, packs = laid_out(model, sequences, _TOGETHER)
    place = {sequence: index for index, sequence in enumerate(sequences)}
    requests = [Request(place[row], gold.text) for row, gold in zip(inputs, asked, strict=True)]
    scoring = replace(
        questions,
        sequences=sequences,
        requests=tuple(requests),
        packs=tuple(packs),
        layout=layout,
        prompts=Prompts(),
        readings=(),
    )
    loglikelihood = score(model, plans, scoring).loglikelihood
    return [[-float(nats) for nats in row] for row in loglikelihood]


def free_running(model: TransformerBridge, plans: Plans, questions: Questions) -> pd.DataFrame:
    """Let the model write under every plan with both caches, greedily.

    Returns one row per labelled plan, task, cache and item: the labels, then model, revision,
    dtype, task, cache, item, `metric` (the task's first) and its `value`. Raises TaskError for a
    task that writes nothing, and what `score_items` raises.
    """
    labels = labels_for(plans, len(model.blocks))
    for task in questions.tasks:
        _written(task)
    exact = primary(score_items(model, labels, questions, intact=False))
    again = [text for text in labels["plan"].unique() if groups(as_plan(text, model))]
    averaged = exact[~exact["plan"].isin(again)]
    if again:
        other = primary(score_items(model, again, questions, cache="averaged", intact=False))
        averaged = pd.concat([averaged, other])
    parts = [exact.assign(cache="exact"), averaged.assign(cache="averaged")]
    found = pd.concat(parts)[[*_KEYS, "metric", "value"]]
    return _labelled(model, labels, found.astype({"plan": str, "task": str, "metric": str}))


def _labelled(model: TransformerBridge, labels: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    joined = labels.merge(found.assign(**model_columns(model)), on="plan")
    return typed(joined[[*labels.columns, *MODEL, *found.columns.drop("plan")]])
