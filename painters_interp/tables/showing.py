"""Tables of results that show what one looks at: the columns that matter, with their intervals."""

from typing import Any

import pandas as pd

from ..terminal import WIDTH, in_columns
from .columns import require

_WIDEST = 48  # characters of a cell; a plan of many steps is cut in what is shown, not in the table
_DIFFERENCE = ("delta", "delta_low", "delta_high")
_OF_PLANS = ("plan", "task", "metric", "value", "stderr", "chance", *_DIFFERENCE, "p_adjusted", "n")
_OF_A_PAIR = ("task", "metric", "value", "against_value", *_DIFFERENCE, "p", "n")
_OF_DIVERGENCES = ("plan", "kl", "kl_low", "kl_high", "n_documents")
_OF_TIMES = ("plan", "batch", "length", "calls", "depth", "runs_as", "weight_bytes",
             *(f"{span}{part}" for span in ("prefill", "token")
               for part in ("", "_ratio", "_ratio_low", "_ratio_high")))  # fmt: skip
_TEXTS = ("label", "plan", "task", "metric")
# What may be folded where a table is too wide, and begins each part of one that is in parts.
_NAMES = (*_TEXTS, "batch", "length", "model", "dtype", "measured", "state", "runs_as")
_SHORTER = {"p_adjusted": "p_adj"}
_OF_SIDES = {"value": "first", "against_value": "second"}

_KINDS = (_OF_PLANS, _OF_A_PAIR, _OF_DIVERGENCES, _OF_TIMES)


class Results(pd.DataFrame):
    """A data frame that is shown as `readable`, and is for all else one like any other.

    Where a column that this needs was taken away, it is shown as pandas shows a frame.

    Example:
        >>> Results(table)
        label   plan  task metric ...delta    95 % interval p_adj n
        ...
    """

    @property
    def _constructor(self) -> type["Results"]:
        return Results

    def __repr__(self) -> str:
        """One aligned table for a terminal."""
        if not _is_readable(self):
            return repr(pd.DataFrame(self))
        most = pd.get_option("display.max_rows")
        return printed(readable(self), most)

    def _repr_html_(self) -> str | None:
        """The same table for a notebook; whatever stands in its cells is escaped."""
        if not _is_readable(self):
            html: str | None = pd.DataFrame(self)._repr_html_()  # type: ignore[operator]
            return html
        most = pd.get_option("display.max_rows")
        asis = ("display.html.use_mathjax", False)  # a label with dollars is no formula
        with pd.option_context("display.max_colwidth", _WIDEST, *asis):
            return readable(self).to_html(index=False, max_rows=most, border=0)


def _is_readable(table: pd.DataFrame) -> bool:
    named = {*table.columns}
    return len(table) > 0 and any({*columns} <= named for columns in _KINDS)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The columns one looks at, numbers short, each difference with its 95 % interval.

    Args:
        table: What `evaluate`, `items.compare`, `kl_to_intact` or `latency` returned.

    Returns:
        A frame of texts, row for row; an empty text where there is no number.

    Raises:
        TableError: where a column is not there, or there is no row.

    Example:
        >>> readable(painters.items.compare(answers, "0-2 5", "0-5"))["delta"].tolist()
        ['-0.375']
    """
    if {*_OF_TIMES} <= {*table.columns}:
        return _readable_times(table)
    pair = "against_value" in table
    divergences = "kl" in table and "delta" not in table
    columns = _OF_A_PAIR if pair else _OF_DIVERGENCES if divergences else _OF_PLANS
    require(table, *columns)
    names = _OF_SIDES if pair else _SHORTER
    shown = {c: [*map(str, table[c])] for c in _TEXTS if c in table and not (pair and c == "plan")}
    named, plans = shown.get("label", []), shown.get("plan", [])
    if not any(name not in ("intact", plan) for name, plan in zip(named, plans, strict=False)):
        shown.pop("label", None)
    for column in (c for c in columns if c not in _TEXTS and not c.endswith(("_low", "_high"))):
        shown[names.get(column, column)] = [*map(short, table[column])]
        if f"{column}_low" in columns:
            ends = (table[f"{column}_low"], table[f"{column}_high"])
            shown["95 % interval"] = [interval(*pair) for pair in zip(*ends, strict=True)]
    return pd.DataFrame(shown)


def _readable_times(table: pd.DataFrame) -> pd.DataFrame:
    """The columns one looks at: milliseconds, and ratios with their intervals."""
    shown = table[["plan", "batch", "length", "calls", "depth", "runs_as"]].copy()
    shown["MB"] = (table["weight_bytes"] / 1e6).round().astype(int)
    for span in ("prefill", "token"):
        shown[f"{span} (ms)"] = (1e3 * table[span]).map("{:.4g}".format)
        ends = [table[f"{span}_ratio{end}"].map("{:.3f}".format) for end in ("", "_low", "_high")]
        shown[f"{span} / intact"] = ends[0] + " [" + ends[1] + ", " + ends[2] + "]"
        if f"{span}_overlapped" in table:
            shown[f"{span} together"] = table[f"{span}_overlapped"].map("{:.3f}".format)
    return shown


def printed(table: pd.DataFrame, most: int | None = None, width: int = WIDTH) -> str:
    """Such a table in so many columns of a terminal; of more than `most` rows, the ends."""
    shown = {
        str(name): [text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..." for text in cells]
        for name, cells in table.astype(str).items()
    }
    return in_columns(shown, _NAMES, most, width)


def short(number: Any) -> str:
    """A number as one looks at it: three decimals, more digits only where it is smaller.

    Example:
        >>> short(-0.09375), short(2e-05), short(64), short(1234.5), short(float("nan"))
        ('-0.094', '2e-05', '64', '1234', '')
    """
    if pd.isna(number):
        return ""
    if float(number).is_integer() or abs(number) >= 1000:
        return f"{number:.0f}"
    return f"{number:.3f}" if abs(number) >= 0.0005 else f"{number:.1g}"


def measured(value: Any, low: Any, high: Any, unit: str) -> str:
    """A number of three digits with its interval, where there is one, and what it counts in.

    Example:
        >>> measured(0.02711, 0.0004132, 0.05, "nats"), measured(2.0, *[float("nan")] * 2, "layers")
        ('0.0271 [0.000413, 0.05] nats', '2 layers')
    """
    if pd.isna(value):
        return "no number"
    return f"{value:.3g} {ends(low, high)}{unit}"


def ends(low: Any, high: Any) -> str:
    """Of an interval, at three digits and with a blank behind; nothing where there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{low:.3g}, {high:.3g}] "


def interval(low: Any, high: Any) -> str:
    """Its ends at three decimals alike; nothing where there is none."""
    if pd.isna(low) or pd.isna(high):
        return ""
    tiny = 0 < max(abs(low), abs(high)) < 0.0005
    return f"[{short(low)}, {short(high)}]" if tiny else f"[{low + 0:.3f}, {high + 0:.3f}]"
