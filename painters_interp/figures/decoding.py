"""What a parallel group loses when its members remember a mean: exact against averaged decoding."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import intervals
from ..errors import TableError
from ..tables import is_intact, require
from . import style

_KEYS = ["variant", "cache", "affected"]
_AVERAGED: style.Dashes = (0, (3, 1.5))


@style.publication()
def decoding_curves(table: pd.DataFrame, title: str | None = None) -> Figure:
    """Surprisal of gold texts while they are decoded, against M, under both caches.

    Reads the result of `evaluation.decoding.decode`. Left: nats per token, the mean over items;
    the dashed line is the intact model. Right: averaged minus exact on the same items. Bands are
    95 % bootstrap intervals over items. Raises TableError without windows or without both caches.
    """
    require(table, *_KEYS, "item", "nats", "tokens")
    rows = table[table["affected"].notna()]
    if rows.empty or set(rows["cache"]) != {"exact", "averaged"}:
        raise TableError('windows decoded with cache "exact" and "averaged" are needed; see decode')
    rows = rows.assign(value=rows["nats"] / rows["tokens"])
    figure, (levels, gaps) = style.canvas(style.DOUBLE, 72.0 + (5 if title else 0), 1, 2)
    for variant, look in style.looks(rows["variant"]).items():
        part = rows[rows["variant"] == variant]
        name = look.label + _times(part)
        for cache in ("exact", "averaged"):
            line = part[part["cache"] == cache]
            _curve(levels, line, look, f"{name}, {cache}", averaged=cache == "averaged")
        _curve(gaps, _paired(part), look, name)
    for value in _intact(table):
        levels.axhline(value, color=style.REFERENCE, linestyle=style.INTACT, linewidth=0.8,
                       zorder=1, label="intact model")  # fmt: skip
    gaps.axhline(0, color=style.REFERENCE, linestyle=style.INTACT, linewidth=0.8, zorder=1)
    levels.set(ylabel="surprisal of the gold text (nats a token)")
    gaps.set(ylabel="averaged minus exact (nats a token)")
    for ax in (levels, gaps):
        ax.set(xlabel="number of affected layers M")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
        sns.despine(ax=ax)
    handles, names = levels.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(style.wrapped(title, style.DOUBLE))
    return style.finished(figure)


def _times(rows: pd.DataFrame) -> str:
    times = list(rows["times"].dropna().unique()) if "times" in rows else []
    return f" x{times[0]}" if len(times) == 1 else ""


def _intact(table: pd.DataFrame) -> list[float]:
    rows = table[is_intact(table) & table["cache"].eq("exact")]
    return [float((rows["nats"] / rows["tokens"]).mean())] if len(rows) else []


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Averaged minus exact for every item of every window."""
    wide = rows.pivot(index=["affected", "item"], columns="cache", values="value")
    return (wide["averaged"] - wide["exact"]).rename("value").reset_index()


def _curve(
    ax: Axes, rows: pd.DataFrame, look: style.Look, name: str, averaged: bool = False
) -> None:
    """The mean over items at each M, with its interval."""
    x = sorted(int(m) for m in rows["affected"].unique())
    groups = [rows.loc[rows["affected"] == m, "value"].to_numpy(float) for m in x]
    drawn: dict[str, Any] = look.line(len(x)) | {"linestyle": "solid"}
    if averaged:
        drawn |= {"linestyle": _AVERAGED, "markerfacecolor": "white"}
        drawn |= {"markeredgecolor": look.colour, "markeredgewidth": 0.8}
    ax.plot(x, [values.mean() for values in groups], **drawn, label=name)
    ends = np.array([intervals.of_mean(values) for values in groups], dtype=float)
    ax.fill_between(x, ends[:, 0], ends[:, 1], color=look.colour, alpha=0.15, linewidth=0)
