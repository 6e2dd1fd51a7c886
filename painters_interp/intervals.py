"""How sure a number is: bootstrap intervals and paired tests over the units it is a mean of.

A unit is what was drawn independently of the others: a document, a test item. Tokens of one
document are not.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int8
from scipy import stats

LEVEL = 0.95
RESAMPLES = 1000
FLIPS = 9999


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


def mcnemar(first: Bool[np.ndarray, " unit"], second: Bool[np.ndarray, " unit"]) -> float:
    """Two-sided p of McNemar's exact test that two plans are right equally often.

    Only units on which they disagree count, as tosses of a fair coin; 1 where there are none.
    """
    wins, losses = int((first & ~second).sum()), int((~first & second).sum())
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def signs(units: int, flips: int = FLIPS, seed: int = 0) -> Int8[np.ndarray, "flip unit"]:
    """Which units to turn round in a sign-flip test: +1 or -1 each; the first row turns none.

    All 2**units rows where that are no more than 1 + `flips`, and the test exact.
    """
    if 2**units <= 1 + flips:
        return np.array(list(product((1, -1), repeat=units)), dtype=np.int8)
    draws = np.random.default_rng(seed).choice(np.array([1, -1], dtype=np.int8), (flips, units))
    return np.concatenate([np.ones((1, units), dtype=np.int8), draws])


def flip_p(statistics: Float[np.ndarray, "flip *of"]) -> Float[np.ndarray, "*of"]:
    """Two-sided p of a sign-flip test: how many rows are as far from 0 as the first, itself too.

    The null hypothesis is that the two plans could be exchanged on every unit; no p is below one
    over the number of rows. NaN where the first row is.
    """
    far = np.abs(statistics)
    slack = 1e-9 * np.nan_to_num(far[0], posinf=0)  # the same sum in another order is the same
    return np.where(np.isnan(far[0]), np.nan, (far >= far[0] - slack).mean(axis=0))


def adjusted(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """p after Benjamini and Hochberg: below q on a share of false discoveries of at most q.

    Holds for tests that are independent or positively dependent, as those of many plans against
    one intact model on the same units are. NaN stays NaN and is no test.
    """
    known = ~np.isnan(p)
    out = np.full(p.shape, np.nan)
    if known.any():
        out[known] = stats.false_discovery_control(p[known])
    return out
