"""What studies of trained heads and fine-tuned models are given: tasks to learn, as of GLUE."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PaintersError
from ..experiments import plans as plans_of
from ..learning import TASKS, Examples, Tuning, classify_items, named
from ..learning.classification import all_examples
from ..learning.features import final_features, pool_of, sequences
from ..learning.tuning import tuning_calls
from ..models import Model, as_model, copied
from ..plans import Plan
from ..progress import trial
from ..strategies import full
from ..tables import above_chance, labelled, primary
from ..tables.items import summarise
from ..tables.labels import labels_for
from .claims import Sampled
from .study import medians
from .work import Work

LIMIT = 400  # examples to learn from, and to score
_TRIED = 64  # examples that a pace is measured on, at most


@dataclass(frozen=True, eq=False)
class Learnt:
    """A model, and the tasks whose heads are trained on its states."""

    model: TransformerBridge
    tasks: tuple[Examples, ...]
    seed: int = 0

    @property
    def n(self) -> int:
        """Number of layers."""
        return len(self.model.blocks)

    @property
    def told(self) -> str:
        """How much there is."""
        learnt, scored = (
            sum(len(part) for part in parts)
            for parts in zip(*((t.train, t.scored) for t in self.tasks), strict=True)
        )
        return f"{learnt} examples to learn from, {scored} to score"

    @property
    def most(self) -> int:
        """Examples of the largest task."""
        return max(max(len(task.train), len(task.scored)) for task in self.tasks)

    @property
    def facts(self) -> dict[str, Any]:
        """What its findings depend on, beside the model."""
        return {
            "tasks": {task.name: task.version for task in self.tasks},
            "examples": {task.name: task.digest() for task in self.tasks},
            "items": sum(len(task.scored) for task in self.tasks),
            "texts": sum(len(task.train) for task in self.tasks),
            "seed": self.seed,
        }

    def items(self, plans: pd.DataFrame, tuning: Tuning | None = None) -> pd.DataFrame:
        """Every scored example under every plan: of heads, or with `tuning` of all weights."""
        train = "head" if tuning is None else "all"
        return classify_items(
            self.model, plans, list(self.tasks), train=train, seed=self.seed, tuning=tuning
        )

    def scores(self, plans: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
        """What the items say of the labelled plans, task by task."""
        own = items[items["plan"].isin(plans["plan"])]
        labels = labels_for(plans, self.n)
        return labelled(labels, summarise(own, intact=str(full(self.n)), seed=self.seed))

    def calls(self, plans: pd.DataFrame, tuning: Tuning | None = None) -> Work:
        """What `items` takes."""
        chosen = [*dict.fromkeys(plans_of(plans))]
        calls = self._number(self.tasks, chosen, tuning)
        return Work(calls, partial(self._seconds, chosen, tuning, calls))

    def _number(
        self, tasks: Sequence[Examples], plans: Sequence[Plan], tuning: Tuning | None
    ) -> int:
        read = [
            [sequences(self.model, part.texts) for part in (task.train, task.scored)]
            for task in tasks
        ]
        if tuning is None:
            return sum(part.calls(plans) for parts in read for part in parts)
        return sum(tuning_calls(tuning, plan, *parts) for plan in plans for parts in read)

    def _seconds(self, plans: Sequence[Plan], tuning: Tuning | None, calls: int) -> float:
        """What a few examples of the first task take: the pace of their calls, and beside that
        what each head takes, which grows with the examples, or each copy of the model."""
        intact = [full(self.n)]
        few = self.tasks[0].limited(min(_TRIED, len(self.tasks[0].scored)), self.seed)
        one = self._trial(few, intact, tuning)
        if tuning is None:
            texts = sequences(self.model, few.train.texts)
            read = partial(final_features, self.model, intact, texts, pool_of(self.model, None))
            pace = trial(read) / texts.calls(intact)
            beside = max(0.0, one - pace * self._number([few], intact, None))
            share = sum(len(task.train) for task in self.tasks) / len(few.train)
            return pace * calls + beside * share * len(plans)
        beside = trial(partial(copied, self.model))
        pace = max(0.0, one - beside) / self._number([few], intact, tuning)
        return pace * calls + beside * len(plans) * len(self.tasks)

    def _trial(self, few: Examples, plans: Sequence[Plan], tuning: Tuning | None) -> float:
        train = "head" if tuning is None else "all"
        asked: dict[str, Any] = {"train": train, "seed": self.seed, "tuning": tuning}
        return trial(partial(classify_items, self.model, list(plans), few, **asked))


def learnt(
    model: Model,
    tasks: Any = None,
    data: str | Path | None = None,
    limit: int | float | None = LIMIT,
    texts: Any = None,
    seed: int = 0,
    store: str | Path | None = None,
) -> Learnt:
    """The setting of such a study: all of GLUE that lies in `data`, else the built-in probe.

    Raises PaintersError for texts and a store, which it has no use for; TaskError for tasks.
    """
    for name, given in (("texts", texts), ("store", store)):
        if given is not None:
            raise PaintersError(f"this study learns tasks, and has no use for {name}")
    if tasks is None:
        found = [named(name, data) for name in _there(data)]
    else:
        found = all_examples(tasks, data)
    return Learnt(as_model(model), tuple(task.limited(limit, seed) for task in found), seed)


def _there(data: str | Path | None) -> Sequence[str]:
    """The tasks whose data are there."""
    if data is None:
        return TASKS[:1]
    found = [name for name in TASKS[1:] if (Path(data).expanduser() / name).is_dir()]
    if not found:
        raise PaintersError(f"no task of GLUE in {data}: no folder {', '.join(TASKS[1:])}")
    return found


def means(table: pd.DataFrame, items: pd.DataFrame, seed: int = 0) -> Sampled:
    """Mean score over the tasks that tell anything, as the paper sums up GLUE; rows as `medians`.

    Raises TableError where the intact model is clearly above chance on none.
    """
    clear = above_chance(primary(table))
    if clear.empty:
        return medians(table, items, seed)  # which says so
    each = [medians(rows, items, seed) for _, rows in clear.groupby("task", sort=False)]
    values, samples = ([getattr(one, name) for one in each] for name in ("values", "samples"))
    rows = each[0].rows.assign(tasks=len(each), score=np.mean(values, axis=0))
    return Sampled(rows, np.mean(values, axis=0), np.mean(samples, axis=0))
