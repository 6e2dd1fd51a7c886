"""What plans are worth against how long they take."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from ..errors import TableError
from ..strategies import full
from ..tables import is_intact, require
from . import appearance, naming, style, wishes
from .legends import legend_below

_HEIGHTS = (0.7, -0.7, *np.arange(2.0, 12.0, 1.2))  # of a name over its point, in sizes of type
_ASIDE = 3.0  # points from the upright line through its point
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
    at, steps = (rows[[along, of]].to_numpy(float) for rows in (named, line))
    _write_names(axis, texts, at, steps)
    return style.finished(figure, [axis])


def _called(point: "pd.Series[Any]", names: Mapping[str, str]) -> str:
    label = str(point["label"]) if "label" in point and pd.notna(point["label"]) else ""
    for name in (label, str(point["plan"])):
        if name in names:
            return names[name]
    return naming.plain(naming.shortened(label or str(point["plan"]), _LONGEST))


def _write_names(
    ax: Axes,
    texts: Sequence[str],
    points: Float[np.ndarray, "point 2"],
    steps: Float[np.ndarray, "corner 2"],
) -> None:
    """Names at their points, where they hide no point, other name or step of the frontier.

    Some further, and tied.
    """
    style.lay_out(ax)
    size, inside = naming.points("xtick.labelsize"), ax.get_window_extent()
    middle, dots = (inside.x0 + inside.x1) / 2, ax.transData.transform(points)
    taken = [Bbox.from_bounds(left - 4, low - 4, 8, 8) for left, low in dots]
    for (left, high), (right, low) in pairwise(ax.transData.transform(steps)):
        over, under = max(high, low), min(high, low)
        taken += [Bbox([[left, high], [right, high]]), Bbox([[right, under], [right, over]])]
    for text, point, (across, _) in zip(texts, points, dots, strict=True):
        sides = ("right", "left", "center") if across > middle else ("left", "right", "center")
        name = ax.annotate(text, point, (0, 0), textcoords="offset points", fontsize=size,
                           path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
        for up, side in product(_HEIGHTS, sides):
            aside = {"left": _ASIDE, "right": -_ASIDE, "center": 0}[side]
            name.set(ha=side, va="bottom" if up > 0 else "top", position=(aside, up * size))
            box = name.get_window_extent()
            if inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1 - size) and not (
                box.count_overlaps(taken)
            ):  # fmt: skip
                break
        taken.append(box)
        if abs(up) > 1:
            foot = (np.clip(across, box.x0, box.x1), box.y0)
            ends = np.array([point, ax.transData.inverted().transform(foot)])
            ax.add_artist(Line2D(*ends.T, color=appearance.REFERENCE, linewidth=0.4, zorder=1))


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
    known = points[of].notna() & points[along].notna()
    if not known.any():
        raise TableError("no plan has both a time and a score")
    style.say_left_out(int((~known).sum()), "a time or a score")
    points = points[known].reset_index(drop=True)
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
