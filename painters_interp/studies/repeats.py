"""RYS (2026): blocks run twice. The best of many is judged on texts that did not choose it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from .. import experiments
from ..figures import grid_heatmap
from ..tables import typed
from .claims import Claim, Sampled
from .nulls import beaten, scattered
from .study import Found, Setting, Study
from .work import Work

_ENDS = 16  # layers at which a block may begin or end, at most


def _plans(n: int) -> pd.DataFrame:
    return experiments.block_repeats(n, range(0, n, -(-n // _ENDS)))


def _random(n: int) -> pd.DataFrame:
    """As many plans that repeat as many layers, but no block of them."""
    blocks = _plans(n).dropna(subset=["layer"])
    sizes = (blocks["other"] - blocks["layer"] + 1).astype(int)
    return scattered(n, ((size, "*2") for size in sizes))


def with_null(plans: pd.DataFrame, null: pd.DataFrame) -> pd.DataFrame:
    """Both, so that all are read on the same texts at once."""
    return typed(pd.concat([plans, null], ignore_index=True))


def _calls(on: Setting) -> Work:
    every = with_null(_plans(on.n), _random(on.n))
    return on.loss_calls(every, on.choosing) + on.loss_calls(every, on.judging)


def _carry_out(on: Setting) -> Found:
    every = with_null(_plans(on.n), _random(on.n))
    both = [on.loss(every, texts) for texts in (on.choosing, on.judging)]
    scan, fresh = (one.at(np.flatnonzero(one.rows["variant"].ne("random"))) for one in both)
    nulls = [gains(one).where(variant="random") for one in both]
    return Found(
        tables={"scan": scan.rows, "fresh": fresh.rows, "random": nulls[1].rows},
        judged=[*_judged(scan, fresh), _beyond_chance(scan, fresh, *nulls)],
        drawings={
            "scan": lambda: grid_heatmap(scan.rows, "delta", label="loss added (bits per byte)"),
            "fresh": lambda: grid_heatmap(fresh.rows, "delta", label="loss added (bits per byte)"),
        },
    )


def gains(loss: Sampled) -> Sampled:
    """How much loss the intact model has more than each plan; positive where a plan helps."""
    intact = int(np.flatnonzero(loss.rows["variant"].eq("intact"))[0])
    others = loss.at(np.flatnonzero(loss.rows["variant"].ne("intact")))
    own = loss.samples[:, [intact]]
    saved = loss.values[intact] - others.values
    return replace(others, values=saved, samples=own - others.samples)


def _beyond_chance(scan: Sampled, fresh: Sampled, drawn: Sampled, again: Sampled) -> Claim:
    best = gains(scan).largest
    return beaten(gains(fresh).at([best]).mean(), again, drawn.largest, "The best of the scan")


def _judged(scan: Sampled, fresh: Sampled) -> list[Claim]:
    chosen, judged = gains(scan), gains(fresh)
    best, tried = chosen.largest, len(chosen.values)
    name = chosen.rows["plan"].iloc[best]
    apart = chosen.values - chosen.values.mean()
    found, again = chosen.at([best]).mean(), judged.at([best]).mean()
    return [
        Claim(
            f"Some repeats help: loss that the best of the scan, {name}, saves on fresh texts",
            "a public report of 0.22 to 0.76 did not repeat on its own full run",
            again,
            above=0,
            tried=tried,
        ),
        Claim(
            "The scan flatters its winner: what it saves there beyond what it saves on fresh texts",
            "winner's curse: 0.744 to 0.732 on the full run",
            found - again,
            above=0,
            tried=tried,
        ),
        Claim(
            "What the scan says of blocks is true of fresh texts: slope of what they save there",
            "not reported",
            judged.of(lambda saved: (saved * apart).sum(-1) / (apart**2).sum(), "of the scan's"),
            above=0.5,
            tried=tried,
        ),
    ]


STUDY = Study("rys", "Repeat yourself: blocks run twice", _calls, _carry_out, figures=2)
