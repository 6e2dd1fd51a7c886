"""SLEB (arXiv 2402.09025): remove what raises the loss least, and score again."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float

from .. import experiments
from ..deployment import edited, explored
from ..plans import Plan, Step
from ..strategies import full
from ..tables import typed
from .claims import Claim, Sampled
from .influence import counts, quarter, removed_in
from .nulls import thinned
from .study import Found, Setting, Study, along
from .views import LOSS, removal_curves
from .work import Work

_LUCKY = "best of random"


def _costs(on: Setting, plans: Sequence[Plan]) -> Float[np.ndarray, " plan"]:
    """Loss of plans on the texts that are chosen on."""
    return on.loss(_table(on.n, plans), on.choosing).values


def _table(n: int, plans: Sequence[Plan]) -> pd.DataFrame:
    labels = {"plan": [str(plan) for plan in plans], "variant": "candidate", "n_layers": n}
    return pd.DataFrame(labels)


def _calls(on: Setting) -> Work:
    n, most = on.n, quarter(on.n)
    order = list(range(n - 1, -1, -1))
    plans = [Plan(map(Step.of, range(kept)), n) for kept in range(n, n - most, -1)]
    tried = [[other for _, other in edited(plan, ["drop"])] for plan in plans]
    rounds = [on.loss_calls(_table(n, some), on.choosing) for some in (*tried, [full(n)])]
    null = thinned(n, most, sum(map(len, tried)), on.seed)
    drawn = on.loss_calls(_table(n, null), on.choosing)
    rivals = on.loss_calls(_rivals(n, order, order, null[0]), on.judging)
    searched = rounds[0].alike(sum(map(int, rounds)))
    return searched + drawn + on.similarity_calls() // 2 + rivals


def _rivals(n: int, greedy: list[int], influence: list[int], lucky: Plan) -> pd.DataFrame:
    some = [count for count in counts(n) if count <= quarter(n)]
    best = {"variant": _LUCKY, "affected": quarter(n), "plan": str(lucky), "n_layers": n}
    parts = [
        experiments.removals(n, greedy, some, "greedy"),
        removed_in(n, influence, "by influence").query("affected <= @quarter(@n)"),
        typed(pd.DataFrame([best | {"experiment": "removals"}])),
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _carry_out(on: Setting) -> Found:
    start = full(on.n)
    went = explored(start, on.n - quarter(on.n), ["drop"], partial(_costs, on), rounds=0)
    winners = [Plan.parse(text, on.n) for text in went.winners["plan"]]
    gone = [
        next(iter({*before.layer_calls} - {*after.layer_calls}))
        for before, after in pairwise(winners)
    ]
    found = on.similarity(["block_influence"], texts=on.choosing)
    curve = along(found, "block_influence").curve
    influence = [int(layer) for layer in np.argsort(curve.to_numpy(), kind="stable")]
    tried = len(went.trace) - 1
    null = thinned(on.n, quarter(on.n), tried, on.seed)
    lucky = null[int(np.argmin(np.nan_to_num(_costs(on, null), nan=np.inf)))]
    loss = on.loss(_rivals(on.n, gone, influence, lucky), on.judging)
    return Found(
        tables={"rounds": went.trace, "removals": loss.rows},
        judged=_judged(on.n, loss, tried, len(null)),
        drawings={"removals": lambda: removal_curves(_ends(loss.rows), "value", LOSS)},
    )


def _ends(table: pd.DataFrame) -> pd.DataFrame:
    """The loss with its ends: those of its difference to the intact model."""
    intact = table["value"] - table["delta"]
    return table.assign(
        value_low=intact + table["delta_low"], value_high=intact + table["delta_high"]
    )


def _judged(n: int, loss: Sampled, tried: int, random: int) -> list[Claim]:
    some = loss.where(affected=quarter(n))
    greedy = some.where(variant="greedy").mean()
    told = f"Removing {quarter(n)} layers greedily, by loss on other texts, costs less loss than"
    return [
        Claim(
            f"{told} in order of block influence",
            "better than single-shot rankings at equal depth",
            some.where(variant="by influence").mean() - greedy,
            above=0,
            tried=tried,
        ),
        Claim(
            f"{told} the contiguous middle block",
            "better",
            some.where(variant="middle block").mean() - greedy,
            above=0,
            tried=tried,
        ),
        Claim(
            f"{told} the best of {random} random removals, chosen on the same texts",
            "not reported",
            some.where(variant=_LUCKY).mean() - greedy,
            above=0,
            tried=tried + random,
        ),
    ]


STUDY = Study("2402.09025", "SLEB: greedy removal by loss", _calls, _carry_out)
