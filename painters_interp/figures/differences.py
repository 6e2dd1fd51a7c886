"""Differences between plans with their intervals: a forest plot."""

from math import ceil

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import TableError
from ..tables import is_intact, primary, require
from . import appearance, naming, style, wishes
from .legends import legend_below

_LINE = 4.0  # mm for a plan
_PLAN = 40  # characters of a plan's name


@style.drawing
def forest(
    table: pd.DataFrame,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    names: wishes.Names = None,
    palette: wishes.Palette = None,
) -> Figure:
    """Every plan's difference with its 95 % interval, a mark for each task.

    Args:
        table: What `evaluate` returned, of plans in a dict, a list or an experiment: differences to
            the intact model. Or what `items.compare` returned: the difference to the other plan or
            run. Or what `kl_to_intact` returned: the divergence from the intact model. Or what
            `latency` returned: times as a share of the intact model's.
        title: Over the plot; the task, where there is one, if not given.
        ax: Draw into these axes.
        names: What plans and tasks are called.
        palette: Colours of the tasks.

    Returns:
        The figure.

    Raises:
        TableError: Where no plan has a difference, or one has several in a task.

    Example:
        >>> from painters_interp import figures
        >>> table = painters.evaluate(model, {"drop 2": "0-1 3-5"}, tasks, limit=4)
        >>> [tick.get_text() for tick in figures.forest(table).axes[0].get_yticklabels()]
        ['drop 2']
    """
    table, meaning, none = _differences(table)
    rows, key = _altered(table)
    plans, tasks = [*dict.fromkeys(rows[key])], appearance.looks(rows["task"])
    high = max(18.0, _LINE * len(plans) * max(1.0, len(tasks) / 3))
    figure, [drawn] = style.canvas(1, 26.0 + high)
    for place, (task, look) in enumerate(tasks.items()):
        shift = 0.7 * ((place + 0.5) / len(tasks) - 0.5)
        own = rows[rows["task"] == task]
        y = np.array([plans.index(plan) for plan in own[key]]) + shift
        _draw_intervals(drawn, own, y, look)
    drawn.axvline(
        none, color=appearance.REFERENCE, linestyle=appearance.INTACT, linewidth=0.8, zorder=0
    )
    short = _shortened([*map(str, plans)])
    labels = [(names or {}).get(str(plan), naming.plain(name))
              for plan, name in zip(plans, short, strict=True)]  # fmt: skip
    every = ceil(3.0 * len(plans) / (25.4 * figure.get_figheight() - 25.0))
    drawn.set_yticks(range(0, len(plans), every), labels[::every])
    drawn.set_ylim(len(plans) - 0.5, -0.5)
    drawn.locator_params(axis="x", nbins=5)
    metrics = {naming.metric_label(str(metric)) for metric in rows["metric"]}
    label = meaning.format(metrics=", ".join(sorted(metrics)))
    told = rows["delta_low"].notna().any()
    drawn.set_xlabel(f"{label}, 95 % interval" if told else label)
    [first, *more] = tasks.values()
    alone = "" if more or first.label in ("texts", "time") else first.label
    drawn.set_title(naming.wrapped(alone if title is None else title, style.width(1)))
    sns.despine(ax=drawn)
    if len(tasks) > 1:
        legend_below(figure, [drawn], columns=3)
    return style.finished(figure, [drawn])


def _altered(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of plans with a difference to the intact model, and the column that names plans."""
    rows = primary(table)
    key = "label" if "label" in rows and rows["label"].notna().all() else "plan"
    rows = rows[~is_intact(rows)]
    style.say_left_out(int(rows["delta"].isna().sum()), "a difference")
    rows = rows[rows["delta"].notna()]
    if rows.empty:
        raise TableError("no plan here has a difference to the intact model; evaluate some")
    if rows.duplicated([key, "task"]).any():
        raise TableError(f"a {key} has several rows in a task; keep one model and one run")
    return rows, key


def _draw_intervals(
    ax: Axes, rows: pd.DataFrame, y: Float[np.ndarray, " plan"], look: appearance.Look
) -> None:
    """The differences of one task, each a mark with a line from end to end of its interval."""
    ends = rows["delta_low"].astype(float), rows["delta_high"].astype(float)
    ax.hlines(y, *ends, color=look.colour, linewidth=1.0)
    ax.plot(rows["delta"].astype(float), y, linestyle="none", marker=look.marker,
            color=look.colour, label=look.label)  # fmt: skip


def _shortened(plans: list[str]) -> list[str]:
    """Names that leave half of the width to the intervals, where they can still be told apart."""
    fit = max(12, int(0.5 * style.width(1) / (0.2 * naming.points("ytick.labelsize"))))
    names = [naming.shortened(plan, min(_PLAN, fit)) for plan in plans]
    told_apart = len({*names}) == len({*plans})
    return names if told_apart else [naming.shortened(plan, _PLAN) for plan in plans]


def _differences(table: pd.DataFrame) -> tuple[pd.DataFrame, str, float]:
    """Rows with a difference and its ends, what they are, in words around {metrics}, and none."""
    if "token_ratio" in table:
        return _ratios(table), "time (1 intact)", 1.0
    if "kl" in table and "delta" not in table:
        require(table, "plan", "kl", "kl_low", "kl_high")
        ends = {f"delta{end}": table[f"kl{end}"] for end in ("", "_low", "_high")}
        moved = table.assign(task="texts", metric="kl", **ends)
        return moved, "KL from the intact model (nats per token)", 0.0
    require(table, "plan", "task", "metric", "delta", "delta_low", "delta_high")
    if "against" not in table:
        return table, "{metrics}: difference to intact", 0.0
    against = ", ".join(dict.fromkeys(map(str, table["against"])))
    other = (
        naming.plain(naming.shortened(against, _PLAN)).strip().replace("{", "{{").replace("}", "}}")
    )
    return table, f"{{metrics}}: difference to {other}", 0.0


def _ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Times as rows: of prompts and of tokens, of each batch and length."""
    require(table, "plan", "batch", "length", "prefill_ratio", "token_ratio")
    several = len(table[["batch", "length"]].drop_duplicates()) > 1
    sizes = [f", {b} x {n} tokens" * several for b, n in
             zip(table["batch"], table["length"], strict=True)]  # fmt: skip
    parts = []
    for span, name in (("prefill", "reading a prompt"), ("token", "writing a token")):
        ends = {f"delta{end}": table[f"{span}_ratio{end}"] for end in ("", "_low", "_high")}
        parts.append(table.assign(task=[name + size for size in sizes], metric="time", **ends))
    return pd.concat(parts, ignore_index=True)
