"""From what a metric says of single items to its one number: lm-eval's aggregations, resampled.

Every aggregation here is a function of means over items. So a bootstrap sample is a weighted mean,
a swap of two plans' answers is a shifted mean, and both are matrix products over all plans at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

Values = Float[np.ndarray, "plan item"]
Parts = Float[np.ndarray, "plan item part"]
Means = Float[np.ndarray, "*sample part"]


@dataclass(frozen=True)
class Aggregation:
    """`of(mean over items of parts(value, reference))`.

    `reference` is what an item's value is read against: the right label, or the number of words
    or bytes; NaN where a value stands for itself.
    """

    parts: Callable[[Values, Values], Parts]
    of: Callable[[Means], Float[np.ndarray, "*sample"]]

    def __call__(self, values: Values, reference: Values) -> Float[np.ndarray, " plan"]:
        """The metric under every plan."""
        return self.of(self.known(values, reference).mean(axis=1))

    def known(self, values: Values, reference: Values) -> Parts:
        """`parts`, all of them NaN for an item whose value is: comparisons would hide it."""
        return np.where(np.isnan(values)[..., None], np.nan, self.parts(values, reference))


def _alone(values: Values, reference: Values) -> Parts:
    return values[..., None]


def _pair(values: Values, reference: Values) -> Parts:
    return np.stack([values, reference], axis=-1)


def _first(means: Means) -> Any:
    return means[..., 0]


def _exp(values: Any) -> Any:
    with np.errstate(over="ignore"):  # the perplexity of a model that is beyond repair is infinite
        return np.exp(values)


def _confusion(predicted: Values, right: Values) -> Parts:
    """True positives, false positives, false negatives; the positive label is 1."""
    hit, meant = predicted == 1, right == 1
    return np.stack([hit & meant, hit & ~meant, ~hit & meant], axis=-1).astype(float)


def _f1(means: Means) -> Any:
    hits = 2 * means[..., 0]
    total = hits + means[..., 1] + means[..., 2]
    return np.divide(hits, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0)


def _labels(predicted: Values, right: Values) -> Parts:
    """Whether the answer is right, then one column per label for the answer and for the truth."""
    both = np.stack([predicted, right])
    labels = np.unique(both[~np.isnan(both)])
    columns = [predicted == right, *(side == k for side in (predicted, right) for k in labels)]
    return np.stack(columns, axis=-1).astype(float)


def _mcc(means: Means) -> Any:
    """Matthews correlation, of several classes by Gorodkin's formula, as in scikit-learn."""
    answered, true = np.split(means[..., 1:], 2, axis=-1)
    covariance = means[..., 0] - (answered * true).sum(axis=-1)
    spread = (1 - (answered**2).sum(axis=-1)) * (1 - (true**2).sum(axis=-1))
    some = spread > 1e-12  # one label alone has no correlation; rounding must not give it one
    root = np.sqrt(np.where(some, spread, 1.0))
    return np.where(np.isnan(spread), np.nan, np.where(some, covariance / root, 0.0))


def _moments(first: Values, second: Values) -> Parts:
    """What a correlation is a function of means of, both sides brought to a common scale."""
    one, other = (_standard(side) for side in (first, second))
    return np.stack([one, other, one * one, other * other, one * other], axis=-1)


def _standard(values: Values) -> Values:
    """Each row with mean 0 and deviation 1, so that its sums of squares do not cancel."""
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    rounding = 1e-12 * np.abs(values).max(axis=-1, keepdims=True, initial=0)
    standard: np.ndarray = centred / np.where(spread > rounding, spread, 1.0)
    return standard


def _ranks(first: Values, second: Values) -> Parts:
    """As `_moments`, of ranks among all items; what is equal shares the mean of its ranks."""
    return _moments(rankdata(first, axis=-1), rankdata(second, axis=-1))


def _correlation(means: Means) -> Any:
    """Pearson's; 0 where one side does not vary."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    spread = (xx - x * x) * (yy - y * y)
    some = spread > 1e-12  # rounding must not give a constant a correlation
    root = np.sqrt(np.where(some, spread, 1.0))
    return np.where(np.isnan(spread), np.nan, np.where(some, (xy - x * y) / root, 0.0))


# By lm-eval's names. Ours are `ratio`, `pearson`, `spearman` (a sample keeps the ranks that items
# have among all), and `jackknife` for all that is not here (`influences`).
AGGREGATIONS = {
    "mean": Aggregation(_alone, _first),
    "jackknife": Aggregation(_alone, _first),
    "perplexity": Aggregation(_alone, lambda means: _exp(-_first(means))),
    "weighted_perplexity": Aggregation(_pair, lambda means: _exp(-means[..., 0] / means[..., 1])),
    "bits_per_byte": Aggregation(_pair, lambda means: -means[..., 0] / means[..., 1] / np.log(2)),
    "ratio": Aggregation(_pair, lambda means: means[..., 0] / means[..., 1]),
    "f1": Aggregation(_confusion, _f1),
    "matthews_corrcoef": Aggregation(_labels, _mcc),
    "pearson": Aggregation(_moments, _correlation),
    "spearman": Aggregation(_ranks, _correlation),
}


def influences(aggregate: Callable[[list[Any]], float], items: list[Any]) -> list[float]:
    """Any aggregation as numbers whose mean it is, one per item, by leaving each item out in turn.

    Their standard error is the jackknife's (Efron and Tibshirani 1993, chapter 11). For a mean
    they are the values themselves.
    """
    whole, n = float(aggregate(items)), len(items)
    if n == 1:
        return [whole]
    without = np.array([float(aggregate(items[:i] + items[i + 1 :])) for i in range(n)])
    return list(whole + (n - 1) * (without.mean() - without))
