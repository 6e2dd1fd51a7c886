"""lm-eval's side: finding tasks and their data, building requests, turning answers into metrics.

Prompts, shots, filters and metrics are lm-eval's own. Tasks come from the hub, from a local
folder, or from this package (the probes, which need neither).
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

from lm_eval.api.metrics import mean, stderr_for_metric
from lm_eval.api.task import Task
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.tasks import TaskManager

from ..errors import TaskError

PROBES = ("probe_cloze", "probe_facts", "probe_arithmetic", "probe_grammar", "probe_order")
_PROBE_FOLDER = Path(__file__).parent / "probes"
_SCORED = ("loglikelihood", "multiple_choice")
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


def load_tasks(
    names: Sequence[str],
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
) -> list[Task]:
    """lm-eval tasks by name, with their requests built.

    `data` is a folder with one folder per task, holding a `<split>.jsonl` in the layout of the
    task's own data set; without it the hub is asked. `limit` (items per task; below 1 a share)
    and `num_fewshot` mean what they mean in lm-eval. Raises TaskError.
    """
    if isinstance(names, str) or not names:
        raise TaskError("tasks must be a list of at least one task name")
    manager = _manager(everything=not set(names) <= set(PROBES))
    with _quiet():
        tasks = [task for name in names for task in _found(manager, name, data)]
        for task in tasks:
            _build(task, limit, num_fewshot, seed, local=data is not None)
    return tasks


@lru_cache(maxsize=2)
def _manager(everything: bool) -> TaskManager:
    # Indexing lm-eval's own tasks takes seconds, the probes alone none.
    return TaskManager(include_path=str(_PROBE_FOLDER), include_defaults=everything)


def _found(manager: TaskManager, name: str, data: str | Path | None) -> list[Task]:
    if name not in manager.task_index:
        close = get_close_matches(name, [*manager.all_tasks, *PROBES], n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"built in: {', '.join(PROBES)}"
        raise TaskError(f"no task {name!r}; {hint}")
    spec: str | dict[str, Any] = name
    if data is not None and name not in PROBES:
        spec = {"group": "local", "task": [_local(name, Path(data))]}
    try:
        return list(manager.load([spec])["tasks"].values())
    except Exception as error:  # each data source has its own errors
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        where = f"the folder {Path(data) / name}" if data else "the hub and its local cache"
        raise TaskError(
            f"task {name!r}: its data could not be read from {where} ({reason}). "
            f"Give a folder of local copies with --data (data=), or use a built-in task: "
            f"{', '.join(PROBES)}"
        ) from error


def _local(name: str, data: Path) -> dict[str, Any]:
    folder = data / name
    if not any(folder.glob("*.jsonl")):
        raise TaskError(
            f"task {name!r}: no {folder}/<split>.jsonl; --data needs one folder per task with "
            "its splits, such as test.jsonl"
        )
    changes = {"task": name, "dataset_path": str(folder), "dataset_name": None}
    # A task insists on the splits that it names, also those that nothing reads.
    missing = [s for s in ("training", "validation", "test") if not _split(folder, s)]
    return changes | {f"{split}_split": None for split in missing}


def _split(folder: Path, split: str) -> bool:
    stem = {"training": "train"}.get(split, split)
    return (folder / f"{stem}.jsonl").is_file()


def _build(
    task: Task, limit: int | float | None, num_fewshot: int | None, seed: int, local: bool
) -> None:
    name = task.config.task
    if task.OUTPUT_TYPE not in _SCORED:
        raise TaskError(
            f"task {name!r} is of type {task.OUTPUT_TYPE}; {' and '.join(_SCORED)} tasks "
            "can be scored under many plans. For others, run lm-eval inside `applied`"
        )
    # As in lm-eval: a task that declares zero shots keeps zero.
    if num_fewshot is not None and task.config.num_fewshot != 0:
        task.set_config("num_fewshot", num_fewshot)
    if local and task.config.num_fewshot and not task.has_training_docs():
        raise TaskError(
            f"task {name!r}: {task.config.num_fewshot} shots need a train.jsonl in its folder; "
            "without one they would be drawn from the items that are scored"
        )
    task.set_fewshot_seed(seed)
    try:
        task.build_all_requests(limit=get_sample_size(task, limit))
    except ValueError as error:
        raise TaskError(f"task {name!r}: no items left with limit {limit}") from error


def metrics(task: Task, answers: Sequence[tuple[float, bool]]) -> list[Metric]:
    """lm-eval's metrics of `task`, given (log-likelihood, is greedy) for each of its requests."""
    by_document = defaultdict(list)
    for instance, answer in zip(task.instances, answers, strict=True):
        instance.resps, instance.filtered_resps = [answer], {}
        by_document[instance.doc_id].append(instance)
    task.apply_filters()
    values: dict[str, list[Any]] = defaultdict(list)
    for requests in by_document.values():
        requests.sort(key=lambda request: request.idx)
        for key in requests[0].filtered_resps:
            given = [request.filtered_resps[key] for request in requests]
            for name, value in task.process_results(requests[0].doc, given).items():
                values[name if key == "none" else f"{name},{key}"].append(value)
    return [_aggregated(task, name, found) for name, found in values.items()]


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
    if metric not in _ACCURACIES:
        return None
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    choices: dict[int, int] = defaultdict(int)
    for instance in task.instances:
        # Mutual information also asks for every choice without a context: not a choice more.
        choices[instance.doc_id] += instance.args[0] != "" or not _mutual(task)
    return sum(1 / n for n in choices.values()) / len(choices)


def _mutual(task: Task) -> bool:
    return any(m["metric"] == "acc_mutual_info" for m in task.config.metric_list or [])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's own bars and notices off the terminal: there is one bar, and it is ours."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logger.setLevel(level)
