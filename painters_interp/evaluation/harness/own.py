"""Tasks that a user makes of items at hand."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY, metric_registry
from lm_eval.api.task import ConfigurableTask, Task

from ...arguments import counting, several
from ...errors import TaskError
from .requests import source_of
from .rows import json_lines

Item = Mapping[str, Any]
Items = Iterable[Any] | pd.DataFrame | str | Path
Metric = str | Callable[[dict[str, Any], Any], float]
_COLUMNS = {
    "multiple_choice": ("question", "choices", "gold"),
    "loglikelihood": ("context", "target"),
    "generate_until": ("question", "answer"),
    "loglikelihood_rolling": ("text",),
}


@dataclass(frozen=True, eq=False)
class OwnTask:
    """A task for `evaluate`, as `task` makes it."""

    name: str
    kind: str
    items: tuple[dict[str, Any], ...]
    examples: tuple[dict[str, Any], ...]
    metrics: tuple[Metric, ...]
    writing: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<task {self.name!r}: {len(self.items)} items, {self.kind}>"

    def build(self) -> Task:
        """The task as lm-eval's own kind, its requests not yet made."""
        splits = {"test": self.items} | ({"train": self.examples} if self.examples else {})
        config: dict[str, Any] = {
            "task": self.name,
            "output_type": self.kind,
            "custom_dataset": partial(_data, splits),
            "test_split": "test",
            "training_split": "train" if self.examples else None,
            "metadata": {"version": self._version()},
            **_fields(self.kind),
            **_measured(self.kind, self.metrics),
        }
        if self.kind == "generate_until":
            config["generation_kwargs"] = dict(self.writing)
        try:
            return ConfigurableTask(config=config)
        except Exception as error:  # a column of several types, a metric for another kind
            raise TaskError(f"task {self.name!r} cannot be made of its items: {error}") from error

    def _version(self) -> str:
        """Another one for another kind or metric; the items are told apart by their requests."""
        parts = [self.kind, *(m if isinstance(m, str) else source_of(m) for m in self.metrics)]
        return f"own-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]}"


@counting(max_new_tokens=1)
def task(
    name: str,
    items: Items,
    kind: str = "multiple_choice",
    metric: Metric | Sequence[Metric] | None = None,
    *,
    examples: Items = (),
    until: str | Sequence[str] = "\n",
    max_new_tokens: int = 256,
) -> OwnTask:
    """A task of your own, to be given to `evaluate` among its tasks.

    Args:
        name: What tables call it.
        items: A list of dicts, a DataFrame or the path of a file of JSON lines. Each has, by
            kind: multiple_choice `question`, `choices` (texts, set apart by a space) and `gold`
            (the index of the right one); loglikelihood `context` and `target` (what follows, set
            apart by a space unless there is one); generate_until `question` and `answer`;
            loglikelihood_rolling `text`.
            Further columns are kept for the metric.
        kind: One of these four, as lm-eval calls them.
        metric: Names of lm-eval's metrics (its defaults for the kind if none), or functions of an
            item and what the model made of it, whose mean over items is reported: the index of
            the likeliest choice, the text written, or the log-likelihood (nats) otherwise.
        examples: Items for `num_fewshot` to draw from; none are drawn from those that are scored.
        until: What ends a text that is written.
        max_new_tokens: How long one may get.

    Returns:
        The task, a value.

    Raises:
        TaskError: for a kind, metric or item that is none, naming it.

    Example:
        >>> task("colours", [{"question": "Snow is", "choices": ["white", "red"], "gold": 0}])
        <task 'colours': 1 items, multiple_choice>
    """
    if not isinstance(name, str) or not name.strip():
        raise TaskError(f"a task's name is a text; {name!r} is none")
    if kind not in _COLUMNS:
        raise TaskError(f"kind {kind!r} is not one of {', '.join(_COLUMNS)}")
    stops = several(until)
    if kind == "generate_until" and not (all(stops) and max_new_tokens > 0):
        raise TaskError("until needs texts that are not empty, max_new_tokens a number above 0")
    scored = _items(name, kind, items)
    if not scored:
        raise TaskError(f"task {name!r} has no items")
    return OwnTask(
        name=name,
        kind=kind,
        items=scored,
        examples=_items(name, kind, examples),
        metrics=_metrics(metric),
        writing={"until": stops, "max_gen_toks": max_new_tokens, "do_sample": False},
    )


def _items(name: str, kind: str, items: Items) -> tuple[dict[str, Any], ...]:
    if isinstance(items, str | Path):
        try:
            items = json_lines(Path(items))
        except (OSError, ValueError) as error:
            raise TaskError(f"task {name!r}: its items cannot be read: {error}") from error
    elif isinstance(items, pd.DataFrame):
        items = [{str(k): v for k, v in row.items()} for row in items.to_dict("records")]
    return tuple(_item(name, kind, index, item) for index, item in enumerate(items))


