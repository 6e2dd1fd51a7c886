"""`readers`: what is learnt to be read at one state is read at every other one.

Two states that share a space are read alike: the sharpest test of whether layers speak one
language. A similarity can be high because of what all tokens share; a reader is of what was asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.preprocessing import StandardScaler
from transformer_lens.model_bridge import TransformerBridge

from .. import statistics
from ..arguments import counting, several
from ..errors import ModelError, TaskError, TextError
from ..models import Model, as_model, numbers
from ..notices import say_nan
from ..progress import progress
from ..statistics import LEVEL, RESAMPLES
from ..stitching import Stitch
from ..terminal import Brief
from .classification import Task, all_examples
from .examples import Examples
from .features import Sequences, pool_of, sequences, state_features
from .heads import Head, fitted

# In the raw stream, as one layer hands it to another; up to shift and scale of each state.
READINGS = ("raw", "standardised")

States = Float[np.ndarray, "_state _text _d_model"]
Hits = Float[np.ndarray, "trained read text"]


@dataclass(frozen=True, eq=False, repr=False)
class Readers(Brief):
    """What readers trained at one state (rows) make of another (columns), text by text.

    `hits` and `control` hold, for each of `READINGS`, 1 where the reader trained at state i is
    right about a scored text at state j, and NaN where a state is no number. `chance` is the
    accuracy of the majority of the training set, `strengths` what was chosen for each reader,
    `source` and `target` the models whose states rows and columns are.
    """

    hits: dict[str, Hits]
    control: dict[str, Hits]
    chance: float
    strengths: tuple[float, ...]
    source: str
    target: str
    task: str
    seed: int = field(default=0)

    def matrix(self, reading: str = "raw") -> pd.DataFrame:
        """Accuracy: trained at the state of the row, read at that of the column."""
        return _matrix(self.hits[_known(reading)])

    def control_matrix(self, reading: str = "raw") -> pd.DataFrame:
        """The same of readers trained to tell labels without a meaning (see `readers`)."""
        return _matrix(self.control[_known(reading)])

    def selectivity(self, reading: str = "raw") -> pd.DataFrame:
        """Accuracy less that on control labels (Hewitt and Liang, arXiv 1909.03368)."""
        return self.matrix(reading) - self.control_matrix(reading)

    def table(self, level: float = LEVEL, resamples: int = RESAMPLES) -> pd.DataFrame:
        """All matrices, tidy: measure, row, column, value, low, high, documents, chance.

        Measures are "raw", "standardised" and the two "... control"; `low` and `high` are ends of
        the bootstrap interval over texts.
        """
        parts = [
            _tidy(hits, level, resamples, self.seed).assign(measure=f"{reading}{suffix}")
            for suffix, kind in (("", self.hits), (" control", self.control))
            for reading, hits in kind.items()
        ]
        found = pd.concat(parts, ignore_index=True)
        found = found[["measure", "row", "column", "value", "low", "high", "documents"]]
        found = found.assign(chance=self.chance, task=self.task)
        ends = {"source": self.source, "target": self.target}
        return found if self.source == self.target else found.assign(**ends)

    def distances(
        self, reading: str = "raw", level: float = LEVEL, resamples: int = RESAMPLES
    ) -> pd.DataFrame:
        """How accuracy falls with distance: distance, value, drop, low, high.

        `distance` is how many layers later than its own a state is read (negative: earlier),
        `value` the mean accuracy over all readers at that distance, and `drop` how much that is
        below what the same readers reach at their own state, with its interval over texts.
        """
        hits = self._own(reading)
        weights = statistics.resamplings(hits.shape[2], resamples, self.seed)
        rows = []
        for distance in range(1 - len(hits), len(hits)):
            trained = np.arange(max(0, -distance), len(hits) - max(0, distance))
            there = np.mean(hits[trained, trained + distance], axis=0)
            lost = np.mean(hits[trained, trained], axis=0) - there
            low, high = statistics.percentiles(weights @ lost, level)
            rows.append((distance, there.mean(), lost.mean(), low, high))
        return pd.DataFrame(rows, columns=["distance", "value", "drop", "low", "high"])

    def drop_per_layer(
        self, reading: str = "raw", level: float = LEVEL, resamples: int = RESAMPLES
    ) -> tuple[float, float, float]:
        """Accuracy lost per layer of distance, and its interval over texts: value, low, high.

        The slope of a line through what all pairs of states lose against their distance, which
        is nothing at none.
        """
        hits = self._own(reading)
        states = np.arange(len(hits))
        apart = np.abs(states[:, None] - states)[..., None]
        lost = hits[states, states][:, None] - hits
        share = (apart * lost).sum(axis=(0, 1)) / (apart**2).sum()
        weights = statistics.resamplings(hits.shape[2], resamples, self.seed)
        low, high = statistics.percentiles(weights @ share, level)
        return float(share.mean()), float(low), float(high)

    def _own(self, reading: str) -> Hits:
        hits = self.hits[_known(reading)]
        if hits.shape[0] != hits.shape[1]:
            raise TaskError(
                f"states of {self.source} and {self.target} have no distance: there are "
                f"{hits.shape[0]} and {hits.shape[1]} of them"
            )
        return hits


@counting(limit=1, seed=0)
def readers(
    model: Model,
    examples: Task,
    other: Model | None = None,
    stitch: Stitch | None = None,
    *,
    data: str | Path | None = None,
    pool: str | None = None,
    limit: int | float | None = None,
    seed: int = 0,
) -> Readers:
    """Train a linear reader at every state, and read every other state with it.

    A reader is a logistic regression on one state of the frozen model, pooled over a text's
    tokens, its strength chosen on a fifth of the training set. It reads another state in the raw
    stream (with the mean and scale of the state that it was trained at), and standardised (each
    state by its own, which forgives shift and scale). Memory grows by the pooled states alone.

    Args:
        model: an encoder or a decoder.
        examples: a task, as for `classify`, of classes.
        other: a model whose states are read by the readers of `model`'s; of the same width, or
            through a stitch.
        stitch: a map from streams of `other` to streams of `model` (`stitching.fit_stitch`),
            through which every state of `other` goes.
        data: a folder with the data of tasks by name.
        pool: "mean" over tokens (unless given), "first" or "last".
        limit: how many examples to learn from, and how many to score, at most.
        seed: of what is drawn by chance.

    Returns:
        Accuracy matrices with intervals over texts; the same for control labels, which say how
        much a reader learns about which tokens there are, whatever they mean: every token has a
        random number, and a text's label is told by their mean, with as many of each class.

    Raises:
        TaskError: examples that are none, or whose labels are numbers.
        ModelError: models of two widths and no stitch, a stitch of others, a pool that is none.

    Example:
        >>> maps = readers(model, "probe_acceptability", limit=40)
        >>> maps.matrix("standardised").shape
        (7, 7)
    """
    model = as_model(model)
    second = model if other is None else as_model(other)
    _refuse_widths(model, second, other, stitch)
    pool = "mean" if pool is None else pool_of(model, pool)
    task = _one(examples, data).limited(limit, seed)
    trained, read = _states(model, second, task, pool)
    if stitch is not None:
        read = tuple(_stitched(part, stitch) for part in read)  # type: ignore[assignment]
    control = _control(
        task, sequences(model, task.train.texts), sequences(model, task.scored.texts), seed
    )
    hits, strengths = _hits(trained, read, task.train.right, task.scored.right, task, seed)
    idle, _ = _hits(trained, read, *control, task, seed)
    majority = np.bincount(task.train.right.astype(int)).argmax()
    chance = float((task.scored.right == majority).mean())
    source, target = (str(bridge.cfg.model_name) for bridge in (model, second))
    if second is not model and target == source:
        target = f"{target} (other)"
    return Readers(hits, idle, chance, strengths, source, target, task.name, seed)


def _one(examples: Task, data: str | Path | None) -> Examples:
    found = all_examples(several(examples, str, Path, pd.DataFrame, Examples), data)
    if len(found) != 1:
        raise TaskError(f"{len(found)} tasks; readers are trained for one")
    [task] = found
    if not task.classes:
        raise TaskError(f"task {task.name!r} has numbers for labels; readers tell classes")
    return task


def _known(reading: str) -> str:
    if reading not in READINGS:
        raise TaskError(f"no reading {reading!r}; there are {', '.join(READINGS)}")
    return reading


def _refuse_widths(
    model: TransformerBridge, second: TransformerBridge, other: Any, stitch: Stitch | None
) -> None:
    widths = int(second.cfg.d_model), int(model.cfg.d_model)
    if stitch is None:
        if widths[0] != widths[1]:
            raise ModelError(
                f"{second.cfg.model_name} has {widths[0]} dimensions and {model.cfg.model_name} "
                f"{widths[1]}; give a stitch between them (stitch=...), or a model of its width"
            )
    elif other is None:
        raise ModelError("a stitch leads from one model to another; give other=...")
    elif tuple(stitch.weight.shape) != widths:
        raise ModelError(
            f"the stitch maps {stitch.weight.shape[0]} dimensions to {stitch.weight.shape[1]}; "
            f"{second.cfg.model_name} to {model.cfg.model_name} needs {widths[0]} to {widths[1]}"
        )


Pair = tuple[States, States]  # of what is learnt from, and of what is scored


def _states(
    model: TransformerBridge, second: TransformerBridge, task: Examples, pool: str
) -> tuple[Pair, Pair]:
    """The pooled states of both models; the second's are the first's where it is the same."""
    bridges = [model] if second is model else [model, second]
    read = [
        (bridge, sequences(bridge, part.texts))
        for bridge in bridges
        for part in (task.train, task.scored)
    ]
    total = sum(sum(map(len, texts.ids)) * len(bridge.blocks) for bridge, texts in read)
    with progress("reading", total) as advance:
        found = [state_features(bridge, texts, pool, advance) for bridge, texts in read]
    for (bridge, texts), states in zip(read, found, strict=True):
        broken = int((~np.isfinite(states)).any(axis=(1, 2)).sum())
        say_nan(
            f"{bridge.cfg.model_name}: what is read of {len(texts.ids)} texts",
            broken,
            len(states),
            "states",
        )
    return (found[0], found[1]), (found[-2], found[-1])


def _stitched(states: States, stitch: Stitch) -> States:
    """Pooled states of the source as those of the target: the map is affine, as pools are."""
    weight = numbers(stitch.weight)
    mapped = (states - numbers(stitch.source_mean)) @ weight + numbers(stitch.target_mean)
    return np.asarray(mapped, dtype=states.dtype)


def _control(
    task: Examples, train: Sequences, scored: Sequences, seed: int
) -> tuple[Float[np.ndarray, " _text"], Float[np.ndarray, " _text"]]:
    """Labels that follow from which tokens there are, at random, with as many of each class."""
    known = sorted({token for part in (train, scored) for ids in part.ids for token in ids})
    drawn = np.random.default_rng(seed).normal(size=len(known))
    number = dict(zip(known, drawn, strict=True))
    means = [
        np.array([np.mean([number[t] for t in ids]) for ids in p.ids]) for p in (train, scored)
    ]
    shares = np.bincount(task.train.right.astype(int), minlength=len(task.classes)).cumsum()
    cuts = np.quantile(means[0], shares[:-1] / shares[-1])
    first, second = (np.searchsorted(cuts, mean, side="left").astype(float) for mean in means)
    if len(np.unique(first)) < 2:
        raise TextError(
            f"task {task.name!r}: all texts have the same tokens, so nothing about which there are "
            "can be learnt; give other texts"
        )
    return first, second


def _hits(
    trained: Pair,
    read: Pair,
    learnt: Float[np.ndarray, " _text"],
    right: Float[np.ndarray, " _text"],
    task: Examples,
    seed: int,
) -> tuple[dict[str, Hits], tuple[float, ...]]:
    """Which texts each reader gets right at each state, in both readings."""
    shape = (len(trained[0]), len(read[0]), len(right))
    hits = {reading: np.full(shape, np.nan) for reading in READINGS}
    scales = [_scale(states) for states in read[0]]
    strengths = []
    for i, states in enumerate(trained[0]):
        if not np.isfinite(states).all():
            strengths.append(np.nan)
            continue
        head = fitted(states, learnt, len(task.classes), seed)
        strengths.append(head.strength)
        for j, reading, asked in _asked(head, read[1], scales):
            hits[reading][i, j] = head.model[-1].predict(asked) == right
    return hits, tuple(strengths)


def _scale(states: Float[np.ndarray, "_text _d_model"]) -> StandardScaler | None:
    return StandardScaler().fit(states) if np.isfinite(states).all() else None


def _asked(
    head: Head, read: States, scales: Sequence[StandardScaler | None]
) -> Iterator[tuple[int, str, Float[np.ndarray, "_text _d_model"]]]:
    """Every state that can be read, as the reader's last part takes it, in both readings."""
    own = head.model[0]
    for j, (states, scale) in enumerate(zip(read, scales, strict=True)):
        if scale is not None and np.isfinite(states).all():
            yield j, "raw", own.transform(states)
            yield j, "standardised", scale.transform(states)


def _matrix(hits: Hits) -> pd.DataFrame:
    return pd.DataFrame(hits.mean(axis=2))


def _tidy(hits: Hits, level: float, resamples: int, seed: int) -> pd.DataFrame:
    n_read, texts = hits.shape[1:]
    flat = hits.reshape(-1, texts)
    low, high = statistics.of_mean(flat.T, level, resamples, seed)
    rows, columns = np.divmod(np.arange(len(flat)), n_read)
    named = {"row": rows, "column": columns, "value": flat.mean(axis=1)}
    return pd.DataFrame(named | {"low": low, "high": high, "documents": texts})
