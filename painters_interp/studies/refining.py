"""Guess, then refine (arXiv 2510.18871): what early states would say."""

import numpy as np

from ..figures import depth_curves
from ..measures import Curve
from .claims import Claim
from .study import Found, Setting, Study, of_measure
from .views import as_curves
from .work import Work

_SHOWN = ("lens_rank", "lens_frequent", "lens_agreement", "lens_kl")


def _calls(on: Setting) -> Work:
    return on.lens_calls()


def _carry_out(on: Setting) -> Found:
    lens = on.lens()
    curves = as_curves([lens[name] for name in _SHOWN], on.seed)
    return Found(
        tables={"lens": curves, "settled": as_curves([lens["settled"]], on.seed)},
        judged=_judged(on, lens),
        drawings={"lens": lambda: depth_curves(curves, columns=2)},
    )


def _judged(on: Setting, lens: dict[str, Curve]) -> list[Claim]:
    frequent, rank, agreement = (
        of_measure(lens[f"lens_{name}"], on.seed) for name in ("frequent", "rank", "agreement")
    )
    settled = of_measure(lens["settled"], on.seed)
    quarter = max(1, on.n // 4)
    early = range(1, quarter + 1)
    return [
        Claim(
            f"Early guesses are frequent tokens: share of such guesses at states 1 to {quarter} "
            "above that of the model's answers",
            "early guesses are statistical, of frequent tokens",
            frequent.where(place=early).mean() - frequent.where(place=[on.n]).mean(),
            above=0,
        ),
        Claim(
            f"They are revised: share of guesses at states 1 to {quarter} that are not the "
            "model's answer",
            "most early guesses are overwritten",
            agreement.where(place=early).of(lambda same: 1 - same.mean(axis=-1)),
            above=0.5,
        ),
        Claim(
            "Refinement is steady: rank correlation of depth with the rank of the answer",
            "the answer's rank falls with depth",
            rank.ranked_with(np.arange(on.n + 1)),
            below=-0.5,
        ),
        Claim(
            "Frequent answers settle earlier than others, as a share of depth",
            "function words settle first",
            settled.where(place=[1]).mean() - settled.where(place=[0]).mean(),
            above=0,
        ),
    ]


STUDY = Study("2510.18871", "Guess, then refine", _calls, _carry_out)
