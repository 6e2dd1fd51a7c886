"""Pairs of layers in parallel (arXiv 2502.02790)."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .. import strategies as s
from ..deployment.timing import machine, resampled_ratio
from ..plans import Plan, Step
from ..progress import trial
from ..tables import typed
from .claims import Claim, Quantity
from .study import Found, Setting, Study
from .views import removal_curves
from .work import Work

_LENGTH, _TURNS = 128, 10  # tokens of a prompt that is timed, and how often


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


def _half(n: int) -> Plan:
    """About the middle half of the layers in pairs, which is timed."""
    size = n // 4 * 2
    start = (n - size) // 2
    return s.pair_parallel(n, start, start + size)


def _calls(on: Setting) -> Work:
    timed = 2 * (_TURNS + 1) * on.n * _LENGTH
    return on.kl_calls(_plans(on.n)) + Work(timed, partial(_seconds, on))


def _seconds(on: Setting) -> float:
    return trial(partial(resampled_ratio, on.model, _half(on.n), _length(on), 2)) * _TURNS / 2


def _length(on: Setting) -> int:
    return min(_LENGTH, int(on.model.cfg.n_ctx))


def _timed(on: Setting) -> tuple[pd.DataFrame, Quantity]:
    """Turns, and how long the plan takes beside the intact model."""
    ratios, medians = resampled_ratio(on.model, _half(on.n), _length(on), _TURNS, on.seed)
    rows = pd.DataFrame({"turn": range(len(ratios)), "value": ratios})
    told = rows.assign(plan=str(_half(on.n)), length=_length(on), **machine(on.model))
    return told, Quantity(float(np.median(ratios)), medians, "of its time")


def _carry_out(on: Setting) -> Found:
    kl = on.kl(_plans(on.n))
    pairs = kl.where(variant="pairs in parallel")
    sizes = pairs.rows["affected"].to_numpy(dtype=float)
    turns, ratio = _timed(on)
    return Found(
        tables={"pairs": kl.rows, "turns": turns},
        judged=[
            Claim(
                "Pairs in parallel, their updates added, cost less KL than one of each pair left "
                "out, over all stretches",
                "1.5 % of accuracy lost (Llama 2 7B)",
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
                "Half of the layers in pairs are faster here: time to read a text over that of the "
                "intact model",
                "0.84, as 1.19 times the speed (Llama 2 7B)",
                ratio,
                below=1,
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
