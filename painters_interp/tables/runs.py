"""The answers to one task as arrays, and the statistics of single items: paired, resampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Float, Int

from .. import statistics
from ..statistics.aggregations import AGGREGATIONS, Aggregation

_FLIPS_AT_ONCE = 500


@dataclass(frozen=True, eq=False)
class Run:
    """One metric of one task under several plans of one model, on the same items."""

    facts: dict[str, Any]
    plans: tuple[str, ...]
    values: Float[np.ndarray, "plan item"]
    reference: Float[np.ndarray, "plan item"]
    chance: Float[np.ndarray, " item"]
    truncated: Bool[np.ndarray, " item"]

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.chance)

    @property
    def aggregation(self) -> Aggregation:
        """How values of items become the metric."""
        return AGGREGATIONS[self.facts["aggregation"]]

    @cached_property
    def parts(self) -> Float[np.ndarray, "item plan part"]:
        """Per item, what the metric is a function of means of."""
        return self.aggregation.known(self.values, self.reference).transpose(1, 0, 2)

    @cached_property
    def value(self) -> Float[np.ndarray, " plan"]:
        """The metric under every plan."""
        return np.asarray(self.aggregation.of(self.parts.mean(axis=0)))

    def weights(self, seed: int) -> Float[np.ndarray, "resample item"]:
        """Bootstrap samples of the items: the same for all metrics of a task and all models."""
        return statistics.resamplings(self.n, seed=self._seed(seed))

    def _seed(self, seed: int) -> int:
        return crc32(f"{seed} {self.facts['task']}".encode())

    def resampled(self, seed: int) -> Float[np.ndarray, "resample plan"]:
        """The metric under every plan on every bootstrap sample, plans staying paired."""
        means = np.tensordot(self.weights(seed), self.parts, axes=1)
        return np.asarray(self.aggregation.of(means))

    def resampled_against(
        self, base: int, seed: int
    ) -> tuple[Float[np.ndarray, "resample plan"], Float[np.ndarray, " resample"]]:
        """The metric under every plan, and chance, on bootstrap samples for comparison with `base`.

        Of successes, the samples are drawn from the items and two more: one that `base` alone gets
        right, and one that it alone gets wrong, as in `statistics.proportions`. Without them a plan
        that changed no item would differ by nothing for sure. Of 32 items, 4 % of them changed,
        the interval of a score covers 1.00 and not .73.
        """
        if not self.binary[base] or self.n < 2:
            return self.resampled(seed), self.weights(seed) @ self.chance
        own = np.arange(len(self.plans)) == base
        values = np.concatenate([self.values.T, [~own, own]])
        weights = statistics.resamplings(self.n + 2, seed=self._seed(seed))
        chance = np.append(self.chance, [self.chance.mean()] * 2)
        return weights @ values, weights @ chance

    def stderr(self, resampled: Float[np.ndarray, "resample plan"]) -> Float[np.ndarray, " plan"]:
        """Standard error: the mean's own, else the spread over bootstrap samples; NaN of few."""
        if self.n < 2:
            return np.full(len(self.plans), np.nan)
        if self.facts["aggregation"] in ("mean", "jackknife"):
            return np.asarray(self.values.std(axis=1, ddof=1) / np.sqrt(self.n))
        with np.errstate(invalid="ignore"):  # infinite perplexities
            return np.asarray(resampled.std(axis=0, ddof=1))

    @cached_property
    def influences(self) -> Float[np.ndarray, "item plan"]:
        """Numbers whose mean is the metric, by leaving each item out in turn (the jackknife's)."""
        if self.facts["aggregation"] in ("mean", "jackknife"):
            return self.values.T
        n, whole = self.n, self.parts.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            without = self.aggregation.of((whole - self.parts) / (n - 1))
            return np.asarray(self.value + (n - 1) * (without.mean(axis=0) - without))

    @cached_property
    def binary(self) -> Bool[np.ndarray, " plan"]:
        """Under which plans every item is a success or a failure."""
        zeros_and_ones = np.isin(self.values, (0, 1)).all(axis=1)
        return np.asarray(zeros_and_ones & (self.facts["aggregation"] == "mean"))

    def interval(
        self, first: Sequence[int], second: int, seed: int
    ) -> tuple[Float[np.ndarray, " first"], Float[np.ndarray, " first"]]:
        """95 % paired interval of the metric under the plans `first` less that under `second`."""
        ours, theirs = self.influences[:, [*first]], self.influences[:, [second]]
        low, high = statistics.difference(ours, theirs, weights=self.weights(seed))
        same = np.equal(first, second)  # a plan and itself do not differ by chance
        return np.where(same, 0.0, low), np.where(same, 0.0, high)

    def p_values(self, first: Sequence[int], second: int, seed: int) -> Float[np.ndarray, " first"]:
        """Paired p of the plans `first` against the plan `second`.

        McNemar's exact test where every value is 0 or 1, else a sign-flip test of the metric:
        the two plans' answers change places on random items.
        """
        binary = self.binary[[*first]] & self.binary[second]
        p, places = np.full(len(first), np.nan), np.asarray(first)
        right = self.values == 1
        p[binary] = [statistics.mcnemar(right[one], right[second]) for one in places[binary]]
        if not binary.all():
            p[~binary] = self._flipped(places[~binary], second, seed)
        return p

    def _flipped(
        self, first: Int[np.ndarray, " first"], second: int, seed: int
    ) -> Float[np.ndarray, " first"]:
        ours, theirs = self.parts[:, first], self.parts[:, [second]]
        middle = (ours + theirs).mean(axis=0) / 2
        apart = (ours - theirs) / (2 * self.n)
        flips = statistics.signs(self.n, seed=seed)
        shifted = []
        for start in range(0, len(flips), _FLIPS_AT_ONCE):
            some = flips[start : start + _FLIPS_AT_ONCE].astype(float)
            shift = np.tensordot(some, apart, axes=1)
            with np.errstate(invalid="ignore"):  # infinite perplexities
                shifted.append(
                    self.aggregation.of(middle + shift) - self.aggregation.of(middle - shift)
                )
        return statistics.flip_p(np.concatenate(shifted))
