"""From lm-eval's answers to its metrics, with their standard errors and chance levels."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean, stderr_for_metric
from lm_eval.api.task import Task

from .responses import Response
from .tasks import quiet_lm_eval, templates_compiled_once

_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")


@dataclass(frozen=True)
class Metric:
    """One metric of one task under one plan.

    `stderr` is None where lm-eval has no closed form; `chance` is what guessing reaches, None for
    metrics that are not accuracies.
    """

    name: str
    value: float
    stderr: float | None
    n: int
    chance: float | None
    higher_is_better: bool | None


def metrics(task: Task, answers: Sequence[Response]) -> list[Metric]:
    """lm-eval's metrics of `task`, given the response to each of its requests."""
    by_document = defaultdict(list)
    for instance, answer in zip(task.instances, answers, strict=True):
        instance.resps, instance.filtered_resps = [answer] * instance.repeats, {}
        by_document[instance.doc_id].append(instance)
    with quiet_lm_eval(), templates_compiled_once():
        task.apply_filters()
        values = _values(task, by_document)
    return [_aggregated(task, name, found) for name, found in values.items()]


def _values(task: Task, by_document: Mapping[int, list[Instance]]) -> dict[str, list[Any]]:
    """Every metric's value for every document, in order."""
    values: dict[str, list[Any]] = defaultdict(list)
    for requests in by_document.values():
        requests.sort(key=lambda request: request.idx)
        for key in requests[0].filtered_resps:
            given = [request.filtered_resps[key] for request in requests]
            for name, value in task.process_results(requests[0].doc, given).items():
                values[name if key == "none" else f"{name},{key}"].append(value)
    return values


def _aggregated(task: Task, name: str, values: list[Any]) -> Metric:
    base = name.split(",")[0]
    aggregation = task.aggregation().get(base, mean)
    spread = stderr_for_metric(aggregation, bootstrap_iters=1) if aggregation is mean else None
    return Metric(
        name=name,
        value=float(aggregation(values)),
        stderr=float(spread(values)) if spread and len(values) > 1 else None,
        n=len(values),
        chance=_chance(task, base),
        higher_is_better=task.higher_is_better().get(base),
    )


def _chance(task: Task, metric: str) -> float | None:
    """What guessing reaches: one over the number of choices, on average over the items."""
    if metric not in _ACCURACIES or callable(task.config.process_results) or _many_right(task):
        return None
    if task.OUTPUT_TYPE != "multiple_choice" or metric == "exact_match":
        return 0.0  # the text itself would have to be guessed
    requests = Counter(instance.doc_id for instance in task.instances)
    # Mutual information asks for every choice a second time, without its context.
    per_choice = 2 if "acc_mutual_info" in task.aggregation() else 1
    return per_choice * float(mean([1 / n for n in requests.values()]))


def _many_right(task: Task) -> bool:
    """Whether several choices may be right, and guessing is better than it looks."""
    return bool(getattr(task, "multiple_target", False))
