"""Samples that lm-eval has logged (`--log_samples`), read as rows of items.

A file says what a metric makes of every document, and not how that becomes one number. So only
metrics whose numbers are understood are read; where lm-eval's results lie beside the samples, they
must come out again.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..digests import digest
from ..errors import TableError
from ..notices import warn
from ..statistics.aggregations import AGGREGATIONS
from .columns import MODEL

Files = str | Path | Sequence[str | Path]

_NAMED = re.compile(r"^samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+))?\.jsonl$")
# Metrics that are no means, by lm-eval's names; of pairs, which one is read against the other.
_PERPLEXITIES = ("word_perplexity", "byte_perplexity")
_OF_PAIRS = {"f1": "f1", "mcc": "matthews_corrcoef", "bits_per_byte": "bits_per_byte"} | (
    dict.fromkeys(_PERPLEXITIES, "weighted_perplexity")
)
_GOLD_FIRST = ("f1", "mcc")
_BY_CHOICE = ("acc", "acc_norm", "acc_bytes")
_LOWER = ("perplexity", *_PERPLEXITIES, "bits_per_byte", "brier_score", "ter", "wer")
_CLOSE = 1e-6


@dataclass(frozen=True, eq=False)
class _Samples:
    """One file: the samples of a task, and lm-eval's results beside them, if they are there."""

    path: Path
    task: str
    lines: list[dict[str, Any]]
    results: Mapping[str, Any]

    def result(self, metric: str, filtered: str) -> float | None:
        """The number that lm-eval itself has made of a metric."""
        found = self.results.get("results", {}).get(self.task, {}).get(f"{metric},{filtered}")
        return float(found) if isinstance(found, int | float) else None

    @property
    def version(self) -> str | None:
        """Of the task."""
        found = self.results.get("versions", {}).get(self.task)
        return None if found is None else str(found)

    def higher_is_better(self, metric: str) -> bool:
        """Of the metric: as the results say, otherwise by its name."""
        said = self.results.get("higher_is_better", {}).get(self.task, {}).get(metric)
        return metric not in _LOWER if said is None else bool(said)

    def documents(self) -> dict[int, tuple[str, str]]:
        """What tells the document of each item, and its right answer, from others."""
        return {
            line["doc_id"]: (
                str(line.get("doc_hash") or digest(line.get("doc"))),
                str(line.get("target_hash") or digest(line.get("target"))),
            )
            for line in self.lines
        }

    def prompts(self) -> dict[int, str | None]:
        """A digest of the prompt of each item, where there is one."""
        return {line["doc_id"]: line.get("prompt_hash") for line in self.lines}


def rows_of(runs: Mapping[str, Files] | Iterable[str | Path]) -> pd.DataFrame:
    """Rows for an item table; `items.from_lm_eval` says what the arguments mean."""
    read = {label: _read(label, files) for label, files in _labelled(runs).items()}
    if not read:
        raise TableError("no samples; give files that lm-eval has written with --log_samples")
    _refuse_other_documents(read)
    parts = [
        part.assign(plan=label)
        for label, files in read.items()
        for samples in files
        for part in _rows(samples)
    ]
    if not parts:
        raise TableError("no metric of these samples is a number that is understood")
    return pd.concat(parts, ignore_index=True)


def _labelled(runs: Mapping[str, Files] | Iterable[str | Path]) -> dict[str, Files]:
    if isinstance(runs, Mapping):
        return {str(label): files for label, files in runs.items()}
    if isinstance(runs, str | Path):
        runs = [runs]
    found: dict[str, list[str | Path]] = {}
    for place in map(Path, runs):
        label = place.name if place.is_dir() else place.resolve().parent.name
        found.setdefault(label, []).append(place)
    return {**found}


def _read(label: str, files: Files) -> list[_Samples]:
    given = [files] if isinstance(files, str | Path) else [*files]
    paths = [path for place in map(Path, given) for path in _paths(place)]
    read = [_samples(path) for path in paths]
    if not read:
        raise TableError(f"{label}: no samples; give files or a folder with samples_*.jsonl")
    seen: dict[str, Path] = {}
    for samples in read:
        if (other := seen.setdefault(samples.task, samples.path)) is not samples.path:
            raise TableError(
                f"{label}: {other} and {samples.path} are both samples of {samples.task}; give "
                "one, or a label to each: {'first': ..., 'second': ...}"
            )
    return read


def _paths(place: Path) -> list[Path]:
    """The file itself, or those in a folder and, as lm-eval puts them, in the folders in it."""
    if not place.is_dir():
        return [place]
    return sorted([*place.glob("samples_*.jsonl"), *place.glob("*/samples_*.jsonl")])


