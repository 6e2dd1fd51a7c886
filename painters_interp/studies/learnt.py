"""What studies of trained heads and fine-tuned models are given: tasks to learn, as of GLUE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PaintersError, TableError
from ..experiments import plans as plans_of
from ..learning import TASKS, Examples, Tuning, classify_items, named
from ..learning.classification import all_examples
from ..learning.examples import Split, held_out
from ..learning.features import final_features, pool_of, sequences
from ..learning.named import glue_in
from ..learning.tuning import tuning_calls
from ..models import Model, as_model
from ..plans import Plan
from ..progress import trial
from ..strategies import full
from ..tables import labelled
from ..tables.items import joined, summarise
from ..tables.labels import labels_for
from .claims import SCORE, Sampled
from .study import clear_of_chance, medians
from .work import Work

LIMIT = 400  # examples to learn from, and to score
_TRIED = 64  # examples that a pace is measured on, at most
_PLANS = 4  # that a head is timed under
_OF_A_CLASS = 4
_STEPS = (1, 3)  # of training: what they differ by is a pace


@dataclass(frozen=True, eq=False)
class Learnt:
    """A model, and the tasks whose heads are trained on its states."""

    model: TransformerBridge
    tasks: tuple[Examples, ...]
    seed: int = 0
    store: str | Path | None = None

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
        """Every scored example under every plan: of heads, or with `tuning` of all weights.

        Raises TableError where the intact model is on no task clearly above chance, before anything
        is learnt under another plan.
        """
        intact = labels_for({"intact": full(self.n)}, self.n)
        first = self._items(intact, tuning)
        clear_of_chance(self.scores(intact, first))
        others = plans[plans["plan"].ne(str(full(self.n)))]
        return first if others.empty else joined([first, self._items(others, tuning)])

    def _items(self, plans: pd.DataFrame, tuning: Tuning | None) -> pd.DataFrame:
        train = "head" if tuning is None else "all"
        own: dict[str, Any] = {"seed": self.seed, "tuning": tuning, "store": self.store}
        return classify_items(self.model, plans, list(self.tasks), train=train, **own)

    def scores(self, plans: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
        """What the items say of the labelled plans, task by task."""
        own = items[items["plan"].isin(plans["plan"])]
        labels = labels_for(plans, self.n)
        return labelled(labels, summarise(own, intact=str(full(self.n)), seed=self.seed))

    def calls(self, plans: pd.DataFrame, tuning: Tuning | None = None) -> Work:
        """What `items` takes, the intact model by itself."""
        chosen = [*dict.fromkeys([full(self.n), *plans_of(plans)])]
        parts = (chosen[:1], chosen[1:])
        calls = sum(self._number(self.tasks, part, tuning) for part in parts)
        return Work(calls, partial(self._seconds, chosen, tuning, calls))

    def pace(self) -> float:
        """Seconds that one layer takes for one token here, measured on a few of the examples."""
        intact, texts = (
            [full(self.n)],
            sequences(self.model, self._few(self.tasks[0], _TRIED).train.texts),
        )
        read = partial(final_features, self.model, intact, texts, pool_of(self.model, None))
        return trial(read) / texts.calls(intact)

    def _few(self, task: Examples, count: int) -> Examples:
        """So many of a task's examples, or some more, so that there are several of every class."""
        count = max(count, _OF_A_CLASS * len(task.classes))
        return replace(task, train=self._some(task, task.train, count),
                       scored=self._some(task, task.scored, count))  # fmt: skip

    def _some(self, task: Examples, split: Split, count: int) -> Split:
        if count >= len(split):
            return split
        return split.at(held_out(split.right, bool(task.classes), count / len(split), self.seed))

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
        """What all of it takes, by a trial of a few examples."""
        if tuning is None:
            return self._of_heads(plans, calls)
        return sum(self._of_copies(task, plans, tuning) for task in self.tasks)

    def _of_heads(self, plans: Sequence[Plan], calls: int) -> float:
        """The pace of calls, what each head takes beside that, which grows with examples, and what
        is done once: the first of a few plans takes both, and the others heads alone."""
        few, pace, some = self._few(self.tasks[0], _TRIED), self.pace(), plans[:_PLANS]
        one, all_of_them = (
            self._trial(few, part, None) - pace * self._number([few], part, None)
            for part in (some[:1], some)
        )
        head = max(0.0, all_of_them - one) / max(1, len(some) - 1)
        share = sum(len(task.train) for task in self.tasks) / len(few.train)
        return pace * calls + max(0.0, one - head) + head * share * len(plans)

    def _of_copies(self, task: Examples, plans: Sequence[Plan], tuning: Tuning) -> float:
        """What steps on some of the task take, and what a copy of the model takes beside them.

        Each task is tried: a step costs what its longest text does, and moves weights of any number
        once.
        """
        once, intact = replace(tuning, epochs=1), [full(self.n)]
        few, more = (self._few(task, steps * tuning.batch) for steps in _STEPS)
        alone, together = (self._trial(some, intact, once) for some in (few, more))
        calls, further = (self._number([some], intact, once) for some in (few, more))
        total = self._number([task], plans, tuning)
        pace = (together - alone) / max(1, further - calls)
        if pace <= 0:  # what else runs here has drowned it
            return together * total / further
        return pace * total + max(0.0, alone - pace * calls) * len(plans)

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

    Raises PaintersError for texts, which it has no use for; TaskError for tasks.
    """
    if texts is not None:
        raise PaintersError("this study learns tasks, and has no use for texts")
    if tasks is None:
        found = [named(name, data) for name in _there(data)]
    else:
        found = all_examples(tasks, data)
    chosen = tuple(task.limited(limit, seed) for task in found)
    return Learnt(as_model(model), chosen, seed, store)


def _there(data: str | Path | None) -> Sequence[str]:
    """The tasks whose data are there."""
    if data is None:
        return TASKS[:1]
    found = glue_in(Path(data).expanduser())
    if not found:
        named = ", ".join(TASKS[1:])
        raise PaintersError(
            f"no task of GLUE in {data}: no folder {named}, nor one of them in glue"
        )
    return found


def means(table: pd.DataFrame, items: pd.DataFrame, seed: int = 0) -> Sampled:
    """Mean score over the tasks that tell anything, as the paper sums up GLUE; rows as `medians`.

    Raises TableError where the intact model is clearly above chance on none.
    """
    clear = clear_of_chance(table)
    each = [medians(rows, items, seed) for _, rows in clear.groupby("task", sort=False)]
    values, samples = ([getattr(one, name) for one in each] for name in ("values", "samples"))
    rows = each[0].rows.assign(tasks=len(each), score=np.mean(values, axis=0))
    return Sampled(rows, np.mean(values, axis=0), np.mean(samples, axis=0), SCORE)


def alike(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of the tasks on which the intact model is clearly above chance in every table.

    Means over them can be compared. Raises TableError where there is no such task.
    """
    clear = [{*clear_of_chance(table)["task"]} for table in tables.values()]
    if not (tasks := set.intersection(*clear)):
        raise TableError(
            f"on no task is the intact model clearly above chance both ways ({', '.join(tables)}), "
            "so they cannot be compared; give other tasks, or more items"
        )
    return {name: table[table["task"].isin(tasks)] for name, table in tables.items()}
