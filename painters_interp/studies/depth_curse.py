"""The curse of depth (arXiv 2502.05795): the stream's variance grows, and deep layers do little."""

import numpy as np
import pandas as pd

from .. import experiments
from ..figures import depth_curves
from .claims import Claim
from .study import Found, Setting, Study, along, of_measure
from .views import along_depth
from .work import Work


def _plans(n: int) -> pd.DataFrame:
    return experiments.single_layers(n).query("variant in ('intact', 'drop')")


def _calls(on: Setting) -> Work:
    return on.similarity_calls() + on.kl_calls(_plans(on.n))


def _carry_out(on: Setting) -> Found:
    found = on.similarity(["variance"])
    kl = on.kl(_plans(on.n))
    variance = of_measure(along(found, "variance"), on.seed)
    half, last = on.n // 2, on.n - 1
    middle = kl.where(layer=range(on.n // 4, half)).mean()
    deep = kl.where(layer=range(on.n - on.n // 4, last)).mean()
    return Found(
        tables={"variance": found.curves(), "drops": kl.rows},
        judged=[
            Claim(
                "The variance of the stream grows with depth: rank correlation",
                "grows exponentially in models that normalise before layers",
                variance.ranked_with(np.arange(len(variance.values))),
                above=0,
            ),
            Claim(
                "It grows up to the end: rank correlation over the second half",
                "grows",
                variance.where(place=range(half, on.n + 1)).ranked_with(np.arange(on.n + 1 - half)),
                above=0,
            ),
            Claim(
                "Dropping a layer of the last quarter (but the last) costs less KL than one of "
                "the second quarter",
                "deep layers do little",
                middle - deep,
                above=0,
            ),
        ],
        drawings={
            "variance": lambda: depth_curves(found.curves()),
            "drops": lambda: depth_curves(along_depth(kl.rows)),
        },
    )


STUDY = Study("2502.05795", "The curse of depth", _calls, _carry_out, figures=2)
