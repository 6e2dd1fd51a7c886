"""What a run found, in sentences."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from .. import statistics
from ..figures.naming import measure_label, metric_label
from ..tables import (
    above_chance,
    is_intact,
    median_over_tasks,
    primary,
    scored,
    summarise_seeds,
    to_matrices,
)
from ..tables.matrices import sides_of
from ..tables.showing import ends
from .saved import read

FALSE_DISCOVERIES = 0.05


def summary(folder: str | Path, names: Iterable[str] | None = None) -> list[str]:
    """What the tables `names` in `folder` (all of them if not given) say, in sentences.

    Args:
        folder: Where the tables lie.
        names: Their names.

    Returns:
        Sentences; none where there is no such table.

    Raises:
        TableError: for a table that cannot be read.

    Example:
        >>> summary(tmp_path)
        []
    """
    folder, wanted = Path(folder), _TOLD if names is None else {*names}
    present = [name for name in _TOLD if name in wanted and (folder / f"{name}.csv").is_file()]
    return [sentence for name in present for sentence in _TOLD[name](read(folder / name).table)]


def _scores(told: Callable[[pd.DataFrame], list[str]]) -> Callable[[pd.DataFrame], list[str]]:
    """Of scores, what is told of the tasks that tell anything, and which do not."""

    def sentences(table: pd.DataFrame) -> list[str]:
        clear = above_chance(primary(table))
        found = told(clear) if len(clear) else []
        if out := sorted({*table["task"]} - {*clear["task"]}):
            [name] = table["experiment"].unique()
            found.append(
                f"Left out of the {name} scores, as the intact model is not clearly above chance: "
                f"{', '.join(out)}."
            )
        return found

    return sentences


def _canvas(table: pd.DataFrame) -> list[str]:
    if sides := sides_of(table):
        return _two_canvases(table, *sides)
    means = {}
    for name, matrix in to_matrices(table).items():
        last = len(matrix) - 1
        middle = range(last // 4, last - last // 4 + 1)
        inner = matrix.to_numpy()[np.ix_(middle, middle)]
        apart = ~np.eye(len(middle), dtype=bool)
        ends = np.array(
            [matrix.to_numpy()[end, k] for end in (0, last) for k in middle if k != end]
        )
        means[name] = (inner[apart].mean(), ends.mean())
    told = "; ".join(
        f"{measure_label(name)} {inner:.2f} (first and last state with them {ends:.2f})"
        for name, (inner, ends) in means.items()
    )
    return [f"Shared canvas: states {middle.start}-{middle.stop - 1} with each other: {told}."]


def _two_canvases(table: pd.DataFrame, source: str, target: str) -> list[str]:
    """Of two models, where they are most alike and how alike they are on average."""
    told = []
    for name, rows in table[table["value"].notna()].groupby("measure", sort=False):
        alike = rows["value"] * (-1 if str(name).startswith("angular") else 1)
        best = rows.iloc[int(alike.to_numpy().argmax())]
        told.append(
            f"{measure_label(str(name))} {rows['value'].mean():.2f} "
            f"(closest: {best['row']} and {best['column']}, {best['value']:.2f})"
        )
    return [f"States of {source} with those of {target}: {'; '.join(told)}."] if told else []


def _layers(table: pd.DataFrame) -> list[str]:
    """Which single layers matter, on the scale where 1 is the intact model and 0 chance."""
    medians = median_over_tasks(scored(table))
    told = []
    for variant, action in (("drop", "dropping layer"), ("swap", "swapping with the next layer")):
        rows = medians[medians["variant"] == variant].sort_values("score", kind="stable")
        three = rows.head(3)
        pairs = zip(three["layer"].astype(int), three["score"], strict=True)
        worst = ", ".join(f"{layer} ({score:.2f})" for layer, score in pairs)
        told.append(
            f"Single layers, {action}: worst at {worst}; "
            f"median over layers {rows['score'].median():.2f} (1 = intact, 0 = chance)."
        )
    if "p_adjusted" in table:
        told += [_real(rows, str(task)) for task, rows in table.groupby("task", sort=False)]
    return told


def _real(table: pd.DataFrame, task: str) -> str:
    """How many single layers make a difference that is not the luck of these items."""
    counts = []
    for variant, noun in (("drop", "drops"), ("swap", "swaps")):
        p = table.loc[table["variant"] == variant, "p_adjusted"]
        counts.append(f"{p.lt(FALSE_DISCOVERIES).sum()} of {len(p)} single-layer {noun}")
    return (
        f"{task}: {' and '.join(counts)} differ from the intact model on its "
        f"{table['n'].max()} items, at a false discovery rate of {100 * FALSE_DISCOVERIES:.0f} %."
    )


def _orders(table: pd.DataFrame) -> list[str]:
    """How the variants rank at few, at half and at most of the layers that were changed."""
    lines = summarise_seeds(median_over_tasks(scored(table)))
    lines = lines[~is_intact(lines) & (lines["affected"] > 1)]
    sizes = sorted(lines["affected"].unique())
    told = []
    for size in dict.fromkeys((*sizes[:1], *sizes[len(sizes) // 2 :][:1], *sizes[-1:])):
        rows = lines[lines["affected"] == size].sort_values("score", ascending=False)
        ranked = " > ".join(
            f"{variant} {score:.2f}"
            for variant, score in zip(rows["variant"], rows["score"], strict=True)
        )
        told.append(f"{size} middle layers changed: {ranked}.")
    return told


def _caches(table: pd.DataFrame) -> list[str]:
    """Per task and window: what exact decoding leaves, and what the averaged cache changes."""
    table = table.assign(surprisal=table["nats"] / table["tokens"])
    told = []
    for task, rows in table.groupby("task", sort=False):
        whole = rows[is_intact(rows)]
        windows = rows[rows["affected"].notna()]
        for (affected, variant), part in windows.groupby(["affected", "variant"], sort=False):
            texts = [f"gold text, {_both_caches(part, whole, 'surprisal')} nats a token"]
            if "value" in rows:
                texts.append(f"own texts, {_both_caches(part, whole, 'value')} {_metric(rows)}")
            told.append(f"{task}, {affected} middle layers {variant}: {'; '.join(texts)}.")
    return told


def _metric(table: pd.DataFrame) -> str:
    [metric] = table["metric"].unique()
    return metric_label(str(metric))


def _both_caches(part: pd.DataFrame, whole: pd.DataFrame, column: str) -> str:
    """`column` decoded exactly, and what averaging adds on the same items."""
    wide = part.pivot(index="item", columns="cache", values=column)
    averaged, exact = (wide[[cache]].to_numpy(dtype=float) for cache in ("averaged", "exact"))
    [low], [high] = statistics.difference(averaged, exact)
    intact = whole.loc[whole["cache"] == "exact", column].mean()
    return (
        f"{exact.mean():.2f} (intact {intact:.2f}), with the averaged cache "
        f"{(averaged - exact).mean():+.2f} {ends(low, high)}"
    ).rstrip()


_TOLD: dict[str, Callable[[pd.DataFrame], list[str]]] = {
    "similarity": _canvas,
    "single_layers": _scores(_layers),
    "variants": _scores(_orders),
    "decoding": _caches,
}
