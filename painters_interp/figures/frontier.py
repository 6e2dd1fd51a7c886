"""What plans are worth against how long they take."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..errors import TableError
from ..strategies import full
from ..tables import is_intact, require
from . import appearance, naming, style, wishes
from .legends import legend_below

_LONGEST = 24  # characters of a plan's name
_ALONG = {
    "token_ratio": "time per token (1 intact)",
    "prefill_ratio": "time to read a prompt (1 intact)",
    "token": "seconds per token",
    "prefill": "seconds to read a prompt",
}


@style.drawing
def latency_frontier(
    times: pd.DataFrame,
    scores: pd.DataFrame,
    of: str = "kl",
    along: str = "token_ratio",
    higher_is_better: bool = False,
    label: str | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
) -> Figure:
    """A score against measured latency: every plan, those that none is faster and better than.

    Bars are 95 % intervals of the times; the intact model is a ring. Plans that nothing beats have
    their names: their label where there is one, else their text.

    Args:
        times: What `latency` returned for one batch and length.
        scores: Any table with a number `of` each `plan`, such as `kl_to_intact` and `evaluate`
            return, one row a plan.
        of: The column that is drawn upwards.
        along: The column of `times` that is drawn across.
        higher_is_better: Of the score.
        label: What the score is, beside its axis.
        ax: Draw into these axes.
        names: What plans are called.

    Returns:
        The figure.

    Raises:
        TableError: several rows of a plan in either table, or no plan in both.

    Example:
        >>> from painters_interp import figures
        >>> times = pd.DataFrame({"plan": ["0-5", "0-2 5"], "token_ratio": [1.0, 0.7]})
        >>> times = times.assign(token_ratio_low=0.6, token_ratio_high=1.1)
        >>> times["n_layers"] = 6
        >>> found = pd.DataFrame({"plan": ["0-5", "0-2 5"], "kl": [0.0, 0.3]})
        >>> [ax] = figures.latency_frontier(times, found, names={"0-2 5": "short"}).axes
        >>> [text.get_text() for text in ax.texts]
        ['intact', 'short']
    """
    require(times, "plan", along, f"{along}_low", f"{along}_high")
    require(scores, "plan", of)
    points = frontier_of(times, scores, of, along, higher_is_better)
    figure, [axis] = style.canvas(1, 70.0)
    colour, grey = "black", appearance.REFERENCE
    axis.hlines(
        points[of], points[f"{along}_low"], points[f"{along}_high"], color=grey, linewidth=0.8
    )
    line = points[points["frontier"]].sort_values(along)
    axis.plot(line[along], line[of], color=colour, linewidth=1.0, drawstyle="steps-post")
    for best, shade, name in ((True, colour, "none faster and better"), (False, grey, "beaten")):
        some = points[points["frontier"].eq(best)]
        if len(some):
            axis.plot(some[along], some[of], "o", color=shade, markersize=3.5, label=name)
    whole = points[points["intact"]]
    axis.plot(
        whole[along], whole[of], "o", markersize=8, markerfacecolor="none", markeredgecolor=colour,
        linestyle="none",
    )  # fmt: skip
    axis.set(xlabel=f"{_ALONG.get(along, along)}, 95 % interval")
    axis.set_ylabel(label or naming.with_unit(of))
    axis.margins(x=0.12, y=0.12)
    sns.despine(ax=axis)
    named = points[points["frontier"] | points["intact"]].sort_values(along, ascending=False)
    texts = ["intact" if p["intact"] else _called(p, names or {}) for _, p in named.iterrows()]
    legend_below(figure, [axis], columns=2)
    _write_names(axis, texts, named[along].to_numpy(float), named[of].to_numpy(float))
    return style.finished(figure, [axis])


def _called(point: "pd.Series[Any]", names: Mapping[str, str]) -> str:
    label = str(point["label"]) if "label" in point and pd.notna(point["label"]) else ""
    for name in (label, str(point["plan"])):
        if name in names:
            return names[name]
    return naming.plain(naming.shortened(label or str(point["plan"]), _LONGEST))


def _write_names(ax: Axes, texts: Sequence[str], x: np.ndarray, y: np.ndarray) -> None:
    """Names over their points, inwards; higher, and tied to them, where others stand already."""
    size = font_manager.FontProperties(size=plt.rcParams["xtick.labelsize"]).get_size_in_points()
    ax.autoscale_view()  # now, for places depend on the limits
    places = 72 / ax.figure.dpi * ax.transData.transform(np.column_stack([x, y]))
    middle = 72 / ax.figure.dpi * ax.bbox.x0 + 36 * ax.bbox.width / ax.figure.dpi
    taken: list[tuple[float, float, float]] = []  # left, right and bottom of a name, in points
    for text, point, (across, up) in zip(texts, zip(x, y, strict=True), places, strict=True):
        right, wide, height = across > middle, 0.55 * size * len(text), up + 6
        left = across - wide if right else across
        while any(left < b and a < left + wide and abs(height - h) < 1.2 * size
                  for a, b, h in taken):  # fmt: skip
            height += 0.3 * size
        taken.append((left, left + wide, height))
        tie = {"arrowstyle": "-", "linewidth": 0.4, "color": appearance.REFERENCE}
        ax.annotate(text, point, xytext=(0, height - up), textcoords="offset points",
                    ha="right" if right else "left", fontsize=size,
                    path_effects=[withStroke(linewidth=2, foreground="white")],
                    arrowprops=tie if height - up > 2 * size else None)  # fmt: skip


def frontier_of(
    times: pd.DataFrame,
    scores: pd.DataFrame,
    of: str,
    along: str = "token_ratio",
    higher_is_better: bool = False,
) -> pd.DataFrame:
    """Times and scores of each plan, whether it is intact, and whether on the frontier.

    Raises TableError for several rows of a plan in either table, or no plan in both.
    """
    for name, table in (("times", times), ("scores", scores)):
        if (again := table["plan"][table["plan"].duplicated()]).any():
            raise TableError(
                f"{name} has several rows of plan {again.iloc[0]!r}; choose one batch and length, "
                "one task and metric"
            )
    kept = ["plan", *(["label"] if "label" in times else []), along]
    kept += [f"{along}_low", f"{along}_high"]
    points = times[kept].assign(intact=_whole(times)).merge(scores[["plan", of]], on="plan")
    points = points[points[of].notna() & points[along].notna()].reset_index(drop=True)
    if points.empty:
        raise TableError("no plan has both a time and a score")
    cost = -points[of] if higher_is_better else points[of]
    beaten = [
        bool(((points[along] <= t) & (cost <= c) & ((points[along] < t) | (cost < c))).any())
        for t, c in zip(points[along], cost, strict=True)
    ]
    return points.assign(frontier=[not one for one in beaten])


def _whole(times: pd.DataFrame) -> "pd.Series[bool]":
    """Which plans are the intact model: by their steps, or without a number of layers by label."""
    if "n_layers" not in times:
        return is_intact(times)
    plans = zip(times["plan"], times["n_layers"], strict=True)
    return pd.Series([text == str(full(int(n))) for text, n in plans], index=times.index)
