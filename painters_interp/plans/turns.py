"""What becomes of the output of each layer call of a step, call by call, without recursion."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .value import Plan, Series, Step


@dataclass(frozen=True)
class Turn:
    """A call's part in the steps around it, of which `level` are open when it comes.

    First it opens as many more as `opens`, which all keep the stream that it reads. Its output is
    added to the innermost open step; if that has no other branch to come it closes: its sum is
    scaled, put back, and is itself what a branch of the step around it has made, or the stream
    that the next step reads. `closes` has the scales of those that close, innermost first.
    `waits` says whether a branch of the innermost step that is left is still to come, which reads
    what that step has kept. A layer alone at scale 1 opens nothing: its output is the stream.
    """

    level: int = 0
    opens: int = 0
    closes: tuple[float, ...] = ()
    waits: bool = False


@lru_cache(maxsize=4096)
def turns(step: Step) -> tuple[Turn, ...]:
    """One for each call of `step`, in order."""
    return tuple(_turns(step, Turn()))


def _turns(step: Step, around: Turn) -> Iterator[Turn]:
    """The same inside other steps: the first call opens those of `around`, the last closes them."""
    for place, branch in enumerate(step.branches):
        here = _part(step, around, first=place == 0, last=place == len(step.branches) - 1)
        if not isinstance(branch, Series):
            yield here
            continue
        rest = Turn(here.level + here.opens)
        for index, inner in enumerate(branch.steps):
            start = here if index == 0 else rest
            end = here if index == len(branch.steps) - 1 else rest
            yield from _turns(inner, Turn(start.level, start.opens, end.closes, end.waits))


def _part(step: Step, around: Turn, *, first: bool, last: bool) -> Turn:
    """What a branch of `step` opens and closes, this step included."""
    if len(step.branches) == 1 and step.scale == 1:
        return around
    return Turn(
        around.level if first else around.level + around.opens + 1,
        around.opens + 1 if first else 0,
        (step.scale, *around.closes) if last else (),
        around.waits if last else True,
    )


def groups(plan: Plan) -> tuple[range, ...]:
    """The calls of each step, however deep, that has several branches, all of them calls.

    Args:
        plan: A plan.

    Returns:
        For each of these steps the places of its calls among all calls of the plan.

    Example:
        >>> from painters_interp import Plan
        >>> groups(Plan.parse("0 (1|2) 3", 4))
        (range(1, 3),)
    """
    found: list[range] = []
    place = 0
    for step in plan.steps:
        found += _groups(step, place)
        place += step.size
    return tuple(found)


def _groups(step: Step, place: int) -> Iterator[range]:
    if step.nesting == 0:
        if step.size > 1:
            yield range(place, place + step.size)
        return
    for branch in step.branches:
        if not isinstance(branch, Series):
            place += 1
            continue
        for inner in branch.steps:
            yield from _groups(inner, place)
            place += inner.size
