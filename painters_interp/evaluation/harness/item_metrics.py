"""From lm-eval's answers to what its metrics say of every single item."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import nan
from numbers import Real
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.registry import AGGREGATION_REGISTRY
from lm_eval.api.task import Task

from ...statistics.aggregations import AGGREGATIONS, influences
from ..responses import Response, undefined
from .process import drawn_with, quiet_lm_eval, templates_compiled_once

# What lm-eval is shown in the place of NaN, by type of request.
_PLACEHOLDERS: dict[str, Response] = {
    "loglikelihood": (0.0, False),
    "loglikelihood_rolling": 0.0,
    "generate_until": "",
}
_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")


@dataclass(frozen=True)
class Metric:
    """One metric of one task under one plan, item by item.

    `items` are lm-eval's document ids. `values`, aggregated as `aggregation` says (a name in
    `aggregations.AGGREGATIONS`), are the metric; `reference` is what each is read against, NaN if
    nothing. `chance` is what guessing reaches on each item, NaN for metrics that are no accuracies.
    """

    name: str
    items: tuple[int, ...]
    values: tuple[float, ...]
    reference: tuple[float, ...]
    chance: tuple[float, ...]
    aggregation: str
    higher_is_better: bool | None


def metrics(task: Task, answers: Sequence[Response]) -> list[Metric]:
    """lm-eval's metrics of `task`, given the response to each of its requests.

    NaN in any response to a document makes every metric of it NaN.
    """
    by_document, unknown = defaultdict(list), set()
    for instance, answer in zip(task.instances, answers, strict=True):
        if undefined(answer):
            # The largest of several NaN is the first of them, so lm-eval would score it as right
            # or wrong by its place. It is shown something else, and its verdict is dropped.
            unknown.add(instance.doc_id)
            answer = _PLACEHOLDERS[instance.request_type]
        instance.resps, instance.filtered_resps = [answer] * instance.repeats, {}
        by_document[instance.doc_id].append(instance)
    # What a metric guesses by chance it guesses alike under every plan.
    with quiet_lm_eval(), templates_compiled_once(), drawn_with(0):
        task.apply_filters()
        values = _values(task, by_document)
        return [_metric(task, name, found, unknown) for name, found in values.items()]


def _values(
    task: Task, by_document: Mapping[int, list[Instance]]
) -> dict[str, list[tuple[int, Any]]]:
    """Every metric's value for every document that it speaks of, in order."""
    values: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for document, requests in by_document.items():
        requests.sort(key=lambda request: request.idx)
        for key in requests[0].filtered_resps:
            given = [request.filtered_resps[key] for request in requests]
            for name, value in task.process_results(requests[0].doc, given).items():
                full = name if key == "none" else f"{name},{key}"
                values[full].append((document, value))
    return values


def _metric(task: Task, name: str, found: list[tuple[int, Any]], unknown: Set[int]) -> Metric:
    base = name.split(",")[0]
    items = tuple(item for item, _ in found)
    aggregate = task.aggregation().get(base, mean)
    aggregation, values, reference = _numbers(aggregate, [value for _, value in found])
    return Metric(
        name=name,
        items=items,
        values=tuple(_known(items, values, unknown, aggregation)),
        reference=tuple(reference),
        chance=_chance(task, base, items),
        aggregation=aggregation,
        higher_is_better=task.higher_is_better().get(base),
    )


def _known(
    items: Sequence[int], values: Sequence[float], unknown: Set[int], aggregation: str
) -> Iterator[float]:
    """Values, NaN for what is unknown; each influence rests on all items."""
    every = aggregation == "jackknife" and not unknown.isdisjoint(items)
    for item, value in zip(items, values, strict=True):
        yield nan if every or item in unknown else value


def _numbers(
    aggregate: Callable[[list[Any]], float], found: list[Any]
) -> tuple[str, list[float], list[float]]:
    """What lm-eval aggregates over items as a known aggregation of numbers, or of influences."""
    name = next((n for n, known in AGGREGATION_REGISTRY.items() if known is aggregate), None)
    if name in AGGREGATIONS and all(_is_number(value) for value in found):
        return name, [float(value) for value in found], [nan] * len(found)
    if name in AGGREGATIONS and all(_is_pair(value) for value in found):
        first, second = ([float(number) for number in side] for side in zip(*found, strict=True))
        # lm-eval pairs the right label with the answer, but a log-likelihood with its length.
        labels = name in ("f1", "matthews_corrcoef")
        return (name, second, first) if labels else (name, first, second)
    return "jackknife", influences(aggregate, found), [nan] * len(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, np.bool_))


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))


def _chance(task: Task, metric: str, items: tuple[int, ...]) -> tuple[float, ...]:
    """What guessing reaches on each item: one over the number of choices."""
    if metric not in _ACCURACIES or callable(task.config.process_results) or _many_right(task):
        return (nan,) * len(items)
    if task.OUTPUT_TYPE != "multiple_choice" or metric == "exact_match":
        return (0.0,) * len(items)  # the text itself would have to be guessed
    requests = Counter(instance.doc_id for instance in task.instances)
    # Mutual information asks for every choice a second time, without its context.
    per_choice = 2 if "acc_mutual_info" in task.aggregation() else 1
    return tuple(per_choice / requests[item] for item in items)


def _many_right(task: Task) -> bool:
    """Whether several choices may be right, and guessing is better than it looks."""
    return bool(getattr(task, "multiple_target", False))
