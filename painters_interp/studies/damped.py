"""Training-free loops (arXiv 2605.23872, 2602.14759): a block run again in damped steps."""

from typing import Any

import numpy as np
import pandas as pd

from .. import strategies as s
from ..figures import depth_curves
from ..tables import typed
from .claims import Claim, Sampled
from .nulls import beaten, scattered
from .repeats import gains, with_null
from .study import Found, Setting, Study
from .work import Work

SCALES, TIMES = (0.25, 0.5, 1.0), (2, 3, 4)
_PLACES = 4  # blocks, one behind the other


def _plans(n: int) -> pd.DataFrame:
    """Blocks of an eighth of the layers, run `times` times in steps of `scale`."""
    size = max(1, n // 8)
    firsts = np.linspace(1, n - 1 - size, min(_PLACES, n - 1 - size)).round().astype(int)
    rows: list[dict[str, Any]] = [{"variant": "intact", "plan": str(s.full(n))}]
    rows += [
        {
            **{"variant": "damped" if scale < 1 else "naive", "layer": first, "affected": size},
            **{"scale": scale, "times": times, "amount": scale * times},
            "plan": str(s.damped_block(n, int(first), int(first) + size - 1, scale, times)),
        }
        for first in dict.fromkeys(firsts)
        for scale in SCALES
        for times in TIMES
    ]
    return typed(pd.DataFrame(rows).assign(experiment="damped_blocks", n_layers=n))


def _every(n: int) -> pd.DataFrame:
    """These, and as many that run as many layers as often in such steps, but no block of them."""
    plans = _plans(n)
    blocks = plans[plans["variant"].ne("intact")]
    ways = [
        (int(size), f"*{times:.0f}" if scale == 1 else f"@{scale}*{times:.0f}")
        for size, scale, times in blocks[["affected", "scale", "times"]].to_numpy().tolist()
    ]
    return with_null(plans, scattered(n, ways))


def _calls(on: Setting) -> Work:
    plans = _every(on.n)
    return on.loss_calls(plans, on.choosing) + on.loss_calls(plans, on.judging)


def _carry_out(on: Setting) -> Found:
    plans = _every(on.n)
    both = [gains(on.loss(plans, texts)) for texts in (on.choosing, on.judging)]
    scan, fresh = (one.at(np.flatnonzero(one.rows["variant"].ne("random"))) for one in both)
    drawn, again = (one.where(variant="random") for one in both)
    best = fresh.at([scan.largest]).mean()
    null = beaten(best, again, drawn.largest, "The best block of the scan")
    return Found(
        tables={"scan": scan.rows, "fresh": fresh.rows, "random": again.rows},
        judged=[*_judged(scan, fresh), null],
        drawings={"fresh": lambda: depth_curves(_curves(fresh.rows), "steps", columns=2)},
    )


def _judged(scan: Sampled, fresh: Sampled) -> list[Claim]:
    tried = len(scan.values)
    steps = np.flatnonzero(scan.rows["variant"].eq("damped"))
    best = int(steps[scan.at(steps).largest])
    amounts = fresh.rows["amount"].to_numpy(dtype=float)
    naive, damped = (fresh.where(variant=name).mean() for name in ("naive", "damped"))
    return [
        Claim(
            "Running a block again in full hurts: mean loss that it adds",
            "naive reuse hurts",
            fresh.where(variant="naive").of(lambda saved: -saved.mean(axis=-1)),
            above=0,
        ),
        Claim(
            "Damped steps hurt less: mean loss saved against full ones",
            "damped steps help",
            damped - naive,
            above=0,
        ),
        Claim(
            "Some block in damped steps helps: loss that the best of the scan, "
            f"{scan.rows['plan'].iloc[best]}, saves on fresh texts",
            "+2.64 points on MMLU-Pro (Qwen3-4B)",
            fresh.at([best]).mean(),
            above=0,
            tried=len(steps),
        ),
        Claim(
            "The best scale x times is near 1: that of the best plan",
            "not reported",
            fresh.of(lambda saved: amounts[saved.argmax(axis=-1)], "scale x times"),
            above=0.5,
            below=2,
            tried=tried,
        ),
    ]


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """The loss that is added over the number of times, a panel per block, a line per scale."""
    first, last = table["layer"].astype(int), (table["layer"] + table["affected"] - 1).astype(int)
    return table.assign(
        measure="bits per byte added, layers " + first.astype(str) + "-" + last.astype(str),
        axis="times", place=table["times"], value=table["delta"], low=table["delta_low"],
        high=table["delta_high"], steps="in steps of " + table["scale"].astype(str),
    )  # fmt: skip


STUDY = Study("2605.23872", "Training-free loops: damped blocks", _calls, _carry_out)
