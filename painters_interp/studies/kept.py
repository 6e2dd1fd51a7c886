"""What tasks keep of their scores where layers are removed, beside what the removal does to KL."""

from collections.abc import Callable

import pandas as pd

from ..errors import TableError
from ..notices import warn
from .claims import Claim, Sampled
from .study import Found, Setting, medians
from .views import SCORE_KEPT, removal_curves, with_ends


def scores_kept(on: Setting, plans: pd.DataFrame, judge: Callable[[Sampled], list[Claim]]) -> Found:
    """Median scores of plans that remove layers, their curve, and what they say of claims.

    Nothing, which is said, where no task is above chance.
    """
    try:
        on.refuse_chance()
    except TableError as reason:
        warn(f"what is kept of scores is left out: {reason}")
        return Found({}, [])
    items = on.items(plans)
    table = on.scores(plans, items)
    found = medians(table, items, on.seed)
    lines = with_ends(found, "score")
    return Found(
        tables={"scores": table},
        judged=judge(found),
        drawings={"scores": lambda: removal_curves(lines, "score", SCORE_KEPT)},
        items={"scores": items},
    )
