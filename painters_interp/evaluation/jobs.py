"""A long evaluation in pieces: what is kept on disk is read, the rest run a minute at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..execution import Archive
from ..plans import Plan
from ..plans.sharing import shared_length
from ..storage import Shelf
from ..strategies import full
from .harness import Task
from .harness.requests import definition, named
from .measurements import MEASUREMENTS, Measurement
from .questions import Questions
from .scoring import time_per_call

# What an interruption may cost.
_SECONDS = 60.0
# The rooms of this package whose code turns a question into a value.
_DECISIVE = ("evaluation", "generation", "damage", "execution", "models", "plans", "statistics")


@dataclass(frozen=True, eq=False)
class Job:
    """Some plans to measure on some questions, and where to keep what is found."""

    measurement: Measurement
    questions: Questions
    plans: Sequence[Plan]
    cache: str = "exact"
    shelves: Sequence[Shelf] = ()

    def keep(self, items: pd.DataFrame) -> None:
        """Put each task's items on its own shelf."""
        for shelf in self.shelves:
            shelf.write(items[items["task"] == shelf.name])


def archive_for(model: TransformerBridge, folder: str | Path) -> Archive:
    """Where answers of `model` are kept; its weights are hashed, about a second per GB.

    Raises UnsupportedModelError for hooks on the model.
    """
    return Archive.of(model, folder, _DECISIVE)


def pending(
    model: TransformerBridge,
    plans: Sequence[Plan],
    questions: Questions,
    measured: str,
    cache: str,
    archive: Archive,
) -> tuple[list[pd.DataFrame], list[Job]]:
    """Kept items of `plans`, and jobs of about a minute for the others.

    A plan counts as kept if it is for every task of `questions`.
    """
    own = shelves(questions.tasks, questions.seed, measured, cache, archive)
    kept = [table for shelf in own if (table := shelf.read()) is not None]
    wanted = {str(plan): plan for plan in plans}
    known = set(wanted) if len(kept) == len(own) else set()
    known = known.intersection(*({*table["plan"].unique()} for table in kept))
    found = [table[table["plan"].isin(known)] for table in kept] if known else []
    missing = [plan for text, plan in wanted.items() if text not in known]
    if not missing:
        return found, []
    intact = full(len(model.blocks))
    seconds = time_per_call(model, questions) * questions.calls([intact]) / len(intact.calls)
    groups = in_groups(missing, _SECONDS / seconds)
    return found, [Job(MEASUREMENTS[measured], questions, g, cache, own) for g in groups]


def shelves(
    tasks: Sequence[Task], seed: int, measured: str, cache: str, archive: Archive
) -> list[Shelf]:
    """Where one model's answers to each of some tasks are kept."""
    facts = {**archive.facts, "measured": measured, "seed": seed, "cache": cache}
    return [Shelf(archive.folder, task.config.task, facts | _asked(task)) for task in tasks]


def _asked(task: Task) -> dict[str, Any]:
    """All of a task that answers depend on: its very requests, and how they are judged."""
    how = {"definition": definition(task), "num_fewshot": task.config.num_fewshot or 0}
    return {**named(task), **how}


def in_groups(plans: Sequence[Plan], calls: float) -> Iterator[list[Plan]]:
    """Plans in groups of about `calls` shared layer calls each, beginnings kept together."""
    group: list[Plan] = []
    spent = 0
    for plan in sorted(plans, key=_order):
        last = group[-1].steps if group else ()
        more = sum(step.size for step in plan.steps[shared_length(plan.steps, last) :])
        if group and spent + more > calls:
            yield group
            group, spent, more = [], 0, len(plan.calls)
        group.append(plan)
        spent += more
    if group:
        yield group


def _order(plan: Plan) -> list[str]:
    """Equal steps have equal texts, so that plans which begin alike come together."""
    return [str(step) for step in plan.steps]
