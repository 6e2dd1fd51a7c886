"""What a search makes small: KL to the intact model, loss on texts, or what a task loses."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from ..damage import document_divergences
from ..errors import TaskError
from ..evaluation import Questions, prepare, score_items, task
from ..plans import Plan
from ..statistics import resampled_ratio
from ..tables import primary
from ..tables.items import runs, summarise
from .requests import FEWEST, refuse_few

_BITS = "bits_per_byte"


@dataclass(frozen=True, eq=False)
class Measured:
    """A number per plan, and the same on bootstrap samples of what was read; less is better."""

    values: Float[np.ndarray, " plan"]
    samples: Float[np.ndarray, "resample plan"]


@dataclass(frozen=True, eq=False)
class Objective:
    """What plans are scored by: chosen on one half of texts or items, judged on the other."""

    name: str
    choosing: Callable[[Sequence[Plan]], Measured]
    judging: Callable[[Sequence[Plan]], Measured]
    texts: tuple[str, ...]
    asked: str  # a digest of what is asked of plans when they are chosen


def kl(model: TransformerBridge, texts: Sequence[str], seed: int) -> Objective:
    """KL to the intact model, in nats per token. Raises TextError for too few texts."""
    halves = _halves(texts)
    first, second = (partial(_kl, model, half, seed) for half in halves)
    return Objective(
        "KL to the intact model (nats per token)", first, second, halves[0], _digest(halves[0])
    )


def _kl(
    model: TransformerBridge, texts: Sequence[str], seed: int, plans: Sequence[Plan]
) -> Measured:
    sums, tokens = document_divergences(model, plans, texts)
    return Measured(sums.sum(axis=0) / tokens.sum(), resampled_ratio(sums, tokens, seed=seed))


def loss(
    model: TransformerBridge, texts: Sequence[str], seed: int, store: str | Path | None
) -> Objective:
    """Loss in bits per byte of text. Raises TextError for too few texts."""
    halves = _halves(texts)
    asked = [
        prepare(model, task("texts", [{"text": t} for t in half], "loglikelihood_rolling"))
        for half in halves
    ]
    first, second = (partial(_loss, model, half, seed, store) for half in asked)
    return Objective("loss (bits per byte)", first, second, halves[0], _digest(halves[0]))


def _loss(
    model: TransformerBridge,
    asked: Questions,
    seed: int,
    store: str | Path | None,
    plans: Sequence[Plan],
) -> Measured:
    items = score_items(model, [*plans], asked, store=store, intact=False)
    [run] = runs(items[items["metric"] == _BITS])
    places = pd.Index(run.plans).get_indexer(pd.Index([str(plan) for plan in plans]))
    return Measured(run.value[places], run.resampled(seed)[:, places])


def of_tasks(
    model: TransformerBridge, questions: Questions, seed: int, store: str | Path | None
) -> Objective:
    """1 - score, the mean over tasks of their first metric, where a larger one is better.

    Every second item is chosen on, the others are judged on. Raises TaskError for too few items,
    and for a task whose metric does not lie between 0 and 1 with 1 the best.
    """
    if questions.items < FEWEST * len(questions.tasks):
        raise TaskError(
            f"half of the items are held back: {questions.items} are too few; give {FEWEST} or "
            "more of each task"
        )
    first, second = (partial(_of_tasks, model, questions, seed, store, half) for half in (0, 1))
    asked = _digest([questions.digests, questions.chat, questions.items])
    return Objective("1 - score", first, second, tuple(questions.texts), asked)


def _of_tasks(
    model: TransformerBridge,
    questions: Questions,
    seed: int,
    store: str | Path | None,
    half: int,
    plans: Sequence[Plan],
) -> Measured:
    items = score_items(model, [*plans], questions, store=store, intact=False)
    names = primary(summarise(items))[["task", "metric"]].drop_duplicates()
    items = items.merge(names, on=["task", "metric"])
    found = []
    for run in runs(items):
        if not run.facts["higher_is_better"] or (run.values > 1).any():
            raise TaskError(
                f"a search needs a metric between 0 and 1; {run.facts['task']} is scored by "
                f"{run.facts['metric']}"
            )
        own = np.arange(run.n) % 2 == half
        part = replace(
            run,
            values=run.values[:, own],
            reference=run.reference[:, own],
            chance=run.chance[own],
            truncated=run.truncated[own],
        )
        places = pd.Index(part.plans).get_indexer(pd.Index([str(plan) for plan in plans]))
        found.append((1 - part.value[places], 1 - part.resampled(seed)[:, places]))
    values, samples = (np.mean(parts, axis=0) for parts in zip(*found, strict=True))
    return Measured(values, samples)


def _halves(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    distinct = tuple(dict.fromkeys(texts))  # a text that has chosen cannot judge
    refuse_few(len(distinct))
    return distinct[::2], distinct[1::2]


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
