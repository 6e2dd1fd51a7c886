"""A plan for every input: the shortest that still answers right, and what plans correct.

Whoever may choose among many plans after seeing which of them is right finds short and correcting
ones by luck alone, so both numbers stand beside what luck gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from ..arguments import counting
from ..errors import TableError
from ..notices import warn
from ..plans import Layers, Plan, check_n_layers
from ..strategies import full
from ..terminal import Brief
from .items import RUN, item_table, joined, runs
from .runs import Run

DRAWS = 1000


@dataclass(frozen=True, eq=False, repr=False)
class PerInput(Brief):
    """What choosing a plan for every input could gain at most.

    `items`: a row per item: task, metric, item, intact (right under the intact model), shortest
    (the plan of fewest calls that answers right; none if no plan does), calls, right (how many of
    the other plans are right). `summary`: a row per task and metric; see `per_input`.
    """

    items: pd.DataFrame
    summary: pd.DataFrame


@counting(seed=0, draws=1)
def per_input(items: pd.DataFrame, n_layers: Layers, seed: int = 0, draws: int = DRAWS) -> PerInput:
    """Find for every item the shortest plan that answers right, with what luck would find.

    Of the items that the intact model gets right, `calls` is the mean number of calls of the
    shortest plan that is still right, the intact one among them; `calls_luck` is the same where
    every plan is right as often, but on other items, drawn by chance. Of those that it gets wrong,
    `corrected` is how many some plan answers right, and `luck` how many random flips would:
    patterns of plans that change their answer, drawn from the items that are right, where a changed
    answer is one of the others, any of them alike. Plans that are equal, however they are written,
    are one.

    Args:
        items: an item table with several plans (`evaluation.score_items`, or what `painters
            evaluate --items` wrote); metrics that are not right or wrong are left out, and
            with a warning those that are NaN for some items.
        n_layers: the number of layers, or the model; its intact plan must be among the plans.
        seed: of what is drawn.
        draws: how often.

    Returns:
        The items, and a summary: task, metric, n, plans, n_right; calls, calls_luck,
        calls_luck_low, calls_luck_high; n_wrong, corrected, luck, luck_low, luck_high (95 % of the
        draws) and p (the share of draws that correct as many or more). NaN where nothing is known:
        `luck` of metrics without a chance level.

    Raises:
        TableError: no intact plan, no other plan, no metric of right and wrong answers, or two
            texts of one plan with other answers.
        PlanError: a plan that so many layers cannot run.

    Example:
        >>> from painters_interp.evaluation import score_items
        >>> items = score_items(model, ["0-2 5", "0-4"], "probe_facts", limit=8)
        >>> found = painters.tables.per_input(items, 6)
        >>> len(found.items.query("metric == 'acc'")), found.summary["plans"].tolist()
        (8, [2, 2])
    """
    n_layers = check_n_layers(n_layers)
    intact = str(full(n_layers))
    left: list[str] = []
    found = [*_parts(_by_plan(item_table(items), n_layers), intact, n_layers, left)]
    told = f" ({', '.join(left)})" if left else ""
    if not found:
        raise TableError(
            f"no metric of right and wrong answers{told}; give items of a task with choices"
        )
    if left:
        warn(f"metrics whose answers are not all known are left out{told}")
    rng = np.random.default_rng(seed)
    return PerInput(
        pd.concat([part.items for part in found], ignore_index=True),
        pd.DataFrame([part.summary(rng, draws) for part in found]),
    )


def _by_plan(items: pd.DataFrame, n_layers: int) -> pd.DataFrame:
    """The items with plans in their normal form, each once."""
    texts = {text: str(Plan.parse(text, n_layers)) for text in items["plan"].unique()}
    named = items.assign(plan=items["plan"].astype(object).map(texts))
    same = [*RUN, "plan", "item"]
    again = named[named.duplicated(same) & ~named.duplicated([*same, "value"])]
    if len(again):
        raise TableError(
            f"plan {again['plan'].iloc[0]!r} stands there as {_texts(texts, again)}, with other "
            "answers; keep one of them"
        )
    return joined([named])


def _texts(texts: dict[str, str], again: pd.DataFrame) -> str:
    plan = again["plan"].iloc[0]
    return " and ".join(repr(text) for text, own in texts.items() if own == plan)


@dataclass(frozen=True, eq=False)
class _Part:
    """One metric of one task: which plans are right where; plans are without the intact one."""

    run: Run
    intact: Bool[np.ndarray, " item"]
    right: Bool[np.ndarray, "plan item"]
    calls: Int[np.ndarray, " plan"]
    whole: int
    plans: tuple[str, ...]
    numbers: np.ndarray

    @property
    def items(self) -> pd.DataFrame:
        """A row per item."""
        costs = np.where(self.right, self.calls[:, None].astype(float), np.inf)
        best = costs.argmin(axis=0)
        least = costs.min(axis=0)
        own = self.intact & (self.whole < least)
        least = np.where(own, self.whole, least)
        names = np.array([*self.plans, str(full(self.whole))], dtype=object)
        chosen = names[np.where(own, len(self.plans), best)]
        known = np.isfinite(least)
        return pd.DataFrame(
            {
                "task": self.run.facts["task"],
                "metric": self.run.facts["metric"],
                "item": self.numbers,
                "intact": self.intact,
                "shortest": pd.Series(chosen, dtype="string").where(known),
                "calls": np.where(known, least, np.nan),
                "right": self.right.sum(axis=0),
            }
        )

    def summary(self, rng: np.random.Generator, draws: int) -> dict[str, Any]:
        """What choosing could gain, and what luck gives."""
        kept, lost = self.right[:, self.intact], self.right[:, ~self.intact]
        lucky = [self._shortest(rng.permuted(kept, axis=1)) for _ in range(draws)]
        corrected = int(lost.any(axis=0).sum())
        flips = self._flips(rng, draws)
        facts: dict[str, Any] = {
            "task": self.run.facts["task"],
            "metric": self.run.facts["metric"],
            "n": self.run.n,
            "plans": len(self.plans),
            "n_right": kept.shape[1],
            "calls": self._shortest(kept),
        }
        facts |= _spread("calls_luck", np.array(lucky))
        facts |= {"n_wrong": lost.shape[1], "corrected": corrected}
        facts |= _spread("luck", flips)
        known = not np.isnan(flips).any()
        return facts | {
            "p": float((1 + (flips >= corrected).sum()) / (1 + draws)) if known else np.nan
        }

    def _shortest(self, right: Bool[np.ndarray, "plan item"]) -> float:
        """Mean calls of the shortest plan that is right, the intact model being right, too."""
        if not right.shape[1]:
            return np.nan
        costs = np.where(right, self.calls[:, None], self.whole)
        return float(np.minimum(costs.min(axis=0), self.whole).mean())

    def _flips(self, rng: np.random.Generator, draws: int) -> Float[np.ndarray, " draw"]:
        """How many wrong items random flips correct, draw by draw."""
        broken = ~self.right[:, self.intact]
        chance = self.run.chance[~self.intact]
        if not broken.shape[1] or np.isnan(chance).any() or (chance >= 1).any():
            return np.full(draws, np.nan)
        hit = chance / (1 - chance)  # of the other answers, one is right
        found = np.empty(draws)
        for draw in range(draws):
            patterns = broken[:, rng.integers(broken.shape[1], size=len(hit))]
            found[draw] = (patterns & (rng.random(patterns.shape) < hit)).any(axis=0).sum()
        return found


def _parts(items: pd.DataFrame, intact: str, n_layers: int, left: list[str]) -> Iterator[_Part]:
    """The metrics of right and wrong answers; those with NaN are named in `left` instead."""
    for run in runs(items):
        if intact not in run.plans:
            raise TableError(f"no items of the intact model ({intact}); score it, too")
        if len(run.plans) < 2:
            raise TableError("no plan but the intact one; score others, too")
        if not run.binary.all():
            unknown = int(np.isnan(run.values).any(axis=0).sum())
            if unknown:
                name = f"{run.facts['metric']} of {run.facts['task']}"
                left.append(f"{name} is NaN for {unknown} of {run.n} items under some plan")
            continue
        good = 1 if run.facts["higher_is_better"] else 0
        own = [k for k, plan in enumerate(run.plans) if plan != intact]
        plans = tuple(run.plans[k] for k in own)
        rows = items[items["task"].eq(run.facts["task"]) & items["metric"].eq(run.facts["metric"])]
        yield _Part(
            run=run,
            intact=run.values[run.plans.index(intact)] == good,
            right=run.values[own] == good,
            calls=np.array([len(Plan.parse(plan, n_layers).calls) for plan in plans]),
            whole=n_layers,
            plans=plans,
            numbers=np.sort(rows["item"].unique()),
        )


def _spread(name: str, values: Float[np.ndarray, " draw"]) -> dict[str, float]:
    """Mean of the draws, and their middle 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
