"""How sure a number is: bootstrap intervals and paired tests over the units it is a mean of.

A unit is what was drawn independently of the others: a document, a test item. Tokens of one
document are not.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..arguments import counting

LEVEL = 0.95
RESAMPLES = 1000
# Of fewer units, more than 2.5 % of the samples are of the largest alone: an interval would end at
# single units, and hold the mean half (of 2) to three quarters (of 3) of the time.
FEWEST = 4


class Interval(NamedTuple):
    """Lower and upper ends, each of the shape of the statistic."""

    low: Float[np.ndarray, "..."]
    high: Float[np.ndarray, "..."]


def resamplings(
    units: int, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resample unit"]:
    """Weights of bootstrap samples: each row sums to 1, so `weights @ values` are their means.

    The same arguments give the same samples: statistics resampled together stay paired. Below
    `FEWEST` units all weights are NaN, and so is every interval that rests on them.

    Args:
        units: How many there are.
        resamples: How many samples are drawn.
        seed: Of the draw.

    Returns:
        Weights, shape (resample, unit).

    Example:
        >>> weights = resamplings(5, resamples=100)
        >>> weights.shape, np.allclose(weights.sum(axis=1), 1)
        ((100, 5), True)
    """
    counts = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples)
    return counts / (units if units >= FEWEST else np.nan)


def draws(
    units: int, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resample unit"]:
    """Weights of a few random draws, such as orders of layers, that stand for all there could be.

    Weighted means lie around the mean as it lies around that of all draws: by Student's t with
    `units - 1` degrees of freedom, for which a bootstrap of three draws would be far too sure. Each
    row sums to 1; single weights may be negative. Of one draw, nothing can be told of others.

    Args:
        units: How many there are.
        resamples: How many samples are drawn.
        seed: Of the draw; independent of `resamplings`.

    Returns:
        Weights, shape (resample, unit).

    Example:
        >>> weights = draws(3, resamples=100)
        >>> weights.shape, np.allclose(weights.sum(axis=1), 1)
        ((100, 3), True)
    """
    even = np.full((resamples, units), 1 / units)
    if units < 2:
        return even
    rng = np.random.default_rng([seed, units])
    normal = rng.normal(size=(resamples, units))
    spread = np.sqrt((units - 1) / rng.chisquare(units - 1, size=(resamples, 1)))
    apart = normal - normal.mean(axis=1, keepdims=True)
    return np.asarray(even + spread * apart / np.sqrt(units * (units - 1)))


def percentiles(statistics: Float[np.ndarray, "resample ..."], level: float = LEVEL) -> Interval:
    """The central `level` of resampled statistics; NaN where any of them is.

    Args:
        statistics: A statistic on every bootstrap sample, shape (resample, ...).
        level: The share that lies within, between 0 and 1.

    Returns:
        Lower and upper ends, of the shape of a row.

    Example:
        >>> low, high = percentiles(np.arange(101.0), level=0.9)
        >>> round(float(low)), round(float(high))
        (5, 95)
    """
    with np.errstate(invalid="ignore"):  # between two infinities
        low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(low, high)


def studentised(
    values: Float[np.ndarray, "unit of"],
    weights: Float[np.ndarray, "resample unit"],
    level: float = LEVEL,
) -> Interval:
    """Bootstrap-t interval of the mean over units (Efron and Tibshirani 1993, section 12.5).

    The distance of each sample's mean is measured in the standard error of that sample, which holds
    for skewed values and few units where percentiles are too narrow: of 32 log-normal values it
    covers .93, percentiles .88.

    Args:
        values: Shape (unit, of).
        weights: `resamplings` of the units, shape (resample, unit).
        level: Of the interval, between 0 and 1.

    Returns:
        Lower and upper ends, shape (of,). NaN where units do not differ, and where more than a few
        samples are of units that do not: they say nothing of the others.

    Example:
        >>> low, high = studentised(np.arange(20.0)[:, None], resamplings(20))
        >>> bool(low[0] < 9.5 < high[0])
        True
    """
    n, rounding = len(values), 1e-9
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(n)
        apart = (values - mean) / (error * np.sqrt(n))
        means = weights @ apart
        variances = weights @ apart**2 - means**2
        errors = np.sqrt(np.where(variances > rounding, variances, 0) * n / (n - 1))
        distances = np.where(errors > 0, means * np.sqrt(n) / errors, np.copysign(np.inf, means))
        ends = [(1 + level) / 2, (1 - level) / 2]
        far, near = np.quantile(distances, ends, axis=0, method="nearest")
        low, high = mean - far * error, mean - near * error
    known = np.isfinite(low) & np.isfinite(high) & (error > rounding * np.abs(mean))
    return Interval(np.where(known, low, np.nan), np.where(known, high, np.nan))


@counting(resamples=1, seed=0)
def of_mean(
    values: Float[np.ndarray, "unit ..."],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean over units.

    NaN for fewer units than `FEWEST`, which say too little about how units differ.

    Args:
        values: Shape (unit, ...).
        level: Of the interval, between 0 and 1.
        resamples: How many bootstrap samples are drawn.
        seed: Of the draw.

    Returns:
        Lower and upper ends, of the shape of a unit's values and in their unit.

    Example:
        >>> low, high = of_mean(np.arange(20.0))
        >>> bool(low < 9.5 < high)
        True
    """
    flat = values.reshape(len(values), -1)
    means = resamplings(len(values), resamples, seed) @ flat
    low, high = percentiles(means, level)
    return Interval(low.reshape(values.shape[1:]), high.reshape(values.shape[1:]))


@counting(resamples=1, seed=0)
def of_ratio(
    totals: Float[np.ndarray, "unit ..."],
    counts: Float[np.ndarray, " unit"],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of sum(totals) / sum(counts), units resampled whole.

    The mean per token where a unit is a document: long documents weigh more. NaN as in `of_mean`.

    Args:
        totals: Sums within each unit, shape (unit, ...).
        counts: What they are sums over, shape (unit,).
        level: Of the interval, between 0 and 1.
        resamples: How many bootstrap samples are drawn.
        seed: Of the draw.

    Returns:
        Lower and upper ends, of the shape of a unit's totals.

    Example:
        >>> low, high = of_ratio(np.array([1.0, 2, 2, 9]), np.array([1.0, 1, 1, 3]))
        >>> bool(low < 14 / 6 < high)
        True
    """
    return percentiles(resampled_ratio(totals, counts, resamples, seed), level)


def resampled_ratio(
    totals: Float[np.ndarray, "unit ..."],
    counts: Float[np.ndarray, " unit"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, "resample ..."]:
    """sum(totals) / sum(counts) on the bootstrap samples that `of_ratio` rests on.

    Args:
        totals: Sums within each unit, shape (unit, ...).
        counts: What they are sums over, shape (unit,).
        resamples: How many bootstrap samples are drawn.
        seed: Of the draw.

    Returns:
        The ratios, shape (resample, ...).

    Example:
        >>> counts = np.array([1.0, 2.0, 4.0, 8.0])
        >>> resampled_ratio(2 * counts, counts, resamples=3).tolist()
        [2.0, 2.0, 2.0]
    """
    weights = resamplings(len(counts), resamples, seed)
    ratios: np.ndarray = weights @ totals.reshape(len(counts), -1) / (weights @ counts)[:, None]
    return ratios.reshape(resamples, *totals.shape[1:])
