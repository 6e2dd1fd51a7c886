"""Tasks by name: GLUE's, from a folder or the hub, and a probe that needs neither."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import TaskError
from . import acceptability
from .examples import Examples, Split, metrics_of, read, rights_of, texts_of

PROBE = "probe_acceptability"
_HUB = "nyu-mll/glue"
_SCORED = ("validation", "test")
_SECRET = -1  # in the place of labels that are not published


@dataclass(frozen=True)
class _Glue:
    """The columns of texts of one of GLUE's tasks, and its metrics."""

    columns: tuple[str, ...]
    metrics: tuple[str, ...]


_PAIR = ("sentence1", "sentence2")
_GLUE = {
    "cola": _Glue(("sentence",), ("mcc",)),
    "sst2": _Glue(("sentence",), ("acc",)),
    "mrpc": _Glue(_PAIR, ("acc", "f1")),
    "qnli": _Glue(("question", "sentence"), ("acc",)),
    "rte": _Glue(_PAIR, ("acc",)),
    "stsb": _Glue(_PAIR, ("pearson", "spearman")),
    "wnli": _Glue(_PAIR, ("acc",)),
}
TASKS = (PROBE, *_GLUE)


def named(name: str, data: str | Path | None = None) -> Examples:
    """A task by its name (`TASKS`).

    Args:
        name: `probe_acceptability`, or one of GLUE's: cola, sst2, mrpc, qnli, rte, stsb, wnli.
        data: a folder that holds, for each of GLUE's, a folder with `train.jsonl` and
            `validation.jsonl` (or `test.jsonl`) in the columns of the hub's `nyu-mll/glue`;
            without it the hub is asked.

    Returns:
        The task, with its rows to learn from and its rows to score.

    Raises:
        TaskError: a name that is none of these, data that are not there or damaged.

    Example:
        >>> probe = named("probe_acceptability")
        >>> len(probe.train), len(probe.scored)
        (1500, 500)
    """
    if name == PROBE:
        return acceptability.probe(PROBE)
    if name not in _GLUE:
        close = get_close_matches(name, TASKS, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(TASKS)}"
        raise TaskError(
            f"no task {name!r} to classify; {hint} (a table of your own: a DataFrame, .csv, .jsonl)"
        )
    splits = _from_hub(name) if data is None else _from_folder(name, Path(data).expanduser())
    scored = next((split for split in _SCORED if split in splits), None)
    if "train" not in splits or scored is None:
        raise TaskError(
            f"task {name!r} needs the splits train and validation (or test); "
            f"{_place(name, data)} has {', '.join(splits) or 'none'}"
        )
    return _examples(name, splits["train"], splits[scored])


def _place(name: str, data: str | Path | None) -> str:
    return f"the hub's {_HUB}" if data is None else f"the folder {Path(data) / name}"


def glue_in(data: Path) -> list[str]:
    """The tasks of GLUE that lie in a folder."""
    return [name for name in _GLUE if any(place.is_dir() for place in _places(name, data))]


def _places(name: str, data: Path) -> list[Path]:
    return [data / name, data / "glue" / name]


def _from_folder(name: str, data: Path) -> dict[str, pd.DataFrame]:
    """The splits in DATA/<task>, or in DATA/glue/<task>. Raises TaskError."""
    places = _places(name, data)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise TaskError(
            f"task {name!r}: there is neither a folder {places[0]} nor {places[1]}; it should hold "
            "train.jsonl and validation.jsonl"
        )
    files = {split: folder / f"{split}.jsonl" for split in ("train", *_SCORED)}
    return {split: read(file, name) for split, file in files.items() if file.is_file()}


def _from_hub(name: str) -> dict[str, pd.DataFrame]:
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        found: Any = load_dataset(_HUB, name)
    except Exception as error:  # as many types as there are ways to lose a connection
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise TaskError(
            f"task {name!r}: its data were not found in the hub's {_HUB} or its local cache "
            f"({reason}); give a folder of copies with --data (data=), or use {PROBE}"
        ) from error
    return {str(split): rows.to_pandas() for split, rows in found.items()}


def _examples(name: str, train: pd.DataFrame, scored: pd.DataFrame) -> Examples:
    known = _GLUE[name]
    whole = pd.concat([train, scored], ignore_index=True)
    _refuse_secret(whole, name)
    right, classes = rights_of(whole, name, "label", "pearson" in known.metrics)
    texts = texts_of(whole, name, known.columns)
    split = Split(texts, right, np.r_[np.arange(len(train)), np.arange(len(scored))])
    both = Examples(name, split, split, metrics_of(name, known.metrics, classes), classes)
    places = np.arange(len(whole))
    first, second = places[: len(train)], places[len(train) :]
    return replace(both, train=split.at(first), scored=split.at(second)).checked()


def _refuse_secret(rows: pd.DataFrame, name: str) -> None:
    labels = rows.get("label", pd.Series(dtype=object)).reset_index(drop=True)
    for row in np.flatnonzero(labels.eq(_SECRET)):
        raise TaskError(f"task {name!r}: the label of row {row} is missing ({_SECRET})")
