"""Pairs of layers in parallel (arXiv 2502.02790)."""

from typing import Any

import pandas as pd

from .. import strategies as s
from ..plans import Plan, Step
from ..tables import typed
from .claims import Claim
from .study import Found, Setting, Study
from .views import removal_curves
from .work import Work


def _plans(n: int) -> pd.DataFrame:
    """Stretches around the middle: in pairs, all in parallel, or with one of each pair left out."""
    rows: list[dict[str, Any]] = [{"variant": "intact", "plan": str(s.full(n))}]
    for size in range(2, n - 3, 4 if n > 12 else 2):
        start = (n - size) // 2
        window = range(start, start + size)
        kept = (Step.of(i) for i in range(n) if i not in window[1::2])
        for variant, plan in (
            ("pairs in parallel", s.pair_parallel(n, start, start + size)),
            ("pairs, averaged", s.pair_parallel(n, start, start + size, scale=0.5)),
            ("parallel", s.parallel(n, window)),
            ("one of each pair", Plan(kept, n)),
        ):
            rows.append({"variant": variant, "affected": size, "plan": str(plan)})
    return typed(pd.DataFrame(rows).assign(experiment="pairs", n_layers=n))


def _calls(on: Setting) -> Work:
    return on.kl_calls(_plans(on.n))


def _carry_out(on: Setting) -> Found:
    kl = on.kl(_plans(on.n))
    pairs = kl.where(variant="pairs in parallel")
    sizes = pairs.rows["affected"].to_numpy(dtype=float)
    return Found(
        tables={"pairs": kl.rows},
        judged=[
            Claim(
                "Pairs in parallel, their updates added, cost less KL than one of each pair left "
                "out, over all stretches",
                "1.5 % of accuracy lost at 1.19 times the speed (Llama 2 7B)",
                kl.where(variant="one of each pair").mean() - pairs.mean(),
                above=0,
            ),
            Claim(
                "Added updates cost less KL than averaged outputs",
                "updates are added",
                kl.where(variant="pairs, averaged").mean() - pairs.mean(),
                above=0,
            ),
            Claim(
                "The longer the stretch, the more it costs: rank correlation",
                "rises",
                pairs.ranked_with(sizes),
                above=0,
            ),
        ],
        drawings={"pairs": lambda: removal_curves(kl.rows, axis="layers in the stretch")},
    )


STUDY = Study("2502.02790", "Pairs of layers in parallel", _calls, _carry_out, fewest_layers=8)
