"""What studies measure as tables that the curves of `figures` read."""

import pandas as pd
from matplotlib.figure import Figure

from ..figures import depth_curves
from ..tables import is_intact, summarise_seeds

KL = "KL to the intact model (nats per token)"
LOSS = "loss (bits per byte)"


def along_depth(table: pd.DataFrame) -> pd.DataFrame:
    """The KL of every single layer as a curve over layers."""
    rows = table[table["layer"].notna()]
    ends = {end: rows[f"kl_{end}"] for end in ("low", "high")}
    return rows.assign(measure=KL, axis="layer", place=rows["layer"], value=rows["kl"], **ends)


def removal_curves(
    table: pd.DataFrame, of: str = "kl", measure: str = KL, axis: str = "layers removed"
) -> Figure:
    """A number against how many layers are altered, a line per way; random ones as their mean."""
    read = {"variant", "affected", "shuffle_seed", "plan", of, f"{of}_low", f"{of}_high"}
    lines = summarise_seeds(table.loc[~is_intact(table), [c for c in table if c in read]], of)
    lines = lines.assign(measure=measure, axis=axis, place=lines["affected"], value=lines[of])
    return depth_curves(lines, "variant")
