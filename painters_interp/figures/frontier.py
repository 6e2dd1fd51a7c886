"""What plans are worth against how long they take."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import require
from . import appearance, style

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
) -> Figure:
    """A score against measured latency: every plan, those that none is faster and better than.

    Bars are 95 % intervals of the times; the intact model is a ring.

    Args:
        times: What `latency` returned for one batch and length.
        scores: Any table with a number `of` each `plan`, such as `kl_to_intact` and `evaluate`
            return, one row a plan.
        of: The column that is drawn upwards.
        along: The column of `times` that is drawn across.
        higher_is_better: Of the score.
        label: What the score is, beside its axis.
        ax: Draw into these axes.

    Returns:
        The figure.

    Raises:
        TableError: several rows of a plan in either table, or no plan in both.

    Example:
        >>> from painters_interp import figures
        >>> times = pd.DataFrame({"plan": ["0-5", "0-2 5"], "token_ratio": [1.0, 0.7]})
        >>> times = times.assign(token_ratio_low=0.6, token_ratio_high=1.1)
        >>> for name in ("prefill_ratio", "prefill_ratio_low", "prefill_ratio_high"):
        ...     times[name] = [1.0, 0.7]
        >>> found = pd.DataFrame({"plan": ["0-5", "0-2 5"], "kl": [0.0, 0.3]})
        >>> len(figures.latency_frontier(times, found).axes)
        1
    """
    require(times, "plan", along, f"{along}_low", f"{along}_high", "prefill_ratio")
    require(scores, "plan", of)
    points = frontier_of(times, scores, of, along, higher_is_better)
    figure, [axis] = style.canvas(1, 70.0)
    colour, grey = "black", appearance.REFERENCE
    axis.hlines(
        points[of], points[f"{along}_low"], points[f"{along}_high"], color=grey, linewidth=0.8
    )
    for best, shade in ((False, grey), (True, colour)):
        some = points[points["frontier"].eq(best)]
        axis.plot(some[along], some[of], "o", color=shade, markersize=3.5, linestyle="none")
    line = points[points["frontier"]].sort_values(along)
    axis.plot(line[along], line[of], color=colour, linewidth=1.0, drawstyle="steps-post")
    whole = points[points["intact"]]
    axis.plot(
        whole[along], whole[of], "o", markersize=8, markerfacecolor="none", markeredgecolor=colour,
        linestyle="none",
    )  # fmt: skip
    for _, row in whole.iterrows():
        axis.annotate(
            "intact", (row[along], row[of]), xytext=(-6, 6), textcoords="offset points", ha="right"
        )
    axis.set(xlabel=_ALONG.get(along, along), ylabel=label or of)
    sns.despine(ax=axis)
    return style.finished(figure, [axis])


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
    # Its ratio to itself is 1 at every turn.
    intact = times[["prefill_ratio", "prefill_ratio_low", "prefill_ratio_high"]].eq(1).all(axis=1)
    ends = [along, f"{along}_low", f"{along}_high"]
    points = times[["plan", *ends]].assign(intact=intact).merge(scores[["plan", of]], on="plan")
    points = points[points[of].notna() & points[along].notna()].reset_index(drop=True)
    if points.empty:
        raise TableError("no plan has both a time and a score")
    cost = -points[of] if higher_is_better else points[of]
    beaten = [
        bool(((points[along] <= t) & (cost <= c) & ((points[along] < t) | (cost < c))).any())
        for t, c in zip(points[along], cost, strict=True)
    ]
    return points.assign(frontier=[not one for one in beaten])
