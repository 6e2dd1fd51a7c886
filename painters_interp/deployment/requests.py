"""What is asked of a search: whatever is wrong with it is said before a model is loaded."""

from collections.abc import Sequence
from typing import Any

from ..arguments import is_whole
from ..errors import PaintersError, PlanError, TextError
from .edits import named

METHODS = ("greedy", "beam")
OBJECTIVES = ("kl", "loss", "tasks")
FEWEST = 4  # texts or items: two to choose on, two to judge on
WIDTH = 4  # plans that go on in a beam


def asked(
    edits: str | Sequence[str],
    method: str,
    objective: str | None,
    width: int,
    rounds: int | None,
    *,
    tasks: bool,
    texts: bool,
) -> dict[str, Any]:
    """What decides how plans are chosen, but for the budget; which of tasks and texts are given.

    Raises PlanError for edits, and PaintersError for all else that does not exist or is not read.
    """
    if method not in METHODS:
        raise PaintersError(f"method={method!r} is not one of {', '.join(METHODS)}")
    chosen = ("tasks" if tasks else "kl") if objective is None else objective
    if chosen not in OBJECTIVES:
        raise PaintersError(f"objective={chosen!r} is not one of {', '.join(OBJECTIVES)}")
    if chosen == "tasks" and texts:
        raise PaintersError("texts are not read where tasks are scored; give one of them")
    return {
        "edits": named(edits),
        "method": method,
        "objective": chosen,
        "width": width if method == "beam" else 1,
        "rounds": rounds,
    }


def refuse_budget(calls: int | None, time: float | None) -> None:
    """Raise PlanError unless there is one budget, and a share of time is one."""
    if (calls is None) == (time is None):
        raise PlanError("give one budget: calls=..., or time=... as a share of the intact model's")
    if time is not None and not 0 < time <= 1:
        raise PlanError(f"time={time} is no share of the intact model's time; give 0.8, say")


def refuse_calls(calls: Any, n_layers: int) -> None:
    """Raise PlanError for a number of calls that is none, or more than the model makes."""
    if not is_whole(calls) or not 1 <= calls <= n_layers:
        raise PlanError(
            f"calls={calls} is no budget of layer calls; this model makes {n_layers}, and at least "
            "one must be left"
        )


def refuse_few(texts: int) -> None:
    """Raise TextError for fewer texts than can be parted in two halves."""
    if texts < FEWEST:
        raise TextError(
            "a search chooses on half of the texts and judges on the others, equal ones counted "
            f"once: {texts} are too few; give {FEWEST} or more"
        )
