"""The unreasonable ineffectiveness of the deeper layers (arXiv 2403.17887)."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .. import strategies as s
from ..figures import similarity_heatmap
from ..tables import typed
from .claims import Claim, Quantity, Sampled
from .influence import counts, quarter
from .kept import scores_kept
from .study import Found, Setting, Study, between, of_measure
from .views import removal_curves
from .work import Work


def _block(n: int, size: int, start: int, name: str) -> dict[str, Any]:
    plan = str(s.skip(n, range(start, start + size)))
    return {"variant": name, "layer": start, "affected": size, "plan": plan}


def _plans(n: int, starts: dict[int, int]) -> pd.DataFrame:
    """Blocks of every size: where the angle says, the deepest but the last layer, the middle one;
    of a quarter of the layers, every block."""
    rows: list[dict[str, Any]] = [{"variant": "intact", "plan": str(s.full(n))}]
    for size, start in starts.items():
        rows.append(_block(n, size, start, "least angle"))
        rows.append(_block(n, size, max(0, n - 1 - size), "deepest"))
        rows.append(_block(n, size, (n - size) // 2, "middle"))
    rows += [_block(n, quarter(n), i, "any block") for i in range(n - quarter(n) + 1)]
    return typed(pd.DataFrame(rows).assign(experiment="blocks", n_layers=n))


def _least(plans: pd.DataFrame) -> pd.DataFrame:
    """The blocks that the angle chooses, of which tasks are asked."""
    return plans[plans["variant"].isin(["intact", "least angle"])]


def _calls(on: Setting) -> Work:
    # Where the angle will say is not known: before the middle, so that not too little is told.
    plans = _plans(on.n, {size: (on.n - size) // 3 for size in counts(on.n)})
    scored = on.score_calls(_least(plans))
    return on.similarity_calls() // 2 + on.kl_calls(plans, on.judging) + scored


def _carry_out(on: Setting) -> Found:
    found = on.similarity(["angular"], texts=on.choosing)
    turned = between(found, "angular")
    angle = turned.matrix.to_numpy()
    starts = {size: int(np.diagonal(angle, size).argmin()) for size in counts(on.n)}
    plans = _plans(on.n, starts)
    kl = on.kl(plans, on.judging)
    scores = scores_kept(on, _least(plans), partial(_knee, on.n, kl))
    removed = kl.rows[kl.rows["variant"].ne("any block")]
    return Found(
        tables={"angles": found.table(), "blocks": kl.rows, **scores.tables},
        judged=[*_judged(on.n, of_measure(turned, on.seed), kl), *scores.judged],
        drawings={
            "angles": lambda: similarity_heatmap(
                turned.matrix,
                label="angular distance (share of a half turn)",
                meaning="distance",
            ),
            "blocks": lambda: removal_curves(removed),
            **scores.drawings,
        },
        items=scores.items,
    )


def _knee(n: int, kl: Sampled, scores: Sampled) -> list[Claim]:
    """Scores hold up to a knee, which the KL has not: what blocks cost against the largest."""
    few, most = quarter(n), max(counts(n))
    return [
        Claim(
            f"Without the block of {few} layers of the least angle most of the score is kept",
            "kept up to a sharp knee (question answering)",
            scores.where(variant="least angle", affected=few).mean(),
            above=0.5,
        ),
        Claim(
            f"The score has a knee where KL rises smoothly: what {few} layers cost in KL less what "
            "they cost in score",
            "a sharp knee in question answering, none in the loss",
            _share(kl, few, most) - _share(scores, few, most),
            above=0,
        ),
    ]


def _share(found: Sampled, few: int, most: int) -> Quantity:
    whole = found.where(variant="intact").mean()
    part, total = (
        found.where(variant="least angle", affected=size).mean() - whole for size in (few, most)
    )
    return part.over(total, f"of what {most} cost")


def _judged(n: int, angle: Sampled, kl: Sampled) -> list[Claim]:
    size = quarter(n)
    apart = angle.rows["column"] - angle.rows["row"]
    along = angle.at(np.flatnonzero(apart == size))
    every = kl.where(variant="any block")
    chosen = kl.where(variant="least angle", affected=size).mean()
    deepest = kl.where(variant="deepest", affected=size).mean()
    return [
        Claim(
            f"The block of {size} layers that turns the stream least lies deep: its centre, as a "
            "share of depth",
            "deep, short of the last layers",
            along.of(lambda angles: (angles.argmin(axis=-1) + size / 2) / n, "of depth"),
            above=0.5,
        ),
        Claim(
            f"Blocks of {size} layers that turn the stream little cost little: rank correlation of "
            "angle and KL",
            "used as the ranking",
            every.ranked_with(along.values),
            above=0,
        ),
        Claim(
            "The block of the least angle costs less KL than a block anywhere, on average",
            "not reported",
            every.mean() - chosen,
            above=0,
            tried=len(every.rows),
        ),
        Claim(
            "It costs less KL than the deepest block that leaves the last layer",
            "less before healing, about as much after",
            deepest - chosen,
            above=0,
            tried=len(every.rows),
        ),
    ]


STUDY = Study(
    "2403.17887", "Deeper layers: blocks by angular distance", _calls, _carry_out, figures=3
)
