"""Texts with what they are to be told by: labels or numbers, some to learn from, others to score.

Made of any table; what is wrong with a column is said by the table's name, column and row.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ..arguments import counting, several
from ..errors import TaskError
from ..terminal import Brief

Text = tuple[str, ...]  # one, or two to be read together
Table = pd.DataFrame | str | Path

# Metrics of GLUE, each with what is aggregated over items and how.
METRICS = {
    "acc": "mean",
    "mcc": "matthews_corrcoef",
    "f1": "f1",
    "pearson": "pearson",
    "spearman": "spearman",
}
_OF_NUMBERS = ("pearson", "spearman")
_TEXTS = ("text", "sentence", "sentence1", "text1")
_SECONDS = ("text2", "sentence2")
_LEARNT = "train"
_NO_LABEL = ["", "nan", "NaN", "NA", "<NA>", "N/A", "n/a", "#N/A", "null", "NULL", "None"]
_HELD_OUT = 0.25


@dataclass(frozen=True, eq=False, repr=False)
class Split(Brief):
    """Texts, what is right for each (the number of a class, or the number itself), which rows."""

    texts: tuple[Text, ...]
    right: Float[np.ndarray, " text"]
    rows: Int[np.ndarray, " text"]

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, places: Sequence[int] | Int[np.ndarray, " place"]) -> "Split":
        """Some of them."""
        return Split(tuple(self.texts[i] for i in places), self.right[places], self.rows[places])


@dataclass(frozen=True, eq=False, repr=False)
class Examples(Brief):
    """A task: what to learn from, what to score, and by which of `METRICS`.

    `classes` are the labels as they were; none where numbers are to be told.
    """

    name: str
    train: Split
    scored: Split
    metrics: tuple[str, ...]
    classes: tuple[object, ...]
    version: str = "1"

    def digest(self) -> str:
        """A digest of all texts and answers."""
        found = hashlib.sha256()
        for split in (self.train, self.scored):
            found.update(repr(split.texts).encode())
            found.update(split.right.tobytes())
        return found.hexdigest()[:16]

    def limited(self, limit: int | float | None, seed: int) -> "Examples":
        """At most `limit` examples of either split, below 1 a share of it, drawn with `seed`.

        Raises TaskError for a limit that leaves none, or one class to learn from.
        """
        if limit is None:
            return self
        some = replace(
            self,
            train=_drawn(self.name, self.train, limit, seed),
            scored=_drawn(self.name, self.scored, limit, seed),
        )
        return some.checked()

    def checked(self) -> "Examples":
        """Itself. Raises TaskError where there is nothing to tell apart."""
        for what, split in (("learn from", self.train), ("score", self.scored)):
            if not len(split):
                raise TaskError(f"task {self.name!r}: there are no examples to {what}")
        if len(np.unique(self.train.right)) < 2:
            kind = "class" if self.classes else "number"
            raise TaskError(
                f"task {self.name!r}: all {len(self.train)} examples to learn from are of one "
                f"{kind}; give more, or other ones"
            )
        unknown = np.setdiff1d(self.scored.right, self.train.right) if self.classes else ()
        for place in unknown:
            raise TaskError(
                f"task {self.name!r}: class {self.classes[int(place)]!r} is scored, but none of "
                f"the {len(self.train)} examples to learn from is of it; give more to learn from"
            )
        return self


def _drawn(name: str, split: Split, limit: int | float, seed: int) -> Split:
    count = round(limit * len(split)) if 0 < limit < 1 else int(limit)
    if count < 1:
        raise TaskError(f"task {name!r}: limit {limit} leaves no examples; give a number above 0")
    order = np.random.default_rng(seed).permutation(len(split))
    return split.at(np.sort(order[:count]))


@counting(seed=0)
def examples(
    table: Table,
    text: str | None = None,
    second: str | None = None,
    label: str = "label",
    *,
    name: str | None = None,
    numbers: bool | None = None,
    metrics: str | Sequence[str] = (),
    seed: int = 0,
) -> Examples:
    """A task of your own, for `classify` and `readers`.

    Args:
        table: a DataFrame, or a CSV or JSONL file. A column `split` says which rows are to learn
            from ("train") and which are scored (all other words); without it a quarter of the
            rows is scored, drawn with `seed`, of every class alike.
        text: the column of texts; `text`, `sentence` or `sentence1` unless given.
        second: a column of texts to be read together with the first; `sentence2` where there is
            one beside `sentence1`.
        label: the column of labels.
        name: what tables call the task; the file's name unless given.
        numbers: whether labels are numbers to be told (ridge regression, Pearson and Spearman)
            and not classes; found out unless given: numbers with a fraction are.
        metrics: out of acc, mcc, f1, or pearson, spearman. Unless given: accuracy, for two classes
            F1 of the second, too.
        seed: of the rows that are scored, where the table does not say.

    Returns:
        The task, with its rows to learn from and its rows to score.

    Raises:
        TaskError: a file or column that is not there, a text or label that is missing, a number
            that is none, one class only.

    Example:
        >>> films = pd.DataFrame({"text": ["good", "bad"] * 8, "label": [1, 0] * 8})
        >>> mine = examples(films, name="films")
        >>> len(mine.train), len(mine.scored), mine.metrics
        (12, 4, ('acc', 'f1'))
    """
    _refuse_others(table)
    name = name or ("examples" if isinstance(table, pd.DataFrame) else Path(table).stem)
    rows = table if isinstance(table, pd.DataFrame) else read(Path(table), name, label)
    _refuse_unusable(rows, name)
    text, second = _text_columns(rows, name, text, second)
    texts = texts_of(rows, name, [text] if second is None else [text, second])
    right, classes = rights_of(rows, name, label, numbers)
    split = Split(texts, right, np.arange(len(rows)))
    learnt = _learnt(rows, name, right, classes, seed)
    chosen = metrics_of(name, tuple(several(metrics)), classes)
    train, scored = split.at(np.flatnonzero(learnt)), split.at(np.flatnonzero(~learnt))
    return Examples(name, train, scored, chosen, classes).checked()


def read(path: Path, name: str, label: str = "label") -> pd.DataFrame:
    """The rows of a CSV or JSONL file. Raises TaskError.

    Of a CSV's cells only labels may be numbers, or missing: any other is the text that is there.
    """
    path = path.expanduser()
    if path.suffix not in (".csv", ".jsonl"):
        raise TaskError(f"task {name!r}: {path} is neither .csv nor .jsonl")
    try:
        return _csv(path, name, label) if path.suffix == ".csv" else _jsonl(path, name)
    except FileNotFoundError as error:
        raise TaskError(f"task {name!r}: there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"task {name!r}: {path} is not in UTF-8 ({error.reason})") from error
    except (ValueError, OSError) as error:
        raise TaskError(f"task {name!r}: {path} cannot be read ({str(error).strip()})") from error


def _csv(path: Path, name: str, label: str) -> pd.DataFrame:
    # By itself, pandas would call the second of two columns of one name something else.
    [columns] = pd.read_csv(path, header=None, nrows=1, dtype=str).astype(str).to_numpy().tolist()
    _refuse_doubled(columns, name)
    texts = dict.fromkeys({*columns} - {label}, "str")
    rows = pd.read_csv(
        path, dtype=texts, keep_default_na=False, na_values={label: _NO_LABEL}, low_memory=False
    )
    if not isinstance(rows.index, pd.RangeIndex):
        raise TaskError(
            f"task {name!r}: rows of {path} have more cells than there are names in its first "
            "line; put texts with commas in quotes"
        )
    return rows


def _jsonl(path: Path, name: str) -> pd.DataFrame:
    rows = []
    # Ends of lines alone part rows: a text may hold others of those that Python splits at.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TaskError(
                f"task {name!r}: line {number} of {path} is no JSON: {error}"
            ) from error
        if not isinstance(row, dict):
            raise TaskError(f"task {name!r}: line {number} of {path} is no object: {line[:40]}")
        rows.append(row)
    # By itself, pandas would make dates and numbers of texts.
    return pd.DataFrame(rows, dtype=object)


def _refuse_others(table: Any) -> None:
    if not isinstance(table, pd.DataFrame | str | Path):
        told = f"a {type(table).__name__} is no table"
        raise TaskError(f"{told}; give a DataFrame, or a .csv or .jsonl file")


def _refuse_unusable(rows: pd.DataFrame, name: str) -> None:
    if rows.empty:
        raise TaskError(f"task {name!r}: the table has no rows")
    _refuse_doubled([*rows.columns], name)


def _refuse_doubled(columns: Sequence[object], name: str) -> None:
    double = [column for column in columns if columns.count(column) > 1]
    if double:
        raise TaskError(f"task {name!r}: two columns are called {double[0]!r}")


def _text_columns(
    rows: pd.DataFrame, name: str, text: str | None, second: str | None
) -> tuple[str, str | None]:
    known = [str(column) for column in rows]
    if text is None:
        text = next((column for column in _TEXTS if column in known), None)
        if text is None:
            raise TaskError(
                f"task {name!r}: no column of texts is named; it has {', '.join(known)}; give "
                "text= the name of one"
            )
        if second is None and text.endswith("1"):
            second = next((column for column in _SECONDS if column in known), None)
    return text, second


def _column(rows: pd.DataFrame, name: str, column: str) -> "pd.Series[Any]":
    if column not in rows:
        have = ", ".join(map(str, rows.columns)) or "none"
        raise TaskError(f"task {name!r} has no column {column!r}; it has {have}")
    return rows[column].reset_index(drop=True)


def texts_of(rows: pd.DataFrame, name: str, columns: Sequence[str]) -> tuple[Text, ...]:
    """The texts of each row. Raises TaskError for one that is none, or empty."""
    for column in columns:
        for row, value in enumerate(_column(rows, name, column)):
            if not isinstance(value, str) or not value.strip():
                raise TaskError(
                    f"task {name!r}: {column!r} of row {row} is {str(value)[:40]!r}, and no text"
                )
    return tuple(zip(*(rows[column] for column in columns), strict=True))


def rights_of(
    rows: pd.DataFrame, name: str, column: str, numbers: bool | None
) -> tuple[Float[np.ndarray, " text"], tuple[object, ...]]:
    """What is right for each row, and the classes that its numbers stand for."""
    labels = _column(rows, name, column)
    for row, value in enumerate(labels):
        if not pd.api.types.is_scalar(value):
            raise TaskError(f"task {name!r}: the label of row {row} is {str(value)[:40]}, no label")
        if pd.isna(value):
            raise TaskError(f"task {name!r}: the label of row {row} is missing ({value})")
    if numbers is None:
        numbers = any(isinstance(v, float) and not v.is_integer() for v in labels)
    if numbers:
        return _as_numbers(labels, name), ()
    classes = _classes([_whole(value) for value in labels], name)
    place = {value: number for number, value in enumerate(classes)}
    return np.array([place[_whole(value)] for value in labels], dtype=float), classes


def _whole(value: Any) -> Any:
    """A number without a fraction as a whole one: 1.0 and 1 are one class."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _classes(labels: Sequence[Any], name: str) -> tuple[object, ...]:
    """The different labels in order. Raises TaskError for one alone, and for two kinds of them."""
    kinds: dict[str, Any] = {type(value).__name__: value for value in labels}
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        raise TaskError(
            f"task {name!r}: labels are of two kinds, such as {first!r} ({one}) and {second!r} "
            f"({other}); write all of them alike"
        )
    if len({*labels}) < 2:
        raise TaskError(f"task {name!r}: all {len(labels)} labels are {labels[0]!r}")
    return tuple(sorted({*labels}))


