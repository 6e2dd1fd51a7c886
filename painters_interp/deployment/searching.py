"""`search`: the best plan under a budget of layer calls, and how much better than what is cheap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from transformer_lens.model_bridge import TransformerBridge

from .. import figures, statistics
from ..arguments import counting
from ..comparison import similarity
from ..errors import MeasureError
from ..evaluation import PROBES, Questions, prepare
from ..execution import ready, refuse_hooks_kept
from ..measures import Curve, Matrix
from ..models import Model, as_model, identity, tokenizer_digest, weights_digest
from ..notices import NOT_FINITE
from ..plans import Plan, Step
from ..storage import Kept, provenance, writable_folder, write_table
from ..strategies import full
from ..terminal import Brief
from ..texts import Texts, as_texts
from . import objectives
from .budgets import calls_within
from .objectives import Objective
from .requests import WIDTH, asked, refuse_budget, refuse_calls
from .rounds import Rounds, at_random, explored

_LIMIT = 32  # items of a task
_PROMPT, _NEW = 128, 16  # tokens that are timed, where so many fit
_PATIENCE = 20  # draws for a plan that was not drawn before
FOUND, RANDOM = "found", "best of random"
INFLUENCE, ANGULAR, MIDDLE = "by block influence", "by angular distance", "middle block"


@dataclass(frozen=True, eq=False, repr=False)
class Search(Brief):
    """What a search found.

    `rounds` is the trace: round, edit, parent, plan, calls, depth, cost, kept. `judged` are the
    winners of the rounds and their rivals on what was held back: variant, plan, calls, depth,
    tried (among how many it was chosen), value, low, high, and how much the found plan of as many
    calls is better: gain, gain_low, gain_high, of the same bootstrap samples.
    """

    best: Plan
    rounds: pd.DataFrame
    judged: pd.DataFrame
    provenance: dict[str, Any]

    @cached_property
    def figure(self) -> Figure:
        """What is lost against layer calls, for the winners and their rivals."""
        return figures.search_curves(self.judged)

    def save(self, folder: str | Path) -> list[Path]:
        """Write `rounds`, `search` (what was judged) and its figure; returns the paths."""
        folder = writable_folder(folder)
        tables = {"rounds": self.rounds, "search": self.judged}
        written = [write_table(t, folder / name, self.provenance) for name, t in tables.items()]
        return written + figures.save(self.figure, folder / "search")


@counting(width=1, rounds=0, limit=1, seed=0)
def search(
    model: Model,
    texts: Texts | None = None,
    tasks: Any = None,
    *,
    calls: int | None = None,
    time: float | None = None,
    edits: str | Sequence[str] = "drop",
    method: str = "greedy",
    objective: str | None = None,
    width: int = WIDTH,
    rounds: int | None = None,
    data: str | Path | None = None,
    limit: int | float | None = _LIMIT,
    seed: int = 0,
    store: str | Path | None = None,
) -> Search:
    """Search the best plan under a budget of layer calls, or of measured time.

    Begins with the intact model. All candidates of a round are scored together, so that they share
    their beginnings. What is chosen on one half of the texts (or items) is judged on the other,
    beside the best of as many random plans that the same edits lead to, and beside what rankings
    remove at once: by block influence, by angular distance, and the middle block.

    Args:
        model: a bridge, a Hugging Face model, or a name.
        texts: documents; those of the first task if none.
        tasks: what `evaluate` takes; without an objective, they are it.
        data: folder of local task data.
        limit: items per task, below 1 a share of them.
        calls: the budget, from 1 to the model's number of layers.
        time: the budget as a share of the intact model's measured time per token, instead: as many
            calls as `calls_within` says.
        edits: out of drop, drop_block, swap, move, replace, repeat, repeat_block, parallel, damp.
        method: "greedy", or "beam" of `width` plans.
        objective: "kl" to the intact model (the default), "loss" on texts, or "tasks".
        width: how many plans of a round go on in a beam.
        rounds: how many more there may be once the budget is met; as many as help, if None.
        seed: of all that is drawn.
        store: a folder that keeps what was scored; a search that was cut off goes on from there.

    Returns:
        The best plan, the trace of rounds, and what was judged, with a figure.

    Raises:
        PlanError: a budget below one call or above the model's, an edit that does not exist, or
            edits that do not lead into the budget.
        TextError: too few texts to hold any back.
        TaskError: likewise for items, or a task that cannot be scored between 0 and 1.
        MeasureError: where the intact model itself computes NaN.
        PaintersError: a method or objective that does not exist, or texts beside tasks.

    Example:
        >>> found = search(model, ["abcd", "bcda", "cdab", "dabc"], calls=5)
        >>> found.rounds["round"].value_counts().tolist(), len(found.best.calls)
        ([6, 5, 1], 5)
    """
    refuse_budget(calls, time)
    given = {"tasks": tasks is not None, "texts": texts is not None}
    request = asked(edits, method, objective, width, rounds, **given)
    model = as_model(model)
    ready(model)
    start = full(len(model.blocks))
    if calls is not None:
        refuse_calls(calls, len(start.calls))
    if store is not None:
        refuse_hooks_kept(model)
    goal = _objective(model, request["objective"], texts, tasks, data, limit, seed, store)
    if time is not None:
        length = min(_PROMPT, int(model.cfg.n_ctx) - _NEW)
        calls = calls_within(model, time, length=length, new=_NEW, seed=seed, store=store)
        request["time"] = time
    assert calls is not None
    ledger = _Ledger(model, goal, request | {"calls": calls, "seed": seed}, store)
    ledger.refuse_unknown(start)
    went = explored(start, calls, request["edits"], ledger.costs, request["width"], rounds)
    tried = len(went.trace) - 1
    rivals = _rivals(model, goal, went, calls, request["edits"], ledger, tried, seed)
    judged = _judged(goal, went, rivals, tried)
    return Search(went.best, went.trace, judged, ledger.facts)


def _objective(
    model: TransformerBridge,
    name: str,
    texts: Texts | None,
    tasks: Any,
    data: str | Path | None,
    limit: int | float | None,
    seed: int,
    store: str | Path | None,
) -> Objective:
    questions = tasks if isinstance(tasks, Questions) else None
    if questions is None and (name == "tasks" or texts is None):
        questions = prepare(model, PROBES[:1] if tasks is None else tasks, data, limit, seed=seed)
    if name == "tasks":
        assert questions is not None
        return objectives.of_tasks(model, questions, seed, store)
    read = as_texts(texts) if texts is not None else questions.texts if questions else []
    if name == "loss":
        return objectives.loss(model, read, seed, store)
    return objectives.kl(model, read, seed)


class _Ledger:
    """What plans cost on the half that is chosen on; kept on disk, where a folder is given."""

    def __init__(
        self,
        model: TransformerBridge,
        goal: Objective,
        asked: dict[str, Any],
        store: str | Path | None,
    ) -> None:
        self._goal = goal
        self.facts = provenance(**identity(model), **asked, texts=len(goal.texts))
        facts = {} if store is None else _facts(model, goal)
        self._kept = Kept(store, "search", facts)
        table = self._kept.read()
        pairs = [] if table is None else zip(table["plan"], table["cost"], strict=True)
        self._known: dict[str, float] = dict(pairs)

    def refuse_unknown(self, start: Plan) -> None:
        """Raise MeasureError where the intact model itself costs NaN."""
        if np.isnan(self.costs([start])).any():
            raise MeasureError(f"the {self._goal.name} of the intact model is NaN: {NOT_FINITE}")

    def costs(self, plans: Sequence[Plan]) -> Float[np.ndarray, " plan"]:
        """What each plan costs; those that are not known are scored together."""
        missing = [*dict.fromkeys(plan for plan in plans if str(plan) not in self._known)]
        if missing:
            values = self._goal.choosing(missing).values
            self._known |= {str(p): float(v) for p, v in zip(missing, values, strict=True)}
            rows = pd.DataFrame({"plan": [*self._known], "cost": [*self._known.values()]})
            self._kept.write(rows)
        return np.array([self._known[str(plan)] for plan in plans])


def _facts(model: TransformerBridge, goal: Objective) -> dict[str, Any]:
    """What the cost of a plan depends on."""
    facts = {"weights": weights_digest(model), "tokenizer": tokenizer_digest(model.tokenizer)}
    return {**facts, "objective": goal.name, "asked": goal.asked}


_Rival = tuple[str, Plan, int]  # variant, plan, among how many it was chosen


def _rivals(
    model: TransformerBridge,
    goal: Objective,
    went: Rounds,
    calls: int,
    edits: Sequence[str],
    ledger: _Ledger,
    tried: int,
    seed: int,
) -> list[_Rival]:
    start = full(len(model.blocks))
    inside = went.winners["calls"].le(calls)
    calls = len(went.best.calls)
    draws = at_random(start, calls, edits, max(int(inside.sum()) - 1, 0), seed)
    drawn = [*islice(_distinct(islice(draws, _PATIENCE * tried)), tried)]
    found: list[_Rival] = []
    if drawn:
        best = int(np.argmin(np.nan_to_num(ledger.costs(drawn), nan=np.inf)))
        found.append((RANDOM, drawn[best], len(drawn)))
    sizes = range(calls, len(start.calls))
    removed = _rankings(model, goal.texts)
    for variant, orders in removed.items():
        for size in sizes:
            gone = orders[len(start.calls) - size]
            kept = [Step.of(i) for i in range(len(start.calls)) if i not in gone]
            found.append((variant, Plan(kept, start.n_layers), 1))
    return found


def _distinct(plans: Iterator[Plan]) -> Iterator[Plan]:
    seen: set[Plan] = set()
    for plan in plans:
        if plan not in seen:
            seen.add(plan)
            yield plan


def _rankings(
    model: TransformerBridge, texts: Sequence[str]
) -> dict[str, dict[int, frozenset[int]]]:
    """By variant and number of layers, those to remove."""
    n = len(model.blocks)
    found = similarity(model, [*texts], ["block_influence", "angular"])
    influence, angular = found["block_influence"], found["angular"]
    assert isinstance(influence, Curve)
    assert isinstance(angular, Matrix)
    order = np.argsort(influence.curve.to_numpy(), kind="stable")
    distance = angular.matrix.to_numpy()
    removed: dict[str, dict[int, frozenset[int]]] = {INFLUENCE: {}, ANGULAR: {}, MIDDLE: {}}
    for k in range(1, n):
        along = [distance[first, first + k] for first in range(n - k + 1)]
        first, middle = int(np.argmin(along)), (n - k) // 2
        removed[INFLUENCE][k] = frozenset(int(layer) for layer in order[:k])
        removed[ANGULAR][k] = frozenset(range(first, first + k))
        removed[MIDDLE][k] = frozenset(range(middle, middle + k))
    return removed


def _judged(goal: Objective, went: Rounds, rivals: Sequence[_Rival], tried: int) -> pd.DataFrame:
    """Winners and rivals on what was held back, each against the found plan of as many calls."""
    own = went.winners.drop_duplicates("calls", keep="last")
    winners: list[_Rival] = [
        (FOUND, plan, tried if plan == went.best else int(went.trace["round"].between(1, k).sum()))
        for text, k in zip(own["plan"], own["round"], strict=True)
        for plan in [Plan.parse(text, went.best.n_layers)]
    ]
    rows = [*winners, *rivals]
    measured = goal.judging([*dict.fromkeys(plan for _, plan, _ in rows)])
    places = {plan: k for k, plan in enumerate(dict.fromkeys(plan for _, plan, _ in rows))}
    at = [places[plan] for _, plan, _ in rows]
    values, samples = measured.values[at], measured.samples[:, at]
    best = {len(plan.calls): k for k, (_, plan, _) in enumerate(winners)}
    against = [best.get(len(plan.calls)) for _, plan, _ in rows]
    gains = np.full_like(samples, np.nan)
    gain = np.full(len(rows), np.nan)
    for k, other in enumerate(against):
        if other is not None and k >= len(winners):
            gains[:, k], gain[k] = samples[:, k] - samples[:, other], values[k] - values[other]
    low, high = statistics.percentiles(samples)
    gain_low, gain_high = statistics.percentiles(gains)
    return pd.DataFrame(
        {
            "variant": [variant for variant, _, _ in rows],
            "plan": [str(plan) for _, plan, _ in rows],
            "calls": [len(plan.calls) for _, plan, _ in rows],
            "depth": [plan.depth for _, plan, _ in rows],
            "tried": [number for _, _, number in rows],
            "measure": goal.name,
            "value": values,
            "low": low,
            "high": high,
            "gain": gain,
            "gain_low": gain_low,
            "gain_high": gain_high,
        }
    )
