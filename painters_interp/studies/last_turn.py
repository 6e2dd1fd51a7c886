"""The last layer's turn (arXiv 2601.18302): the angle between the last two states."""

import numpy as np

from ..figures import similarity_heatmap
from .claims import Claim
from .study import Found, Setting, Study, between, of_measure
from .work import Work


def _calls(on: Setting) -> Work:
    return on.similarity_calls()


def _carry_out(on: Setting) -> Found:
    found = on.similarity(["angular"])
    matrix = between(found, "angular")
    angles = of_measure(matrix, on.seed)
    steps = angles.at(np.flatnonzero(angles.rows["column"] - angles.rows["row"] == 1))
    last = steps.at([len(steps.values) - 1]).mean()
    others = steps.at(range(len(steps.values) - 1))
    return Found(
        tables={"angles": found.table()},
        judged=[
            Claim(
                "The last layer turns the stream more than the median layer: difference of "
                "angular distances",
                "a jump at the end",
                last - others.of(lambda turned: np.median(turned, axis=-1)),
                above=0,
            ),
            Claim(
                "It turns it more than the one of the others that turns it most",
                "not reported",
                last - others.of(lambda turned: turned.max(axis=-1)),
                above=0,
                tried=on.n - 1,
            ),
        ],
        drawings={
            "angles": lambda: similarity_heatmap(
                matrix.matrix,
                label="angular distance (share of a half turn)",
                meaning="distance",
            )
        },
    )


STUDY = Study("2601.18302", "The last layer's turn", _calls, _carry_out)
