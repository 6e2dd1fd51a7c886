"""Small changes of a plan, by name: what a search may try next."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, pairwise

from ..arguments import several
from ..errors import PlanError
from ..plans import Plan, Step

_DAMPED = 0.5


def _drop(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i in range(len(steps)):
        yield (*steps[:i], *steps[i + 1 :])


def _drop_block(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i, j in combinations(range(len(steps) + 1), 2):
        if j - i > 1:
            yield (*steps[:i], *steps[j:])


def _swap(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i in range(len(steps) - 1):
        yield (*steps[:i], steps[i + 1], steps[i], *steps[i + 2 :])


def _move(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i, step in enumerate(steps):
        rest = (*steps[:i], *steps[i + 1 :])
        for to in range(len(steps)):
            yield (*rest[:to], step, *rest[to:])


def _replace(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i in range(len(steps)):
        for j in (i - 1, i + 1):
            if 0 <= j < len(steps):
                yield (*steps[:i], steps[j], *steps[i + 1 :])


def _repeat(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i, step in enumerate(steps):
        yield (*steps[:i], step, *steps[i:])


def _repeat_block(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i, j in combinations(range(len(steps) + 1), 2):
        if j - i > 1:
            yield (*steps[:j], *steps[i:])


def _parallel(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    """Neighbours side by side, what they add summed up: as much is added as one by one."""
    for i, (one, other) in enumerate(pairwise(steps)):
        if one.scale == other.scale == 1 and not one.nesting and not other.nesting:
            pair = Step((*one.branches, *other.branches), 1.0)
            yield (*steps[:i], pair, *steps[i + 2 :])


def _damp(steps: tuple[Step, ...]) -> Iterator[Sequence[Step]]:
    for i, step in enumerate(steps):
        damped = Step(step.branches, step.scale * _DAMPED)
        yield (*steps[:i], damped, *steps[i + 1 :])


EDITS: dict[str, Callable[[tuple[Step, ...]], Iterator[Sequence[Step]]]] = {
    "drop": _drop,
    "drop_block": _drop_block,
    "swap": _swap,
    "move": _move,
    "replace": _replace,
    "repeat": _repeat,
    "repeat_block": _repeat_block,
    "parallel": _parallel,
    "damp": _damp,
}


def named(edits: str | Sequence[str]) -> list[str]:
    """Names of edits, each once. Raises PlanError for none, and for one that does not exist."""
    names = [*dict.fromkeys(several(edits))]
    if wrong := [name for name in names if name not in EDITS]:
        raise PlanError(f"no edit {wrong[0]!r}; there are {', '.join(EDITS)}")
    if not names:
        raise PlanError(f"no edits; there are {', '.join(EDITS)}")
    return names


def edited(plan: Plan, edits: Iterable[str]) -> Iterator[tuple[str, Plan]]:
    """Every plan that is one edit away from `plan`, each once.

    Args:
        plan: A plan.
        edits: Names out of `EDITS`.

    Yields:
        The name of the edit, and the plan that it makes.

    Example:
        >>> [str(p) for _, p in edited(painters.Plan("0-2", 3), ["drop"])]
        ['1 2', '0 2', '0 1']
    """
    seen = {plan}
    for name in edits:
        for steps in EDITS[name](plan.steps):
            if steps and (other := Plan(steps, plan.n_layers)) not in seen:
                seen.add(other)
                yield name, other
