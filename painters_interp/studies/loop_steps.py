"""Steps of a loop (arXiv 2509.23314): they shrink, and turn towards a right angle."""

import pandas as pd

from ..figures import depth_curves
from ..patching import loop_turns
from .claims import Claim, Quantity, Sampled
from .study import Found, Setting, Study, of_measure
from .views import as_curves
from .work import Work, total

_TIMES = 8
_PLACES = (0.25, 0.5, 0.75)  # of depth


def _blocks(n: int) -> list[tuple[int, int]]:
    """First and last layer of blocks of an eighth of the layers."""
    size = max(1, n // 8)
    firsts = dict.fromkeys(min(n - 1 - size, max(1, round(n * place))) for place in _PLACES)
    return [(first, first + size - 1) for first in firsts]


def _calls(on: Setting) -> Work:
    return total(on.loop_calls(*block, _TIMES) for block in _blocks(on.n))


def _carry_out(on: Setting) -> Found:
    found = {
        f"layers {first}-{last}": loop_turns(on.model, on.texts, first, last, _TIMES)
        for first, last in _blocks(on.n)
    }
    table = pd.concat(
        [as_curves(curves.values(), on.seed).assign(block=name) for name, curves in found.items()],
        ignore_index=True,
    )
    steps, turns = (
        [of_measure(curves[name], on.seed) for curves in found.values()]
        for name in ("loop_step", "loop_turn")
    )
    table = table.dropna(subset=["value"])  # the first pass turns from none before it
    return Found(
        tables={"loops": table},
        judged=_judged(steps, turns),
        drawings={"loops": lambda: depth_curves(table, "block", columns=2)},
    )


def _judged(steps: list[Sampled], turns: list[Sampled]) -> list[Claim]:
    last = _TIMES - 1
    shrunk = _mean([_at(block, last).over(_at(block, 0), "of the first step") for block in steps])
    first, end = (_mean([_at(block, k) for block in turns]) for k in (1, last))
    return [
        Claim(
            f"Steps of a loop shrink: the step of pass {_TIMES} over that of the first, each "
            "against the stream, mean over blocks",
            "steps shrink",
            shrunk,
            below=1,
        ),
        Claim(
            f"They turn: cosine of neighbouring steps at the second pass above that at pass "
            f"{_TIMES}",
            "towards orthogonal",
            first - end,
            above=0,
        ),
        Claim(
            "In the end they stand at right angles: cosine of the last two",
            "near 0",
            end,
            above=-0.25,
            below=0.25,
        ),
    ]


def _at(block: Sampled, place: int) -> Quantity:
    return block.where(place=[place]).mean()


def _mean(found: list[Quantity]) -> Quantity:
    return Sampled.together(found).mean()


STUDY = Study("2509.23314", "Steps of a loop shrink and turn", _calls, _carry_out)
