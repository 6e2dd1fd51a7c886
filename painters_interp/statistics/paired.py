"""Paired tests of two plans over the units that both were measured on."""

from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int, Int8
from scipy import stats

from .resampling import LEVEL, Interval, resamplings, studentised

FLIPS = 9999


def difference(
    first: Float[np.ndarray, "unit of"],
    second: Float[np.ndarray, "unit #of"],
    level: float = LEVEL,
    weights: Float[np.ndarray, "resample unit"] | None = None,
) -> Interval:
    """Interval of mean(first) - mean(second), whose rows are of the same units.

    Where all values of a column are 0 or 1 it is `proportions`, elsewhere `studentised` with
    `weights` (`resamplings` of the units if not given). NaN for a single unit, and where a value
    is.

    Args:
        first: Values, shape (unit, of); a column for each comparison.
        second: Values of the same units; one column may stand for all.
        level: Of the interval, between 0 and 1.
        weights: Bootstrap samples of the units, shape (resample, unit).

    Returns:
        Lower and upper ends, shape (of,), in the unit of the values.

    Example:
        >>> right, wrong = np.ones((20, 1)), np.zeros((20, 1))
        >>> low, high = difference(right, wrong)
        >>> float(low[0]) > 0.7, float(high[0])
        (True, 1.0)
    """
    n = len(first)
    if n < 2:
        nothing = np.full(first.shape[1:], np.nan)
        return Interval(nothing, nothing)
    with np.errstate(invalid="ignore"):  # infinite perplexities
        apart = first - second
    low, high = studentised(apart, resamplings(n) if weights is None else weights, level)
    binary = (np.isin(first, (0, 1)) & np.isin(second, (0, 1))).all(axis=0)
    exact = proportions((apart == 1).sum(axis=0), (apart == -1).sum(axis=0), n, level)
    return Interval(np.where(binary, exact.low, low), np.where(binary, exact.high, high))


def proportions(
    wins: Int[np.ndarray, "*of"], losses: Int[np.ndarray, "*of"], n: int, level: float = LEVEL
) -> Interval:
    """Interval of the difference of two paired proportions, (wins - losses) / n.

    The adjusted Wald interval of Bonett and Price (2012, Journal of Educational and Behavioral
    Statistics 37, 479-488): one win and one loss are added. `wins` are the units on which the
    first alone succeeds, `losses` the second alone. Never of width zero. At level .95 and n of 8
    to 400, proportions of .05 to .9 and changes of .02 to .85 it covers .948 to 1 (Newcombe's
    hybrid score interval .918 to 1, and is longer where few units change).

    Args:
        wins: Counts, of any shape.
        losses: Counts of the same shape.
        n: How many units there are.
        level: Of the interval, between 0 and 1.

    Returns:
        Lower and upper ends, of the shape of the counts, between -1 and 1.

    Example:
        >>> low, high = proportions(np.array([4]), np.array([0]), n=32)
        >>> bool(low[0] < 4 / 32 < high[0])
        True
    """
    won, lost = ((count + 1) / (n + 2) for count in (wins, losses))
    reach = stats.norm.ppf((1 + level) / 2) * np.sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    return Interval(np.maximum(won - lost - reach, -1), np.minimum(won - lost + reach, 1))


def mcnemar(first: Bool[np.ndarray, " unit"], second: Bool[np.ndarray, " unit"]) -> float:
    """Two-sided p of McNemar's exact test that two plans are right equally often.

    Only units on which they disagree count, as tosses of a fair coin; 1 where there are none.

    Args:
        first: On which units one plan is right, shape (unit,).
        second: On which the other one is.

    Returns:
        p, between 0 and 1.

    Example:
        >>> mcnemar(np.array([True] * 5), np.array([False] * 5))
        0.0625
    """
    wins, losses = int((first & ~second).sum()), int((~first & second).sum())
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def signs(units: int, flips: int = FLIPS, seed: int = 0) -> Int8[np.ndarray, "flip unit"]:
    """Which units to turn round in a sign-flip test: +1 or -1 each; the first row turns none.

    All 2**units rows where that are no more than 1 + `flips`, and the test exact.

    Args:
        units: How many there are.
        flips: How many random rows are drawn besides the first.
        seed: Of the draw.

    Returns:
        An array of int8, shape (flip, unit).

    Example:
        >>> signs(2).tolist()
        [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    """
    if 2**units <= 1 + flips:
        return np.array(list(product((1, -1), repeat=units)), dtype=np.int8)
    draws = np.random.default_rng(seed).choice(np.array([1, -1], dtype=np.int8), (flips, units))
    return np.concatenate([np.ones((1, units), dtype=np.int8), draws])


def flip_p(statistics: Float[np.ndarray, "flip *of"]) -> Float[np.ndarray, "*of"]:
    """Two-sided p of a sign-flip test: how many rows are as far from 0 as the first, itself too.

    The null hypothesis is that the two plans could be exchanged on every unit; no p is below one
    over the number of rows. NaN where the first row is.

    Args:
        statistics: The statistic of every flip, shape (flip, ...); the first row is the one
            observed.

    Returns:
        p of every column.

    Example:
        >>> flip_p(np.array([[3.0], [1.0], [-1.0], [-3.0]])).tolist()
        [0.5]
    """
    far = np.abs(statistics)
    slack = 1e-9 * np.nan_to_num(far[0], posinf=0)  # the same sum in another order is the same
    return np.where(np.isnan(far[0]), np.nan, (far >= far[0] - slack).mean(axis=0))


def adjusted(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """p after Benjamini and Hochberg: below q on a share of false discoveries of at most q.

    Holds for tests that are independent or positively dependent, as those of many plans against
    one intact model on the same units are. NaN stays NaN and is no test.

    Args:
        p: p values, shape (test,).

    Returns:
        The adjusted ones in the same order, each at least as large.

    Example:
        >>> adjusted(np.array([0.01, 0.02, 0.5])).tolist()
        [0.03, 0.03, 0.5]
    """
    known = ~np.isnan(p)
    out = np.full(p.shape, np.nan)
    if known.any():
        out[known] = stats.false_discovery_control(p[known])
    return out
