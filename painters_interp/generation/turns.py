"""What becomes of the output of each layer call of a plan, and who makes it in a schedule."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..plans import Plan, Step
from ..plans.schedules import Schedule


@dataclass(frozen=True)
class Turn:
    """A call's part in its step: whether it opens or closes it, and by what its sum is scaled."""

    opens: bool
    closes: bool
    scale: float

    @property
    def alone(self) -> bool:
        """Whether the output simply takes the place of the stream."""
        return self.opens and self.closes and self.scale == 1


def turns(plan: Plan) -> tuple[Turn, ...]:
    """One for each call of `plan`, in order."""
    return tuple(turn for step in plan.steps for turn in _turns(step))


def _turns(step: Step) -> list[Turn]:
    last = len(step.calls) - 1
    return [Turn(member == 0, member == last, step.scale) for member in range(last + 1)]


def steps_of_calls(plan: Plan) -> tuple[range, ...]:
    """For each call of `plan` the calls of its step, itself included."""
    found: list[range] = []
    for step in plan.steps:
        calls = range(len(found), len(found) + len(step.calls))
        found += [calls] * len(calls)
    return tuple(found)


def entries_of(schedule: Schedule, plans: Sequence[Plan]) -> tuple[tuple[int, ...], ...]:
    """For each plan and call the index of the entry that makes it."""
    found = [[-1] * len(plan.calls) for plan in plans]
    for index, entry in enumerate(schedule):
        for plan, call in entry.takers:
            found[plan][call] = index
    return tuple(map(tuple, found))