def _item(name: str, kind: str, index: int, item: Any) -> dict[str, Any]:
    where = f"task {name!r}, item {index}"
    if not isinstance(item, Mapping):
        raise TaskError(f"{where} is {item!r}; each is a dict with {', '.join(_COLUMNS[kind])}")
    if missing := [column for column in _COLUMNS[kind] if column not in item]:
        raise TaskError(
            f"{where} has no {missing[0]!r}; those of kind {kind} have {', '.join(_COLUMNS[kind])}"
        )
    plain = {key: value.item() if isinstance(value, np.generic) else value
             for key, value in item.items()}  # fmt: skip
    for column in set(_COLUMNS[kind]) - {"choices", "gold"}:
        if not isinstance(plain[column], str):
            raise TaskError(f"{where}: {column!r} is {plain[column]!r}, and no text")
    if kind == "multiple_choice":
        plain["choices"] = _choices(where, plain["choices"])
        plain["gold"] = _gold(where, plain["gold"], len(plain["choices"]))
    return plain


def _choices(where: str, choices: Any) -> list[str]:
    found = [*choices] if isinstance(choices, list | tuple | np.ndarray) else []
    if len(found) < 2 or not all(isinstance(choice, str) for choice in found):
        raise TaskError(f"{where}: 'choices' is {choices!r}; give two texts or more")
    return found


def _gold(where: str, gold: Any, choices: int) -> int:
    whole = isinstance(gold, float) and gold.is_integer()  # a column with gaps holds floats
    if isinstance(gold, bool) or not (isinstance(gold, Integral) or whole):
        raise TaskError(f"{where}: 'gold' is {gold!r}; give the index of the right choice")
    if not 0 <= gold < choices:
        raise TaskError(f"{where}: 'gold' is {gold!r}; there are choices 0 to {choices - 1}")
    return int(gold)


def _metrics(metric: Metric | Sequence[Metric] | None) -> tuple[Metric, ...]:
    found = () if metric is None else (metric,) if callable(metric) else tuple(several(metric))
    for one in found:
        if not callable(one) and one not in metric_registry:
            known = ", ".join(sorted({*DEFAULT_METRIC_REGISTRY["multiple_choice"], "exact_match"}))
            raise TaskError(f"lm-eval has no metric {one!r}; it has {known} and more")
    if len({_name(one) for one in found}) < len(found):
        raise TaskError("metric: two are called the same; functions are called by their __name__")
    if len({callable(one) for one in found}) > 1:
        raise TaskError("metric: give names of lm-eval's or functions, not both")
    return found


def _data(splits: Mapping[str, Sequence[Item]], /, **_: object) -> dict[str, datasets.Dataset]:
    """What lm-eval takes for a data set; it passes the task's metadata along."""
    return {name: datasets.Dataset.from_list([*items]) for name, items in splits.items()}


def _fields(kind: str) -> dict[str, Any]:
    """How lm-eval reads an item: by functions, for a template would read braces in the texts."""
    if kind == "multiple_choice":
        return {
            "doc_to_text": partial(_field, "question"),
            "doc_to_choice": partial(_field, "choices"),
            "doc_to_target": partial(_field, "gold"),
        }
    if kind == "generate_until":
        return {"doc_to_text": partial(_field, "question"),
                "doc_to_target": partial(_field, "answer")}  # fmt: skip
    if kind == "loglikelihood":
        return {"doc_to_text": partial(_field, "context"), "doc_to_target": _following}
    return {"doc_to_text": _nothing, "doc_to_target": partial(_field, "text")}


def _field(name: str, item: Item) -> Any:
    return item[name]


def _nothing(item: Item) -> str:
    return ""


def _following(item: Item) -> str:
    target: str = item["target"]
    apart = item["context"][-1:].isspace() or target[:1].isspace() or not item["context"]
    return target if apart else f" {target}"


def _measured(kind: str, metrics: Sequence[Metric]) -> dict[str, Any]:
    """Metrics as lm-eval's configuration has them."""
    functions = {_name(metric): metric for metric in metrics if callable(metric)}
    if not functions:
        named = [{"metric": metric} for metric in metrics]
        return {"metric_list": named} if named else {}
    listed = [{"metric": name, "aggregation": "mean", "higher_is_better": True}
              for name in functions]  # fmt: skip
    return {"metric_list": listed, "process_results": partial(_results, kind, functions)}


def _name(function: Any) -> str:
    if isinstance(function, str):
        return function
    return str(getattr(function, "__name__", type(function).__name__))


def _results(
    kind: str, functions: Mapping[str, Any], item: Item, answers: Sequence[Any]
) -> dict[str, float]:
    made = _made(kind, answers)
    return {name: float(function(dict(item), made)) for name, function in functions.items()}


def _made(kind: str, answers: Sequence[Any]) -> Any:
    if kind == "multiple_choice":
        return int(np.argmax([loglikelihood for loglikelihood, _ in answers]))
    return answers[0][0] if kind == "loglikelihood" else answers[0]
