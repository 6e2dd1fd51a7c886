"""The figures of 2407.09298 that take several models: 12, 14, and k against M over models."""

from collections.abc import Mapping
from functools import partial

import pandas as pd

from ..figures import similarity_panel, size_curves
from ..tables import to_matrices
from .best_loops import GROWS, drawn
from .claims import Claim, Sampled
from .study import Found

SHARED = (
    "The middle layers share one space: mean cosine per token of middle states with each "
    "other less that with the first and the last state"
)
GRACEFUL = "Not all layers are needed: score with about a sixth of the layers skipped"


def compared(found: Mapping[str, Found]) -> Found:
    """What the paper's study says of several models, from what it found for each.

    Args:
        found: By the model's name.

    Returns:
        Figs. 12 and 14, the best number of loops against the window, and what holds of all models.
    """
    scored = {m: one for m, one in found.items() if "medians" in one.tables}  # others: at chance
    tables = {
        name: pd.concat([one.tables[name].assign(model=m) for m, one in scored.items()])
        for name in ("medians", "best_loops")
    }
    cosines = {m: to_matrices(one.tables["similarity"])["cosine"] for m, one in found.items()}
    return Found(
        tables=tables,
        judged=[c for sentence in (GROWS, SHARED, GRACEFUL) for c in _of_all(found, sentence)],
        drawings={
            "sizes": partial(size_curves, tables["medians"]),
            "sizes_cosine": partial(similarity_panel, cosines),
            "sizes_best_loops": partial(drawn, tables["best_loops"], "model"),
        },
        of_models=found,
    )


def _of_all(found: Mapping[str, Found], sentence: str) -> list[Claim]:
    """A claim about one model as one about all: of the model for which it holds least.

    Nothing where one has too few layers for it to be made, or no score above chance.
    """
    each = [claim for one in found.values() for claim in one.judged if claim.sentence == sentence]
    if len(each) < len(found):
        return []
    of = Sampled.together([claim.found for claim in each])
    least = of.of(lambda found: found.min(axis=-1))
    words = f"Of all {len(each)} models, by the one with the least: {sentence}"
    return [Claim(words, each[0].published, least, each[0].above, tried=each[0].tried)]