def _samples(path: Path) -> _Samples:
    named = _NAMED.match(path.name)
    task, date = (named["task"], named["date"]) if named else (path.stem, None)
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            lines.append(dict(json.loads(line)))
            lines[-1]["doc_id"] = int(lines[-1]["doc_id"])
        except (ValueError, TypeError, KeyError) as error:
            raise TableError(
                f"{path}, line {number} is no sample of lm-eval (a JSON object with a doc_id)"
            ) from error
    if not lines:
        raise TableError(f"{path} has no samples")
    return _Samples(path, task, lines, _results(path.with_name(f"results_{date}.json")))


def _results(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _refuse_other_documents(read: Mapping[str, list[_Samples]]) -> None:
    """Raise TableError where two runs of a task are not of the same documents, naming the first."""
    first: dict[str, tuple[str, _Samples]] = {}
    for label, files in read.items():
        for samples in files:
            other, there = first.setdefault(samples.task, (label, samples))
            ours, theirs = samples.documents(), there.documents()
            where = f"task {samples.task!r}: {other!r} and {label!r}"
            if {*ours} != {*theirs}:
                lone = min({*ours} ^ {*theirs})
                raise TableError(
                    f"{where} were run on different documents ({len(theirs)} and {len(ours)}; "
                    f"document {lone} is in one alone); run both on the same"
                )
            if odd := [item for item in ours if ours[item] != theirs[item]]:
                raise TableError(
                    f"{where} were run on different documents: document {min(odd)} is another "
                    f"({len(odd)} of {len(ours)} are)"
                )
            if None not in (samples.version, there.version) and samples.version != there.version:
                raise TableError(
                    f"{where} were run with versions {there.version} and {samples.version} of it"
                )
            asked, then = samples.prompts(), there.prompts()
            if n := sum(asked[item] != then[item] for item in asked):
                warn(
                    f"{where} were asked about the same documents in different words ({n} of "
                    f"{len(asked)} prompts): shots or templates differ"
                )


def _rows(samples: _Samples) -> Iterator[pd.DataFrame]:
    """The rows of every metric that is understood, filter by filter; others are said."""
    by_filter: dict[str, list[dict[str, Any]]] = {}
    for line in samples.lines:
        by_filter.setdefault(str(line.get("filter", "none")), []).append(line)
    facts: dict[str, Any] = {
        **dict.fromkeys(MODEL),
        "seed": pd.NA,
        "truncated": False,
        "task": samples.task,
        "version": samples.version,
        "requests": digest(sorted(samples.documents().items())),
    }
    for filtered, lines in by_filter.items():
        for metric in _metrics(lines):
            found = _metric(samples, metric, filtered, lines)
            if isinstance(found, str):
                warn(f"{samples.path.name}: {metric} is left out: {found}")
                continue
            named = metric if filtered == "none" else f"{metric},{filtered}"
            yield found.assign(**facts, metric=named)


_OWN = ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
        "doc_hash", "prompt_hash", "target_hash")  # fmt: skip


def _metrics(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    named = lines[0].get("metrics") or [key for key in lines[0] if key not in _OWN]
    return [str(name) for name in named]


def _metric(
    samples: _Samples, metric: str, filtered: str, lines: Sequence[Mapping[str, Any]]
) -> pd.DataFrame | str:
    """The rows of one metric, or why there are none."""
    held = [line for line in lines if metric in line]
    values = [line[metric] for line in held]
    if all(isinstance(value, int | float) for value in values):
        aggregation = "perplexity" if metric == "perplexity" else "mean"
        numbers, reference = [float(value) for value in values], [nan] * len(values)
    elif metric in _OF_PAIRS and all(_is_pair(value) for value in values):
        aggregation = _OF_PAIRS[metric]
        first, second = ([float(v) for v in side] for side in zip(*values, strict=True))
        gold = metric in _GOLD_FIRST
        numbers, reference = (second, first) if gold else (first, second)
    else:
        return "it is not a number for every document"
    of = AGGREGATIONS[aggregation](np.array([numbers]), np.array([reference]))[0]
    said = samples.result(metric, filtered)
    if said is not None and not isclose(of, said, rel_tol=_CLOSE, abs_tol=_CLOSE):
        return f"its {aggregation} is {of:.6g}, and lm-eval's result {said:.6g}"
    return pd.DataFrame(
        {
            "item": [line["doc_id"] for line in held],
            "value": numbers,
            "reference": reference,
            "chance": [_chance(metric, line) for line in held],
            "aggregation": aggregation,
            "higher_is_better": samples.higher_is_better(metric),
        }
    )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(number, int | float) for number in value)
    )


def _chance(metric: str, line: Mapping[str, Any]) -> float:
    """What guessing reaches: one over the choices, nothing for a text; NaN where unknown."""
    if metric == "exact_match":
        return 0.0
    if metric not in _BY_CHOICE or "acc_mutual_info" in line:
        return nan
    choices = len(line.get("resps") or ())
    return 1 / choices if choices > 1 else 0.0 if choices else nan