def _as_numbers(labels: "pd.Series[Any]", name: str) -> Float[np.ndarray, " text"]:
    for row, value in enumerate(labels):
        try:
            finite = np.isfinite(float(value))
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise TaskError(
                f"task {name!r}: the label of row {row} is {str(value)[:40]!r}, and no number"
            )
    return labels.astype(float).to_numpy()


def _learnt(
    rows: pd.DataFrame,
    name: str,
    right: Float[np.ndarray, " text"],
    classes: tuple[object, ...],
    seed: int,
) -> Any:
    """Which rows are to learn from."""
    if "split" in rows:
        return _said(rows["split"], name)
    learnt = np.ones(len(rows), dtype=bool)
    learnt[held_out(right, bool(classes), _HELD_OUT, seed)] = False
    if learnt.all():
        raise TaskError(
            f"task {name!r}: none of {len(rows)} labels occurs twice, so no row can be set apart "
            "to be scored; give more of each class, or numbers=True for labels that are numbers"
        )
    return learnt


def _said(splits: "pd.Series[Any]", name: str) -> Any:
    """Which rows are to learn from, as their column says."""
    for row, value in enumerate(splits):
        if not isinstance(value, str) or not value:
            raise TaskError(f"task {name!r}: 'split' of row {row} is missing ({value})")
    learnt = splits.eq(_LEARNT).to_numpy()
    if not learnt.any():
        words = ", ".join(map(repr, splits.unique()[:4]))
        raise TaskError(
            f"task {name!r}: there are no examples to learn from: 'split' is {words}, and "
            f"{_LEARNT!r} nowhere"
        )
    return learnt


