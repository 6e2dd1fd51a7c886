"""What a paper claims and published, and whether it holds here: by an interval, not a value."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import inf
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from .. import statistics
from ..tables.showing import measured
from ..terminal import WIDTH, folded

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
COLUMNS = ("claim", "published", "value", "low", "high", "unit", "rule", "verdict", "tried")
# What numbers count in, beside what measures do.
NATS, BITS, SCORE, RANKS = "nats per token", "bits per byte", "of the score", "rank correlation"


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number, what it counts in, and the same number on bootstrap samples of what it rests on."""

    value: float
    samples: Float[np.ndarray, " resample"]
    unit: str

    def __add__(self, other: "Quantity") -> "Quantity":
        with np.errstate(invalid="ignore"):  # samples without a scale are infinite
            return Quantity(
                self.value + other.value, self.samples + other.samples, self._shared(other)
            )

    def __sub__(self, other: "Quantity") -> "Quantity":
        with np.errstate(invalid="ignore"):
            return Quantity(
                self.value - other.value, self.samples - other.samples, self._shared(other)
            )

    def over(self, other: "Quantity", unit: str) -> "Quantity":
        """Their ratio, which counts in a unit of its own, such as "of all that is lost"."""
        self._shared(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.divide(self.value, other.value)
            return Quantity(float(value), self.samples / other.samples, unit)

    def _shared(self, other: "Quantity") -> str:
        if self.unit != other.unit:
            raise TypeError(f"{self.unit} and {other.unit} are no numbers of one kind")
        return self.unit

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the samples; NaN where one of them is."""
        low, high = statistics.percentiles(self.samples)
        return float(low), float(high)


Of = Callable[[Float[np.ndarray, "*resample row"]], Float[np.ndarray, "*resample"]]


@dataclass(frozen=True, eq=False)
class Sampled:
    """A table with one number a row, and those numbers on bootstrap samples of what was measured.

    The samples are of all rows together: whatever is computed from several of them stays paired.
    """

    rows: pd.DataFrame
    values: Float[np.ndarray, " row"]
    samples: Float[np.ndarray, "resample row"]
    unit: str

    @classmethod
    def together(cls, found: Collection[Quantity]) -> "Sampled":
        """Numbers of one kind, on the same samples, a row each."""
        [unit] = {one.unit for one in found}
        values = np.array([one.value for one in found])
        samples = np.stack([one.samples for one in found], axis=-1)
        return cls(pd.DataFrame(index=range(len(found))), values, samples, unit)

    def where(self, **labels: Any) -> "Sampled":
        """The rows whose columns have these values; of a list or range, one of them."""
        chosen = np.ones(len(self.rows), dtype=bool)
        for name, wanted in labels.items():
            among = [wanted] if isinstance(wanted, str | int | float) else list(wanted)
            chosen &= self.rows[name].isin(among).to_numpy(dtype=bool)
        return self.at(np.flatnonzero(chosen))

    def at(self, chosen: Sequence[int] | np.ndarray) -> "Sampled":
        """The rows at these places, in this order."""
        places = np.asarray(chosen, dtype=int)
        return replace(
            self,
            rows=self.rows.iloc[places],
            values=self.values[places],
            samples=self.samples[:, places],
        )

    def of(self, function: Of, unit: str | None = None) -> Quantity:
        """What `function` makes of the rows' numbers, along their last axis; `unit` if another."""
        with np.errstate(invalid="ignore"):
            value, samples = float(function(self.values)), np.asarray(function(self.samples))
        return Quantity(value, samples, self.unit if unit is None else unit)

    def mapped(self, rows: pd.DataFrame, matrix: Float[np.ndarray, "new row"]) -> "Sampled":
        """Other rows, each a weighted sum of these."""
        return Sampled(rows, matrix @ self.values, self.samples @ matrix.T, self.unit)

    def ranked_with(self, other: "Sampled | Sequence[float] | np.ndarray") -> Quantity:
        """Rank correlation with other rows on the same samples, or with fixed numbers.

        NaN where nothing differs.
        """
        if isinstance(other, Sampled):
            values, samples = other.values, other.samples
        else:
            values = samples = np.asarray(other, dtype=float)
        return Quantity(
            float(correlation(ranks(self.values), ranks(values))),
            correlation(ranks(self.samples), ranks(samples)),
            RANKS,
        )

    @property
    def largest(self) -> int:
        """The row of the largest number; what is no number is none."""
        return int(np.where(np.isnan(self.values), -inf, self.values).argmax())

    def mean(self) -> Quantity:
        """Their mean. Rows of random orders stand for all orders, so samples are of those, too."""
        found = self.of(lambda values: values.mean(axis=-1))
        return replace(found, samples=found.samples + self._of_other_shuffles())

    def _of_other_shuffles(self) -> Float[np.ndarray, " resample"]:
        """What random orders other than these would change of the mean, on each sample."""
        change = np.zeros(len(self.samples))
        if "shuffle_seed" not in self.rows:
            return change
        shuffled = self.rows["shuffle_seed"].notna().to_numpy(dtype=bool)
        places, seeds = pd.factorize(self.rows["shuffle_seed"][shuffled])
        known = np.isfinite(own := self.samples[:, shuffled]).all(axis=1)
        if len(seeds) > 1:
            more = len(seeds) * statistics.draws(len(seeds), len(own))[:, places] - 1
            apart = own[known] - own[known].mean(axis=1, keepdims=True)
            change[known] = (more[known] * apart).sum(axis=1) / len(self.rows)
        return change


@dataclass(frozen=True, eq=False)
class Claim:
    """A sentence, the number that was published, and the one that was found.

    It holds if the whole interval of what was found lies between `above` and `below`, and fails if
    the whole interval lies outside. `tried` is among how many the one judged was chosen.
    """

    sentence: str
    published: str
    found: Quantity
    above: int | float = -inf
    below: int | float = inf
    tried: int = 1

    @property
    def rule(self) -> str:
        """Where the interval has to lie, in words."""
        ends = [f"above {self.above:g}"] * (self.above > -inf)
        return " and ".join([*ends, *[f"below {self.below:g}"] * (self.below < inf)])

    @property
    def verdict(self) -> str:
        """`holds`, `fails` or `undecided`, which is also said where there is no interval."""
        low, high = self.found.interval
        if self.above < low and high < self.below:
            return HOLDS
        return FAILS if high <= self.above or low >= self.below else UNDECIDED


def as_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Claims as a table: claim, published, value, low, high, unit, rule, verdict, tried."""
    rows = [
        (
            *(c.sentence, c.published, c.found.value, *c.found.interval, c.found.unit),
            *(c.rule, c.verdict, c.tried),
        )
        for c in claims
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _found(row: Any) -> str:
    return measured(row.value, row.low, row.high, row.unit)


def as_lines(table: pd.DataFrame, width: int = WIDTH) -> str:
    """Such a table for a terminal: verdict, value with its interval, the rule, the sentence."""
    return "\n".join(
        folded(f"{row.verdict:9} {_found(row)} ({row.rule}): {row.claim}", 10, width)
        for row in table.itertuples(index=False)
    )


def as_html(table: pd.DataFrame) -> str:
    """Such a table for a notebook; whatever the sentences hold is escaped, and no formula."""
    head = "".join(f"<th>{name}</th>" for name in ("verdict", "value [95 %]", "rule", "claim"))
    rows = (
        (row.verdict, _found(row), row.rule, row.claim) for row in table.itertuples(index=False)
    )
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    shown = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<table class="tex2jax_ignore mathjax_ignore">{shown}</table>'


def as_markdown(table: pd.DataFrame) -> str:
    """Such a table as Markdown; what sentences and plans hold is read as it stands."""
    names = ("verdict", "claim", "found [95 %]", "published", "holds if", "tried")
    rows = (
        (row.verdict, row.claim, _found(row), row.published, row.rule, row.tried)
        for row in table.itertuples(index=False)
    )
    cells = (names, ["---"] * len(names), *([_plain(cell) for cell in row] for row in rows))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _plain(cell: Any) -> str:
    """A text without marks of Markdown, of HTML or of formulas."""
    return re.sub(r"([\\`*_|[])", r"\\\1", escape(str(cell), quote=False)).replace("$", "&#36;")


def ranks(values: Float[np.ndarray, "*resample row"]) -> Float[np.ndarray, "*resample row"]:
    """Ranks along the last axis, from 1; equal values share their mean rank."""
    from scipy.stats import rankdata

    found: np.ndarray = rankdata(values, axis=-1, nan_policy="propagate")
    return found


def correlation(
    first: Float[np.ndarray, "*resample row"],
    second: Float[np.ndarray, "*_ row"],
    weights: Float[np.ndarray, "*resample row"] | float = 1.0,
) -> Float[np.ndarray, "*resample"]:
    """Pearson's correlation along the last axis; NaN where one of them is constant."""
    weights = np.broadcast_to(weights, first.shape)
    total = weights.sum(axis=-1, keepdims=True)
    a, b = (x - (weights * x).sum(axis=-1, keepdims=True) / total for x in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        spreads = (weights * a**2).sum(axis=-1) * (weights * b**2).sum(axis=-1)
        return np.asarray((weights * a * b).sum(axis=-1) / np.sqrt(spreads))
