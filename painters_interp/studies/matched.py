"""The centre layer repeated at the length of what it replaces: is repeating bad by size alone?"""

import numpy as np
import pandas as pd

from .. import experiments
from .. import strategies as s
from ..models import numbers
from ..plans import Plan, Series, Step
from ..streams import capture
from ..tables import typed
from .study import Setting
from .work import Work

_READ = 16  # texts
_DIGITS = 3  # of a scale, so that plans stay readable


def matched_repeats(on: Setting) -> pd.DataFrame:
    """A row per window of two layers or more, "matched repeat": `0-12 [15*5]@0.412 18-29`.

    The repeated layers' update is scaled by one number: the median over tokens of how much longer
    the update of the window's own layers is, on the texts that choose.
    """
    return _table(on.n, {first: _scale(on, first) for first in _firsts(on.n)})


def calls(on: Setting) -> Work:
    """What finding the scales takes."""
    passes = 2 * len(_firsts(on.n))  # the model's own layers and as many that are repeated
    return passes * on.similarity_calls(texts=on.choosing[:_READ])


def unscaled(n: int) -> pd.DataFrame:
    """Plans that cost as much as those of `matched_repeats`."""
    return _table(n, dict.fromkeys(_firsts(n), 0.5))


def _firsts(n: int) -> list[int]:
    return [f for f in experiments.every_window(n)[::2] if len(s.middle(n, f)) > 1]


def _table(n: int, scales: dict[int, float]) -> pd.DataFrame:
    rows = []
    for first, scale in scales.items():
        window = s.middle(n, first)
        repeat = Step.of(Series([n // 2] * len(window)), scale=scale)
        around = map(Step.of, range(window.start)), map(Step.of, range(window.stop, n))
        plan = Plan((*around[0], repeat, *around[1]), n)
        rows.append({"first": first, "affected": len(window), "plan": str(plan)})
    table = pd.DataFrame(rows).assign(experiment="controls", variant="matched repeat", n_layers=n)
    return typed(table)


def _scale(on: Setting, first: int) -> float:
    window = s.middle(on.n, first)
    own = _lengths(on, window, None)
    repeated = _lengths(on, window, s.repeat_center(on.n, window))
    return float(f"{np.median(own / repeated):.{_DIGITS}g}")


def _lengths(on: Setting, window: range, plan: Plan | None) -> np.ndarray:
    """How long what is added between both ends of the window is, token by token."""
    found = []
    for read in capture(on.model, on.choosing[:_READ], plan):
        update = read.states[window.stop] - read.states[window.start]
        found.append(np.linalg.norm(numbers(update[read.mask.bool()]), axis=-1))
    return np.concatenate(found)
