"""What is measured of every item under every plan: lm-eval's metrics, KL to the intact model."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..damage import calls_needed, document_divergences
from ..models.fingerprint import model_columns
from ..plans import Plan
from ..progress import Advance
from ..tables.items import item_table
from .harness import Task
from .harness.item_metrics import Metric, metrics
from .harness.process import quiet_lm_eval
from .harness.requests import documents, named
from .questions import Questions
from .responses import Answers
from .scoring import score


@dataclass(frozen=True)
class Measurement:
    """`items` makes the item table of some plans, texts written under the named cache; `calls`
    says how many token-layer calls that is."""

    items: Callable[[TransformerBridge, Sequence[Plan], Questions, str, Advance], pd.DataFrame]
    calls: Callable[[TransformerBridge, Sequence[Plan], Questions], int]


def _answers(
    model: TransformerBridge,
    plans: Sequence[Plan],
    questions: Questions,
    cache: str,
    advance: Advance,
) -> pd.DataFrame:
    answers = score(model, plans, questions, advance, cache)
    with quiet_lm_eval():  # once: every change of a logger forgets what all loggers let through
        parts = [
            _rows(metric, cut).assign(plan=str(plan), **named(task))
            for index, plan in enumerate(plans)
            for (task, found), cut in zip(
                _metrics(index, questions, answers), questions.cut, strict=True
            )
            for metric in found
        ]
    return _table(model, questions, parts)


def _metrics(
    index: int, questions: Questions, answers: Answers
) -> Iterator[tuple[Task, list[Metric]]]:
    """Every task with its metrics under one plan."""
    start = 0
    for task in questions.tasks:
        span = slice(start, start := start + len(task.instances))
        yield task, metrics(task, answers.responses(index, questions.readings[span]))


def _rows(metric: Metric, cut: Set[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": metric.name,
            "item": metric.items,
            "value": metric.values,
            "reference": metric.reference,
            "chance": metric.chance,
            "truncated": [item in cut for item in metric.items],
            "aggregation": metric.aggregation,
            "higher_is_better": metric.higher_is_better,
        }
    )


def _answer_calls(model: TransformerBridge, plans: Sequence[Plan], questions: Questions) -> int:
    return questions.calls(plans)


def _divergences(
    model: TransformerBridge,
    plans: Sequence[Plan],
    questions: Questions,
    cache: str,
    advance: Advance,
) -> pd.DataFrame:
    """KL(intact || plan) in nats per token of each item's text, in one pass, which has no cache."""
    parts = []
    for task in questions.tasks:
        texts = documents(task)
        # Inside the bar of the caller, which is told.
        sums, tokens = document_divergences(model, plans, list(texts.values()))
        row = {"metric": "kl", "aggregation": "ratio", "higher_is_better": False}
        row |= {"item": list(texts), "reference": tokens, "chance": float("nan")}
        row |= {"truncated": False}  # what is longer is read in pieces
        parts += [
            pd.DataFrame({**row, "value": sums[:, index]}).assign(plan=str(plan), **named(task))
            for index, plan in enumerate(plans)
        ]
    return _table(model, questions, parts)


def _divergence_calls(model: TransformerBridge, plans: Sequence[Plan], questions: Questions) -> int:
    texts = (list(documents(task).values()) for task in questions.tasks)
    return sum(calls_needed(model, plans, some) for some in texts)


def _table(
    model: TransformerBridge, questions: Questions, parts: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    rows = pd.concat(parts, ignore_index=True)
    return item_table(rows.assign(**model_columns(model), seed=questions.seed))


TASK_METRICS = "task metrics"
MEASUREMENTS = {
    TASK_METRICS: Measurement(_answers, _answer_calls),
    "kl": Measurement(_divergences, _divergence_calls),
}
