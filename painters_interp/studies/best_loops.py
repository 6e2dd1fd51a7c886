"""How often a window is best looped: k against M (fig. 10 of 2407.09298)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..figures import depth_curves
from .claims import Claim, Quantity, Sampled

TIMES = 10  # loops that are tried
GROWS = f"The best number of loops grows with the window: slope of k (1 to {TIMES}) against M"


def best_loops(scores: Sampled) -> Sampled:
    """The number of loops with the highest score for each window; of equals, the smallest.

    Args:
        scores: Of the rows of `experiments.loops`.

    Returns:
        A row per window, `affected`, and its best number of loops.
    """
    loops = scores.where(variant="looped")
    windows = sorted({int(m) for m in loops.rows["affected"] if m > 1})
    times = loops.rows["times"].to_numpy(dtype=float)
    places = [np.flatnonzero(loops.rows["affected"].eq(m)) for m in windows]
    places = [p[np.argsort(times[p], kind="stable")] for p in places]

    def best(found: np.ndarray) -> np.ndarray:
        each = [times[p][found[..., p].argmax(axis=-1)] for p in places]
        known = [np.isfinite(found[..., p]).all(axis=-1) for p in places]  # argmax would take NaN
        return np.where(np.stack(known, axis=-1), np.stack(each, axis=-1), np.nan)

    rows = pd.DataFrame({"affected": windows})
    return Sampled(rows, best(loops.values), best(loops.samples), "loops")


def slope(best: Sampled) -> Quantity:
    """Loops that the best number grows by with every further layer, by least squares."""
    m = best.rows["affected"].to_numpy(dtype=float)
    m -= m.mean()
    return best.of(lambda k: (k * m).sum(axis=-1) / (m**2).sum(), "loops per layer")


def grows(best: Sampled) -> list[Claim]:
    """That it grows with the window; nothing is said of a single one."""
    if len(best.rows) < 2:
        return []
    return [Claim(GROWS, "about linear", slope(best), above=0, tried=TIMES)]


def as_curve(best: Sampled) -> pd.DataFrame:
    """A row per window: its best number of loops, with the 95 % interval over items."""
    low, high = statistics.percentiles(best.samples)
    table = best.rows.assign(measure="best number of loops k", axis="number of affected layers M")
    return table.assign(place=table["affected"], value=best.values, low=low, high=high)


def drawn(curve: pd.DataFrame, label: str | None = None) -> Figure:
    """k against M, a line for each value of `label`."""
    return depth_curves(curve, label)
