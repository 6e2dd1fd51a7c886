"""From similarity to damage: does a likeness of states tell what a plan costs?

A plan that alters layers a to b leaves state b+1 wrong as far as those layers had changed state a.
So each measure predicts a plan's cost by what it says of the state that enters the altered layers
and the state that leaves them. The cost is KL(intact || plan), on the same documents.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from ..arguments import counting
from ..comparison import similarity
from ..errors import TableError
from ..experiments import damages
from ..experiments import plans as plans_of
from ..measures import Curve, Matrix, Result
from ..models import Model, as_model
from ..statistics import LEVEL, RESAMPLES, percentiles, resamplings
from ..tables import require
from ..texts import Texts, as_texts
from .divergence import document_divergences

MEASURES = ("cosine", "cosine_centered", "angular", "cka", "rsa", "knn", "procrustes",
            "block_influence", "update_ratio")  # fmt: skip
DEPTH = "depth"  # a rival that needs no measure: how far from the middle a plan acts

Weights = Float[np.ndarray, "resample document"]
Values = Float[np.ndarray, "resample plan"]


class Prediction(NamedTuple):
    """`points`: a row per plan and measure (labels, kl, measure, value). `correlations`: Spearman's
    rho of value and kl for each kind of plan and measure, with its interval over documents."""

    points: pd.DataFrame
    correlations: pd.DataFrame


@counting(resamples=1, seed=0)
def predict_damage(
    model: Model,
    texts: Texts,
    measures: Sequence[str] = MEASURES,
    experiment: pd.DataFrame | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Prediction:
    """Correlate what measures say of a model's states with what plans cost it, on `texts`.

    Each document's measures and costs are resampled together, so an interval says how much rho
    depends on the documents. The row "depth" is the distance of the altered layers from the middle:
    a measure should beat it.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        measures: Names out of `measures.MEASURES`.
        experiment: A table of plans that alter the layers from `layer` to `other`, by `variant`;
            `experiments.damages` by default.
        level: Of the intervals, between 0 and 1.
        resamples: How many bootstrap samples of the documents are drawn.
        seed: Of the bootstrap and of sampled tokens.

    Returns:
        `points`, each plan's KL from the intact model (nats per token) and each measure's value at
        the layers that it alters; and `correlations`, Spearman's rho of the two with its interval.

    Raises:
        TableError: an experiment without these columns.
        TextError: texts that cannot be read.

    Example:
        >>> found = predict_damage(model, texts, ["cosine"], painters.experiments.damages(6, 2))
        >>> found.correlations["measure"].unique().tolist()
        ['cosine', 'depth']
    """
    model, texts = as_model(model), as_texts(texts)
    table = damages(len(model.blocks)) if experiment is None else experiment
    require(table, "variant", "plan", "n_layers", "layer", "other")
    table = table[table["layer"].notna()].reset_index(drop=True)
    found = similarity(model, texts, measures, seed=seed)
    plans = plans_of(table)
    sums, tokens = document_divergences(model, plans, texts)
    place = {str(plan): i for i, plan in enumerate(plans)}
    columns = [place[text] for text in table["plan"]]

    def damage(weights: Weights) -> Values:
        cost: np.ndarray = (weights @ sums[:, columns]) / (weights @ tokens)[:, None]
        return cost

    readers = _readers(found, table, len(model.blocks), len(texts))
    return relate(table, readers, damage, len(texts), level, resamples, seed)


@counting(documents=1, resamples=1, seed=0)
def relate(
    table: pd.DataFrame,
    readers: Mapping[str, Callable[[Weights], Values]],
    damage: Callable[[Weights], Values],
    documents: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Prediction:
    """Join predictions and damage, both functions of the documents' weights.

    Args:
        table: The plans, with `variant` and a `plan` per row.
        readers: By measure, its values for the rows of `table`, of weights of documents: from shape
            (resample, document) to (resample, row).
        damage: The cost of the rows, from the same weights to the same shape.
        documents: How many there are.
        level: Of the intervals, between 0 and 1.
        resamples: How many bootstrap samples of the documents are drawn.
        seed: Of the bootstrap.

    Returns:
        As `predict_damage`.

    Example:
        >>> rows = painters.experiments.damages(6, 2)[1:7]  # the six drops
        >>> cost = np.arange(6.0)
        >>> found = relate(rows, {"mine": lambda w: w @ np.tile(cost, (3, 1))},
        ...                lambda w: w @ np.tile(cost, (3, 1)), documents=3)
        >>> found.correlations["rho"].round(6).tolist()
        [1.0]
    """
    even = np.full((1, documents), 1 / documents)
    drawn = resamplings(documents, resamples, seed)
    kl, kl_drawn = damage(even)[0], damage(drawn)
    points, rows = [], []
    for name, read in readers.items():
        value, value_drawn = read(even)[0], read(drawn)
        points.append(table.assign(kl=kl, measure=name, value=value))
        for variant, kind in table.groupby("variant", sort=False).indices.items():
            [rho] = _spearman(value[None, kind], kl[None, kind])
            low, high = percentiles(_spearman(value_drawn[:, kind], kl_drawn[:, kind]), level)
            rows.append(
                {
                    "measure": name,
                    "variant": variant,
                    "rho": rho,
                    "low": float(low),
                    "high": float(high),
                    "plans": len(kind),
                    "documents": documents,
                }
            )
    return Prediction(pd.concat(points, ignore_index=True), pd.DataFrame(rows))


def _readers(
    found: Mapping[str, Result], table: pd.DataFrame, n_layers: int, documents: int
) -> dict[str, Callable[[Weights], Values]]:
    enters = table["layer"].to_numpy(dtype=int)
    leaves = table["other"].to_numpy(dtype=int) + 1

    def between(matrix: Matrix) -> Callable[[Weights], Values]:
        def read(weights: Weights) -> Values:
            chosen: np.ndarray = matrix.resampled(weights)[:, enters, leaves]
            return chosen

        return read

    def along(curve: Curve) -> Callable[[Weights], Values]:
        def read(weights: Weights) -> Values:
            # The sum over the altered layers: what each of them would have done.
            total = np.cumsum(weights @ curve.per_document, axis=1)
            total = np.pad(total, ((0, 0), (1, 0)))
            summed: np.ndarray = total[:, leaves] - total[:, enters]
            return summed

        return read

    readers: dict[str, Callable[[Weights], Values]] = {}
    for name, result in found.items():
        if isinstance(result, Matrix):
            readers[name] = between(result)
        elif isinstance(result, Curve) and result.axis == "layer":
            readers[name] = along(result)
        else:
            raise TableError(f"{name} predicts no plan: it is no matrix and no curve over layers")
        _refuse_gaps(name, result.documents, documents)
    middle = np.abs((enters + leaves) / 2 - n_layers / 2)
    readers[DEPTH] = lambda weights: np.tile(middle, (len(weights), 1))
    return readers


def _refuse_gaps(name: str, measured: tuple[int, ...], documents: int) -> None:
    """Every document needs a value, so that measures and costs are resampled together."""
    if missing := sorted({*range(documents)} - {*measured}):
        raise TableError(f"text {missing[0]} is too short for {name}; leave it out, or the measure")


def _spearman(a: Values, b: Values) -> Float[np.ndarray, " resample"]:
    """Rank correlation row by row; equal values share their mean rank."""
    x, y = (rankdata(values, axis=1) for values in (a, b))
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    with np.errstate(invalid="ignore"):  # all values equal: no order to correlate
        rho: np.ndarray = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return rho
