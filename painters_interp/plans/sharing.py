"""What plans have in common: beginnings that need to be computed only once."""

from collections.abc import Iterable

from .value import Plan, Step


def shared_calls(plans: Iterable[Plan]) -> int:
    """Layer calls needed to run plans of one model when equal beginnings are computed once."""
    nodes: dict[tuple[int, Step], int] = {}  # (parent, step) -> node of the prefix tree; 0 is root
    calls = 0
    for plan in plans:
        node = 0
        for step in plan.steps:
            if (node, step) not in nodes:
                nodes[node, step] = len(nodes) + 1
                calls += step.size
            node = nodes[node, step]
    return calls
