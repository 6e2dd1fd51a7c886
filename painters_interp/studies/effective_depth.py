"""Effective depth (arXiv 2512.14064): how much of its depth a model uses, as one number."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from ..damage import document_losses
from ..figures import depth_curves
from ..strategies import full
from .claims import Claim, Quantity, Sampled
from .study import Found, Setting, Study, along, of_measure
from .views import as_curves
from .work import Work

_EVEN = 0.05  # of depth: what does not count as a difference


def _calls(on: Setting) -> Work:
    own = [text for texts in on.texts_by_task().values() for text in texts]
    # All texts, their halves, and their loss before; then those of every task.
    return 3 * on.similarity_calls() + on.similarity_calls(texts=own)


def _carry_out(on: Setting) -> Found:
    easy, hard = _halves(on)
    named = {"all texts": on.texts, "easy": easy, "hard": hard}
    read = {**named, **{name: tuple(texts) for name, texts in on.texts_by_task().items()}}
    curves, depths = [], {}
    for name, texts in read.items():
        ratio = along(on.similarity(["update_ratio"], texts=texts), "update_ratio")
        curves.append(as_curves([ratio], on.seed).assign(texts=name))
        depths[name] = of_measure(ratio, on.seed).of(_share_used, "of the layers")
    profile = pd.concat(curves, ignore_index=True)
    rows = [(name, depth.value, *depth.interval) for name, depth in depths.items()]
    return Found(
        tables={
            "profile": profile,
            "effective_depth": pd.DataFrame(rows, columns=["texts", "value", "low", "high"]),
        },
        judged=_judged(depths, [*on.texts_by_task()]),
        drawings={"profile": lambda: depth_curves(profile, "texts", log=True)},
    )


def _share_used(
    ratios: Float[np.ndarray, "*resample layer"],
) -> Float[np.ndarray, "*resample"]:
    """exp(entropy) of how the relative updates fall to layers, over the number of layers: 1 where
    every layer moves the stream as far, 1/n where one alone does."""
    shares = ratios / ratios.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares == 0, 0.0, -shares * np.log(shares))
    return np.asarray(np.exp(terms.sum(axis=-1)) / ratios.shape[-1])


def _halves(on: Setting) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts that the model predicts best, per token, and the others."""
    sums, tokens = document_losses(on.model, [full(on.n)], on.texts)
    order = np.argsort(sums[:, 0] / tokens, kind="stable")
    middle = len(order) // 2
    easy, hard = (tuple(on.texts[i] for i in part) for part in (order[:middle], order[middle:]))
    return easy, hard


def _judged(depths: dict[str, Quantity], tasks: list[str]) -> list[Claim]:
    claims = [
        Claim(
            "The model does not use all of its depth: effective depth as a share of the layers",
            "a stable share, below 1",
            depths["all texts"],
            below=0.9,
        ),
        Claim(
            "Hard texts use no more of it than easy ones (halves by loss): difference",
            "independent of difficulty",
            depths["hard"] - depths["easy"],
            above=-_EVEN,
            below=_EVEN,
        ),
    ]
    if len(tasks) > 1:
        each = Sampled.together([depths[name] for name in tasks])
        claims.append(
            Claim(
                f"Nor do tasks differ: the widest difference among {len(tasks)}",
                "stable across tasks",
                each.of(lambda used: np.ptp(used, axis=-1)),
                below=2 * _EVEN,
                tried=len(tasks) * (len(tasks) - 1) // 2,
            )
        )
    return claims


STUDY = Study("2512.14064", "Effective depth", _calls, _carry_out)
