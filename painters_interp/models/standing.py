"""What can be given for a model, being one under a plan; and functions that can be given it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from inspect import Signature, signature
from typing import Any, ParamSpec, TypeVar

from ..borrowed.of_torch import children
from ..errors import PlanError
from ..plans import Plan
from ..strategies import full
from ..tables import labels_for

P = ParamSpec("P")
R = TypeVar("R")


class StandsForModel(ABC):
    """A hooked model that runs a plan for as long as it is held."""

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """What runs."""

    @property
    @abstractmethod
    def cache(self) -> str:
        """How it decodes."""

    @property
    @abstractmethod
    def bridge(self) -> Any:
        """The model, under the plan."""

    @abstractmethod
    def close(self) -> None:
        """Take the plan off for good."""

    @abstractmethod
    def lifted(self) -> AbstractContextManager[Any]:
        """The model without the plan for a while, for what applies the plan itself."""


def under_plan(bridge: Any) -> bool:
    """Whether a plan is applied to a hooked model, in a `with` block or for longer.

    Args:
        bridge: A hooked model.

    Returns:
        Whether its layers stand in the order of a plan.

    Example:
        >>> with painters.applied(model, "0-2 5"):
        ...     under_plan(model)
        True
    """
    return isinstance(bridge, StandsForModel) or "steps" in children(bridge)


def of_planned(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of a model and plans take a planned model, whose plan is then its plan.

    The plan need not be named again: `similarity(held, texts)` is that of the plan that is held.
    The function applies it to the intact model itself.

    Args:
        function: One whose first argument is the model, and one of whose others is `plan` or
            `plans`; one without them is given the intact model.

    Returns:
        The function, which raises PlanError for any other plan than the one that is held.

    Example:
        >>> counted = of_planned(lambda model, plan: len(painters.Plan.of(plan, 6)))
        >>> with painters.planned(model, "0-2 5") as held:
        ...     counted(held)
        4
    """
    form = signature(function)
    first = next(iter(form.parameters))

    @wraps(function)
    def taken(*args: P.args, **kwargs: P.kwargs) -> R:
        held = args[0] if args else kwargs.get(first)
        if not isinstance(held, StandsForModel):
            return function(*args, **kwargs)
        given = _under(held, form, args, kwargs)
        with held.lifted() as model:
            called: Callable[..., R] = function
            return called(**{**given, first: model})

    return taken


def _under(
    held: StandsForModel, form: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments, with the plan and the cache of what is held where none is named."""
    given = form.bind_partial(*args, **kwargs).arguments
    name = "plans" if "plans" in form.parameters else "plan"
    if name not in form.parameters:  # it prepares what plans are asked
        return given
    if given.get(name) is None:
        given[name] = held.plan
    own, n_layers = str(held.plan), held.plan.n_layers
    plans = {*labels_for(given[name], n_layers)["plan"]}
    # What is compared with the intact model may name it, too.
    others = plans - {own, str(full(n_layers))} if own in plans else plans
    if others:
        raise PlanError(
            f"a plan is already applied: this planned model runs {own!r}, and "
            f"{sorted(others)[0]!r} would be another one on top; close() it first"
        )
    if "cache" in form.parameters:
        given.setdefault("cache", held.cache)
    elif held.cache != "exact":
        raise PlanError(
            f"this planned model decodes with cache={held.cache!r}, which has no meaning here; "
            'hold it with cache="exact"'
        )
    return given
