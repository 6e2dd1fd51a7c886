"""What studies measure as tables that the curves of `figures` read."""

from collections.abc import Collection

import pandas as pd
from matplotlib.figure import Figure

from ..figures import depth_curves
from ..measures import Curve, curve_table
from ..statistics import LEVEL, RESAMPLES, percentiles
from ..tables import is_intact, summarise_seeds
from .claims import Sampled

KL = "KL to the intact model (nats per token)"
LOSS = "loss (bits per byte)"
SCORE_KEPT = "median score (1: intact, 0: chance)"


def along_depth(table: pd.DataFrame) -> pd.DataFrame:
    """The KL of every single layer as a curve over layers."""
    rows = table[table["layer"].notna()]
    ends = {end: rows[f"kl_{end}"] for end in ("low", "high")}
    return rows.assign(measure=KL, axis="layer", place=rows["layer"], value=rows["kl"], **ends)


def as_curves(found: Collection[Curve], seed: int) -> pd.DataFrame:
    """Curves one after the other, each with its interval over texts."""
    parts = [curve_table(curve, LEVEL, RESAMPLES, seed) for curve in found]
    return pd.concat(parts, ignore_index=True)


def with_ends(found: Sampled, of: str) -> pd.DataFrame:
    """The rows with the ends of the 95 % intervals of their numbers, which are called `of`."""
    low, high = percentiles(found.samples)
    return found.rows.assign(**{f"{of}_low": low, f"{of}_high": high})


def removal_curves(
    table: pd.DataFrame, of: str = "kl", measure: str = KL, axis: str = "layers removed"
) -> Figure:
    """A number against how many layers are altered, a line per way; random ones as their mean."""
    read = {"variant", "affected", "shuffle_seed", "plan", of, f"{of}_low", f"{of}_high"}
    lines = summarise_seeds(table.loc[~is_intact(table), [c for c in table if c in read]], of)
    lines = lines.assign(measure=measure, axis=axis, place=lines["affected"], value=lines[of])
    return depth_curves(lines, "variant")
