"""Whoever does the work: holds one model, says what there is to do for it, and does it."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PaintersError, TaskError, UnsupportedModelError, out_of_memory
from ..evaluation import time_per_call
from ..evaluation.harness import Task
from ..evaluation.harness.requests import requests_digest
from ..evaluation.harness.tasks import load_tasks, portion
from ..evaluation.harness.tokens import tokenizer_of
from ..evaluation.jobs import archive_for, shelves
from ..evaluation.measurements import MEASUREMENTS
from ..evaluation.questions import Questions, questions_of
from ..execution import Archive, family_of
from ..models import identity, load_model
from ..plans import Plan
from ..progress import silent
from ..tables.items import joined
from .shards import Group, Question, Shard
from .spec import TOGETHER, Spec
from .work import Answered, Place, Survey


class Worker:
    """Holds the model that it was last asked about, and answers one shard after the other.

    `threads` are those of a processor that it computes with; torch's own choice if None.
    """

    def __init__(self, spec: Spec, device: str | None = None, threads: int | None = None) -> None:
        self._spec = spec
        self._device = device
        self._group: Group | None = None
        self._model: TransformerBridge | None = None
        self._archive: Archive | None = None  # of the model, which takes a second per GB
        self._tasks: dict[Question, Task] = {}
        self._together: dict[Question, int] = {}
        if threads is not None:
            torch.set_num_threads(threads)

    def load(self, group: Group) -> None:
        """Hold this model from now on. Raises PaintersError where it cannot be loaded."""
        self._loaded(group)

    def survey(self, group: Group, shards: Sequence[Shard]) -> Survey:
        """What there is to do for a model: its plans, and where the answers are to lie.

        Raises PaintersError for a model that cannot be loaded or cannot run the plans.
        """
        model = self._loaded(group)
        labels = self._spec.labels(len(model.blocks))
        plans = _plans([*labels["plan"].unique()], model)
        paces: dict[Question, tuple[float, float]] = {}
        places = {}
        for shard in shards:
            of = shard.question
            if of not in paces:
                paces[of] = self._pace(of, shard.items, plans)
            calls, seconds = (round(len(shard.items) * paces[of][0]), paces[of][1])
            places[shard.id] = self._place(shard, calls, seconds * calls)
        return Survey(group, labels, identity(model), places)

    def answer(self, shard: Shard, plans: Sequence[str], facts: Mapping[str, Any]) -> Answered:
        """The items of a shard under some plans, to be kept where `facts` are noted.

        Where memory runs out, fewer items go through the model together, from then on; an item
        that raises an error is found by halving, and left out. Raises PaintersError where the
        facts are others here: a model or a task that was changed since, or is another one on this
        machine.
        """
        start = time.perf_counter()
        model = self._loaded(shard.group)
        _refuse_others(shard, facts, self._facts(shard))
        parsed = _plans(plans, model)
        found: list[pd.DataFrame] = []
        lost: dict[int, str] = {}
        batches: list[int] = []
        halved = False
        waiting = [*_batches(shard.items, self._together.get(shard.question, TOGETHER))][::-1]
        while waiting:
            batch = waiting.pop()
            try:
                found.append(self._items(shard, batch, parsed))
                batches.append(len(batch))
                continue
            except Exception as error:  # of models, tasks, metrics and devices alike
                short, reason = out_of_memory(error), why(error)
            gc.collect()  # what the failed pass held is gone with its error
            if len(batch) == 1:
                lost[batch[0]] = reason
                continue
            half = (len(batch) + 1) // 2
            if short:
                halved, self._together[shard.question] = True, half
                rest = [item for later in waiting[::-1] for item in later]
                waiting = [*_batches((*batch, *rest), half)][::-1]
            else:
                waiting += [*_batches(batch, half)][::-1]
        requests = requests_digest(portion(self._task(shard.question), shard.items))
        items = joined(found).assign(requests=requests) if found else None
        return Answered(items, tuple(batches), time.perf_counter() - start, lost, halved)

    def _items(self, shard: Shard, batch: Sequence[int], plans: Sequence[Plan]) -> pd.DataFrame:
        model, questions = self._loaded(shard.group), self._questions(shard.question, batch)
        measurement = MEASUREMENTS[shard.measured]
        with silent():
            return measurement.items(model, plans, questions, self._spec.cache, _unwatched)

    def _place(self, shard: Shard, calls: int, seconds: float) -> Place:
        requests = requests_digest(self._task(shard.question))
        return Place(self._facts(shard), requests, seconds, calls)

    def _facts(self, shard: Shard) -> Mapping[str, Any]:
        """All that the answers to a shard depend on but the plan, as they are here."""
        if self._archive is None:
            self._archive = archive_for(self._held, Path())
        own, seed = portion(self._task(shard.question), shard.items), shard.question.seed
        [shelf] = shelves([own], seed, shard.measured, self._spec.cache, self._archive)
        return shelf.facts

    def _pace(
        self, question: Question, items: Sequence[int], plans: Sequence[Plan]
    ) -> tuple[float, float]:
        """Token-layer calls of an item under all plans, and seconds of a call."""
        few = items[:TOGETHER]
        questions = self._questions(question, few)
        with silent():
            seconds = time_per_call(self._held, questions)
        return questions.calls(plans) / len(few), seconds

    @property
    def group(self) -> Group | None:
        """The model that it holds."""
        return self._group

    @property
    def _held(self) -> TransformerBridge:
        assert self._model is not None, "a worker is asked of a model first"
        return self._model

    def _questions(self, question: Question, items: Sequence[int]) -> Questions:
        task = portion(self._task(question), items)
        return questions_of(self._held, [task], question.seed, self._spec.chat)

    def _task(self, question: Question) -> Task:
        if question not in self._tasks:
            template = None
            if self._spec.chat:
                template = tokenizer_of(self._held).chat_template_of_model()
            self._tasks |= tasks_of(self._spec, question, template)
        if question not in self._tasks:
            raise TaskError(
                f"the items of task {question.task!r} are not those with which the sweep began; "
                "where they were changed, run it again"
            )
        return self._tasks[question]

    def _loaded(self, group: Group) -> TransformerBridge:
        if self._model is None or self._group != group:
            self.let_go()  # before loading: two models may not fit
            device = None if group.device_map is not None else self._device
            model = load_model(group.model, device=device, **group.options)
            if not family_of(model).causal:
                raise UnsupportedModelError(
                    f"{group.model} is a masked language model, or bidirectional; lm-eval's tasks "
                    "need next-token probabilities"
                )
            self._model, self._group = model, group
        return self._model

    def let_go(self) -> None:
        """Hold no model any more."""
        held, self._model, self._group, self._archive = self._model, None, None, None
        self._tasks.clear()
        self._together.clear()
        if held is not None:
            del held
            gc.collect()


def tasks_of(
    spec: Spec, question: Question, template: Callable[..., str] | None = None
) -> dict[Question, Task]:
    """The tasks that the name in a question stands for, prompts made, each with its own question.

    Raises TaskError.
    """
    load = partial(
        load_tasks, [question.asked], spec.data, question.limit, question.shots, question.seed,
        spec.include or None, spec.trust,
    )  # fmt: skip
    found = load()
    told = [
        replace(question, task=task.config.task, requests=requests_digest(task)) for task in found
    ]
    return dict(zip(told, found if template is None else load(template), strict=True))


def _refuse_others(shard: Shard, noted: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise PaintersError where what the answers depend on is not what was noted of it."""
    differ = sorted(name for name in {*noted, *here} if noted.get(name) != here.get(name))
    if differ:
        raise PaintersError(
            f"{shard.group.name} and task {shard.question.task!r} are not what they were when the "
            f"sweep began ({', '.join(differ)}); where one was changed, run it again, and where "
            "another machine has another one, give it the same"
        )


def _unwatched(calls: int) -> None:
    """Nobody watches a worker's bar."""


def _plans(texts: Sequence[str], model: TransformerBridge) -> list[Plan]:
    return [Plan.parse(str(text), n_layers=len(model.blocks)) for text in texts]


def _batches(items: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    return (tuple(items[start : start + size]) for start in range(0, len(items), size))


def why(error: BaseException) -> str:
    """An error in a line."""
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
