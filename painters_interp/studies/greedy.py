"""SLEB (arXiv 2402.09025): remove what raises the loss least, and score again."""

import numpy as np
import pandas as pd

from .. import experiments
from ..plans import Plan, Step
from .claims import Claim, Sampled
from .influence import SEEDS, counts, quarter, removed_in
from .study import Found, Setting, Study, along
from .views import LOSS, removal_curves


def _without(n: int, gone: list[int]) -> pd.DataFrame:
    """Each of the layers that are left, removed too."""
    rows = []
    for layer in (i for i in range(n) if i not in gone):
        kept = (Step.of(i) for i in range(n) if i not in gone and i != layer)
        rows.append({"layer": layer, "plan": str(Plan(kept, n))})
    return pd.DataFrame(rows).assign(variant="candidate", n_layers=n)


def _calls(on: Setting) -> int:
    n, most = on.n, quarter(on.n)
    order = list(range(n - 1, -1, -1))
    rounds = sum(on.loss_calls(_without(n, order[:k]), on.choosing) for k in range(most))
    rivals = _rivals(n, order, order)
    return rounds + on.similarity_calls() // 2 + on.loss_calls(rivals, on.judging)


def _rivals(n: int, greedy: list[int], influence: list[int]) -> pd.DataFrame:
    some = [count for count in counts(n) if count <= quarter(n)]
    parts = [
        experiments.removals(n, greedy, some, "greedy"),
        removed_in(n, influence, "by influence").query("affected <= @quarter(@n)"),
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _carry_out(on: Setting) -> Found:
    gone: list[int] = []
    rounds = []
    for _ in range(quarter(on.n)):
        tried = on.loss(_without(on.n, gone), on.choosing)
        rounds.append(tried.rows.assign(round=len(gone)))
        gone.append(int(tried.rows["layer"].iloc[int(np.argmin(tried.values))]))
    found = on.similarity(["block_influence"], texts=on.choosing)
    curve = along(found, "block_influence").curve
    influence = [int(layer) for layer in np.argsort(curve.to_numpy(), kind="stable")]
    loss = on.loss(_rivals(on.n, gone, influence), on.judging)
    trace = pd.concat(rounds, ignore_index=True)
    return Found(
        tables={"rounds": trace, "removals": loss.rows},
        judged=_judged(on.n, loss, tried=len(trace)),
        drawings={"removals": lambda: removal_curves(_ends(loss.rows), "value", LOSS)},
    )


def _ends(table: pd.DataFrame) -> pd.DataFrame:
    """The loss with its ends: those of its difference to the intact model."""
    intact = table["value"] - table["delta"]
    return table.assign(
        value_low=intact + table["delta_low"], value_high=intact + table["delta_high"]
    )


def _judged(n: int, loss: Sampled, tried: int) -> list[Claim]:
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
            f"{told} the best of {SEEDS} random orders",
            "not reported",
            some.where(variant="random").of(lambda losses: losses.min(axis=-1)) - greedy,
            above=0,
            tried=tried,
        ),
    ]


STUDY = Study("2402.09025", "SLEB: greedy removal by loss", _calls, _carry_out)