def held_out(
    right: Float[np.ndarray, " text"], classes: bool, share: float, seed: int
) -> Int[np.ndarray, " place"]:
    """The places of a share of all examples, of every class alike, drawn with `seed`.

    At least one is left of every class, and at least one is taken where there are two.
    """
    generator, taken = np.random.default_rng(seed), []
    groups = (
        [np.flatnonzero(right == c) for c in np.unique(right)] if classes else [right.argsort()]
    )
    for places in groups:
        count = min(len(places) - 1, max(1, round(share * len(places))))
        taken.append(generator.permutation(places)[:count])
    return np.sort(np.concatenate(taken))


def metrics_of(name: str, metrics: tuple[str, ...], classes: tuple[object, ...]) -> tuple[str, ...]:
    """`metrics`, or those that go with the classes. Raises TaskError where they do not."""
    fitting = [m for m in METRICS if (m in _OF_NUMBERS) == (not classes)]
    if len(classes) > 2:
        fitting.remove("f1")
    for metric in metrics:
        if metric not in fitting:
            raise TaskError(
                f"task {name!r}: metric {metric!r} does not fit its labels; {', '.join(fitting)} do"
            )
    if metrics:
        return metrics
    return _OF_NUMBERS if not classes else ("acc", "f1") if len(classes) == 2 else ("acc",)
