"""How sure a number is: bootstrap intervals and paired tests over the units it is a mean of.

A unit is what was drawn independently of the others: a document, a test item. Tokens of one
document are not.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LEVEL = 0.95


RESAMPLES = 1000


class Interval(NamedTuple):
    """Lower and upper ends, each of the shape of the statistic."""

    low: Float[np.ndarray, "..."]
    high: Float[np.ndarray, "..."]


def resamplings(
    units: int, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resample unit"]:
    """Weights of bootstrap samples: each row sums to 1, so `weights @ values` are their means.

    The same arguments give the same samples: statistics resampled together stay paired.
    """
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples)
    return draws / units


def percentiles(statistics: Float[np.ndarray, "resample ..."], level: float = LEVEL) -> Interval:
    """The central `level` of resampled statistics; NaN where any of them is."""
    with np.errstate(invalid="ignore"):  # between two infinities
        low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(low, high)


def studentised(
    values: Float[np.ndarray, "unit of"],
    weights: Float[np.ndarray, "resample unit"],
    level: float = LEVEL,
) -> Interval:
    """Bootstrap-t interval of the mean over units (Efron and Tibshirani 1993, section 12.5).

    `weights` are `resamplings`. The distance of each sample's mean is measured in the standard
    error of that sample, which holds for skewed values and few units where percentiles are too
    narrow: of 32 log-normal values it covers .93, percentiles .88. NaN where units do not differ,
    and where more than a few samples are of units that do not: they say nothing of the others.
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


def of_mean(
    values: Float[np.ndarray, "unit ..."],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean over units.

    NaN for a single unit: one document says nothing about how documents differ.
    """
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return Interval(nothing, nothing)
    flat = values.reshape(len(values), -1)
    means = resamplings(len(values), resamples, seed) @ flat
    low, high = percentiles(means, level)
    return Interval(low.reshape(values.shape[1:]), high.reshape(values.shape[1:]))


def of_ratio(
    totals: Float[np.ndarray, "unit ..."],
    counts: Float[np.ndarray, " unit"],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of sum(totals) / sum(counts), units resampled whole.

    The mean per token where a unit is a document: long documents weigh more. NaN for one unit.
    """
    if len(totals) < 2:
        nothing = np.full(totals.shape[1:], np.nan)
        return Interval(nothing, nothing)
    weights = resamplings(len(totals), resamples, seed)
    flat = totals.reshape(len(totals), -1)
    low, high = percentiles((weights @ flat) / (weights @ counts)[:, None], level)
    return Interval(low.reshape(totals.shape[1:]), high.reshape(totals.shape[1:]))
