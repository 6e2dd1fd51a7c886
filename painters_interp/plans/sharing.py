"""What plans have in common: beginnings that need to be computed only once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from .value import Plan, Step


@dataclass(eq=False)
class Beginning:
    """A distinct beginning: the indices of the plans that end here, and the steps that go on."""

    ends: list[int] = field(default_factory=list)
    children: "dict[Step, Beginning]" = field(default_factory=dict)

    def inner(self) -> "Iterator[tuple[Step, Beginning]]":
        """All longer ones, each with its last step, depth first."""
        waiting = [
            *reversed(self.children.items())
        ]  # a stack: plans may be thousands of steps deep
        while waiting:
            step, node = waiting.pop()
            yield step, node
            waiting += reversed(node.children.items())


def shared_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items two sequences have in common at their beginnings."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def prefix_tree(plans: Iterable[Plan]) -> Beginning:
    """The beginnings of all plans as a tree; its root is the empty one."""
    root = Beginning()
    for index, plan in enumerate(plans):
        node = root
        for step in plan.steps:
            node = node.children.setdefault(step, Beginning())
        node.ends.append(index)
    return root


def shared_calls(plans: Iterable[Plan]) -> int:
    """Layer calls needed to run plans of one model when equal beginnings are computed once.

    Args:
        plans: Plans of one model.

    Returns:
        The number of layer calls.

    Example:
        >>> from painters_interp import Plan
        >>> shared_calls([Plan.parse("0-2", 3), Plan.parse("0 1", 3)])
        3
    """
    return sum(step.size for step, _ in prefix_tree(plans).inner())


def residuals_alive(plans: Iterable[Plan]) -> int:
    """How many residual streams a walk depth first holds at once, at most, in units of a batch.

    One for each fork on the way to the current step, and the one that the step makes; 31 for the
    paper's suite of 626 plans on 30 layers.

    Args:
        plans: Plans of one model.

    Returns:
        The number of streams.

    Example:
        >>> from painters_interp import Plan
        >>> residuals_alive([Plan.parse("0-2", 3)])
        2
    """
    most, alive = 0, 1  # a stream is alive as long as a child of its node waits
    waiting = [(prefix_tree(plans), True)]
    while waiting:
        most = max(most, alive + 1)
        node, last = waiting.pop()
        children = [*node.children.values()]
        alive += bool(children) - last
        waiting += [(child, child is children[-1]) for child in reversed(children)]
    return most
