"""ShortGPT (arXiv 2403.03853): layers whose input and output are alike are the ones to remove."""

import random
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from .. import experiments
from ..figures import depth_curves
from .claims import Claim, Sampled
from .kept import scores_kept
from .study import Found, Setting, Study, along, of_measure
from .views import along_depth, removal_curves
from .work import Work

SEEDS = 5


def counts(n: int) -> range:
    """How many layers are removed: up to half of them."""
    return range(1, n // 2 + 1, max(1, n // 15))


def quarter(n: int) -> int:
    """The one of `counts` that is closest to a quarter of the layers, as published."""
    return min(counts(n), key=lambda count: abs(count - n / 4))


def removed_in(n: int, order: list[int], name: str) -> pd.DataFrame:
    """Layers removed in an `order`, the deepest contiguous middle block, and in random orders."""
    middle = sorted(range(n), key=lambda layer: abs(layer - (n - 1) / 2))
    parts = [
        experiments.removals(n, order, counts(n), name),
        experiments.removals(n, middle, counts(n), "middle block"),
    ]
    for seed in range(SEEDS):
        shuffled = random.Random(seed).sample(range(n), n)
        parts.append(experiments.removals(n, shuffled, counts(n), "random", seed))
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _plans(n: int, order: list[int]) -> pd.DataFrame:
    drops = experiments.single_layers(n).query("variant == 'drop'")
    return pd.concat([drops, removed_in(n, order, "by influence")], ignore_index=True)


def _in_order(n: int, order: Sequence[int]) -> pd.DataFrame:
    """Those of them of which tasks are asked."""
    return experiments.removals(n, [*order], counts(n), "by influence")


def _calls(on: Setting) -> Work:
    # Plans share what comes before the first layer that is gone: it lies in the middle, at first.
    order = sorted(range(on.n), key=lambda layer: abs(layer - on.n // 2))
    plans = _plans(on.n, order)
    scored = on.score_calls(_in_order(on.n, order))
    return on.similarity_calls() // 2 + on.kl_calls(plans, on.judging) + scored


def _carry_out(on: Setting) -> Found:
    influence = on.similarity(["block_influence"], texts=on.choosing)
    curve = along(influence, "block_influence")
    order = [int(layer) for layer in np.argsort(curve.curve.to_numpy(), kind="stable")]
    kl = on.kl(_plans(on.n, order), on.judging)
    removed, drops = kl.where(experiment="removals"), kl.where(variant="drop")
    scores = scores_kept(on, _in_order(on.n, order), partial(_kept, on.n))
    return Found(
        tables={
            **{"influence": influence.curves(), "removals": removed.rows, "drops": drops.rows},
            **scores.tables,
        },
        judged=[*_judged(on.n, of_measure(curve, on.seed), removed, drops), *scores.judged],
        drawings={
            "influence": lambda: depth_curves(influence.curves()),
            "removals": lambda: removal_curves(removed.rows),
            "drops": lambda: depth_curves(along_depth(drops.rows)),
            **scores.drawings,
        },
        items=scores.items,
    )


def _kept(n: int, scores: Sampled) -> list[Claim]:
    return [
        Claim(
            f"Without the {quarter(n)} of {n} layers of least influence most of the score is kept",
            "most of it without about 25 % of the layers (large models)",
            scores.where(affected=quarter(n)).mean(),
            above=0.5,
        )
    ]


def _judged(n: int, influence: Sampled, removed: Sampled, drops: Sampled) -> list[Claim]:
    some = removed.where(affected=quarter(n))
    chosen = some.where(variant="by influence").mean()
    return [
        Claim(
            "Layers of low block influence are cheap to lose: rank correlation of influence and "
            "of the KL that dropping the layer costs",
            "used as the ranking",
            drops.ranked_with(influence.values[drops.rows["layer"].to_numpy(dtype=int)]),
            above=0,
        ),
        Claim(
            f"Removing {quarter(n)} layers in order of influence costs less KL than removing as "
            "many at random",
            "less",
            some.where(variant="random").mean() - chosen,
            above=0,
        ),
        Claim(
            f"It costs less KL than removing the contiguous block of {quarter(n)} middle layers",
            "less",
            some.where(variant="middle block").mean() - chosen,
            above=0,
        ),
    ]


STUDY = Study("2403.03853", "ShortGPT: layers by block influence", _calls, _carry_out, figures=4)
