"""A plan says which layers run, in which order and grouping: an immutable value with a text form.

Values are brought to normal form when they are made, so two plans over the same number of
layers are equal exactly when their texts are.
"""

import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, SupportsIndex, overload, runtime_checkable

from ..arguments import is_whole
from ..errors import PlanError
from .notation import (
    AT_MOST,
    MAX_CALLS,
    MAX_NESTING,
    NESTS,
    SCALES,
    Half,
    ReadCall,
    ReadSeries,
    ReadStep,
    allowed,
    group_text,
    in_order,
    quote,
    read,
    text_of,
)
from .showing import Shown
from .words import count, in_words, list_in_words


@runtime_checkable
class _Hooked(Protocol):
    cfg: Any


@runtime_checkable
class _Plain(Protocol):
    config: Any


# A number of layers, or a model that has so many: a bridge, or a Hugging Face model.
Layers = SupportsIndex | _Hooked | _Plain


@dataclass(frozen=True)
class Call:
    """One call of one layer, counted from 0, or of one half of it; prints as `5` or `5.attn`."""

    layer: int
    half: Half | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", operator.index(self.layer))
        if self.layer < 0:
            raise PlanError(f"layer {self.layer} does not exist; layers count from 0")
        if self.half not in (None, "attn", "mlp"):
            raise PlanError(f"a layer has no half {self.half!r}; 'attn' and 'mlp' exist")

    def __lt__(self, other: "Call") -> bool:
        return _place(self) < _place(other)

    def __str__(self) -> str:
        return f"{self.layer}.{self.half}" if self.half else str(self.layer)


def _place(call: Call) -> tuple[str, int]:
    """Whole layers come first, then halves of one kind together, so that `5-9.mlp` prints."""
    return call.half or "", call.layer


@dataclass(frozen=True, init=False)
class Series:
    """Steps that run one after another, as one branch of a step; prints as `[10-13]`.

    Raises PlanError if there is no step, for series nested more than 20 deep, and above 100,000
    calls.

    Args:
        steps: Each a Step, a layer, or one of its halves as a Call.

    Example:
        >>> str(Step.of(Series([10, 11, 12]), scale=0.5))
        '[10-12]@0.5'
    """

    steps: tuple["Step", ...]

    def __init__(self, steps: "Iterable[Step | Branch | SupportsIndex]") -> None:
        object.__setattr__(self, "steps", _in_a_row(steps))
        if not self.steps:
            raise PlanError("a series without steps does nothing; leave it out")
        if self.nesting > MAX_NESTING:
            raise PlanError(f"a series nests {self.nesting} deep; {NESTS}")
        _check_size(self.size)

    @cached_property
    def nesting(self) -> int:
        """How many series stand inside each other here, this one counted."""
        return 1 + max(step.nesting for step in self.steps)

    @cached_property
    def size(self) -> int:
        """How many layer calls it makes."""
        return sum(step.size for step in self.steps)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every layer call in order."""
        return tuple(call for step in self.steps for call in step.calls)

    @cached_property
    def _text(self) -> str:
        return f"[{text_of(self.steps)}]"

    def __str__(self) -> str:
        return self._text


Branch = Call | Series
_BRANCH = (Call, Series)


@dataclass(frozen=True)
class Step:
    """Branches that read the same residual stream: h becomes h + scale * sum_b (F_b(h) - h).

    A branch is one call of a layer, or a series of steps. They are kept sorted, calls first,
    duplicates included. Raises PlanError if there are none, if the scale is zero or not finite, or
    above 100,000 calls.
    """

    branches: tuple[Branch, ...]
    scale: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(self.scale))
        if not self.branches:
            raise PlanError("a step without layers does nothing; leave it out")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise PlanError(f"a step cannot be scaled by {self.scale}; {SCALES}")
        branches = [b if type(b) is Call else _simplest(b) for b in self.branches]
        calls = [branch for branch in branches if isinstance(branch, Call)]
        series = [branch for branch in branches if isinstance(branch, Series)]
        _check_size(len(calls) + sum(branch.size for branch in series))
        calls.sort(key=_place)
        series.sort(key=lambda branch: in_order(str(branch)))
        ordered = (*calls, *series)
        object.__setattr__(self, "branches", ordered)

    @classmethod
    def of(cls, *branches: "SupportsIndex | Branch", scale: float | None = None) -> "Step":
        """`Step.of(5)` is layer 5, `Step.of(9, 10)` averages two layers, `scale=1.0` sums them."""
        made = tuple(b if isinstance(b, _BRANCH) else _call(operator.index(b)) for b in branches)
        return cls(made, 1 / max(len(made), 1) if scale is None else scale)

    @classmethod
    @lru_cache(maxsize=4096)  # many plans are made of few steps
    def read(cls, branches: "tuple[ReadCall | ReadSeries, ...]", scale: float | None) -> "Step":
        """A step as it was written."""
        return cls.of(*map(_branch, branches), scale=scale)

    @cached_property
    def nesting(self) -> int:
        """How many series stand inside each other here; 0 for a step of calls alone."""
        return max(branch.nesting if isinstance(branch, Series) else 0 for branch in self.branches)

    @cached_property
    def size(self) -> int:
        """How many layer calls it makes."""
        return sum(branch.size if isinstance(branch, Series) else 1 for branch in self.branches)

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every layer call in order, branch by branch."""
        found: list[Call] = []
        for branch in self.branches:
            found += branch.calls if isinstance(branch, Series) else (branch,)
        return tuple(found)

    @property
    def scale_text(self) -> str:
        """How the scale is written: nothing for the mean, `@sum` for the sum, else `@` and repr."""
        if self.scale == 1 / len(self.branches):
            return ""
        return "@sum" if self.scale == 1 else f"@{self.scale!r}"

    @cached_property
    def _text(self) -> str:
        alone = len(self.branches) == 1
        return (str(self.branches[0]) if alone else group_text(self.branches)) + self.scale_text

    def __str__(self) -> str:
        return self._text


@lru_cache(maxsize=4096)
def _call(layer: int, half: Half | None = None) -> Call:
    return Call(layer, half)


def _branch(written: ReadCall | ReadSeries) -> Branch:
    if isinstance(written, ReadSeries):
        return Series(_steps(written.steps))
    return _call(*written)


def _steps(written: Iterable[ReadStep]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for branches, scale, times in written:
        steps += [Step.read(branches, scale)] * times
    return tuple(steps)


def _step(single: Any) -> Step:
    if isinstance(single, Step):
        return single
    try:
        return Step.of(single if isinstance(single, _BRANCH) else operator.index(single))
    except TypeError:
        raise PlanError(f"{single!r} is no step; give layers, calls, series or steps") from None


def _in_a_row(steps: Iterable[Any]) -> tuple[Step, ...]:
    """What is given as steps, as steps; a series that stands alone, unscaled, is its steps."""
    found: list[Step] = []
    for step in map(_step, steps):
        alone = step.branches[0] if len(step.branches) == 1 and step.scale == 1 else None
        found += alone.steps if isinstance(alone, Series) else (step,)
    return tuple(found)


def _simplest(branch: Branch) -> Branch:
    """A series of one layer that is not scaled is that layer."""
    if isinstance(branch, Series) and branch.size == 1 and branch.steps[0].scale == 1:
        return branch.steps[0].branches[0]
    return branch


def _check_size(calls: int) -> None:
    if calls > MAX_CALLS:
        raise PlanError(f"the plan makes too many layer calls; {AT_MOST}")


@dataclass(frozen=True, repr=False, init=False)
class Plan(Shown):
    """The steps to run, in order, over a model of n_layers; `str` gives the canonical text.

    A sequence of steps: `len`, iteration, `plan[3]`; `plan[:3]`, `plan + other` and `plan * 2` are
    plans. Raises PlanError if there is no step, if a layer does not exist, or above 100,000 calls.

    Args:
        steps: Each a Step, a layer, one of its halves as a Call, or a Series; or a text as in
            `parse`.
        n_layers: The number of layers of the model, or the model itself.

    Example:
        >>> plan = Plan([0, 1, 2], 4)
        >>> str(plan + plan[1:]), len(plan * 2)
        ('0-2 1 2', 6)
    """

    steps: tuple[Step, ...]
    n_layers: int

    def __init__(
        self, steps: Iterable[Step | Branch | SupportsIndex] | str, n_layers: Layers
    ) -> None:
        n_layers = check_n_layers(n_layers)
        given = _steps(read(steps, n_layers)) if isinstance(steps, str) else steps
        object.__setattr__(self, "steps", _in_a_row(given))
        object.__setattr__(self, "n_layers", n_layers)
        if not self.steps:
            raise PlanError("a plan without steps runs nothing; name at least one layer")
        _check_size(sum(step.size for step in self.steps))
        if (highest := max(self.layer_calls)) >= self.n_layers:
            raise PlanError(
                f"plan {quote(str(self))} asks for layer {highest}; {allowed(self.n_layers)}"
            )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @overload
    def __getitem__(self, place: int) -> Step: ...
    @overload
    def __getitem__(self, place: slice) -> "Plan": ...
    def __getitem__(self, place: int | slice) -> "Step | Plan":
        if isinstance(place, slice):
            return Plan(self.steps[place], self.n_layers)
        return self.steps[place]

    def __add__(self, other: "Plan") -> "Plan":
        if not isinstance(other, Plan):
            return NotImplemented
        return Plan(self.steps + Plan.of(other, self.n_layers).steps, self.n_layers)

    def __mul__(self, times: int) -> "Plan":
        try:
            times = operator.index(times)
        except TypeError:
            return NotImplemented
        if not 1 <= times <= MAX_CALLS // len(self.calls):
            raise PlanError(f"a plan cannot be run {times} times over; {AT_MOST} calls, and one")
        return Plan(self.steps * times, self.n_layers)

    __rmul__ = __mul__

    @classmethod
    def parse(cls, text: str, n_layers: Layers) -> "Plan":
        """Read a plan such as `0-8 (9-20)*3 21-29`.

        Args:
            text: Steps with white space between them; any form that says the same makes an equal
                plan.
            n_layers: The number of layers of the model, or the model itself.

        Returns:
            The plan; its `str` is the canonical text.

        Raises:
            PlanError: for what is no plan of that model, saying where, and what would fit.

        Example:
            >>> Plan.parse("0 1 2 3 (5 | 4)", n_layers=6)
            Plan.parse('0-3 (4|5)', n_layers=6)
        """
        return cls(text, n_layers)

    @classmethod
    def of(cls, plan: "Plan | str", n_layers: Layers) -> "Plan":
        """`plan` as a value, whether it is one or a text.

        Args:
            plan: A plan, or a text as in `parse`.
            n_layers: The number of layers of the model, or the model itself.

        Returns:
            The plan itself, or the one that was read.

        Raises:
            PlanError: for what is no plan, and for a plan of another number of layers.

        Example:
            >>> Plan.of("0-2 5", n_layers=6).layer_calls
            (0, 1, 2, 5)
        """
        n_layers = check_n_layers(n_layers)
        if is_whole(plan):  # a column of plans of one layer, which CSV takes for numbers
            plan = str(plan)
        if isinstance(plan, str):
            return cls.parse(plan, n_layers)
        if not isinstance(plan, Plan):
            raise PlanError(f"{plan!r} is no plan; give one, or a text such as '0-4 6-8'")
        if plan.n_layers != n_layers:
            raise PlanError(f"plan {str(plan)!r} is for {plan.n_layers} layers, not {n_layers}")
        return plan

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every layer call in order, one per slot."""
        return tuple(call for step in self.steps for call in step.calls)

    @property
    def layer_calls(self) -> tuple[int, ...]:
        """The layer index of every call in order, one per slot."""
        return tuple(call.layer for call in self.calls)

    @property
    def depth(self) -> int:
        """The number of steps; a group counts once."""
        return len(self.steps)

    def describe(self) -> str:
        """Say the plan in words, with the number of calls and the layers never called.

        Returns:
            One sentence, without a full stop.

        Example:
            >>> print(Plan.parse("0 2", n_layers=3).describe())
            layer 0; then layer 2: 2 layer calls in 2 steps, 3 layers; never called: 1
        """
        phrases = in_words(self.steps)
        called = set(self.layer_calls)
        missing = [layer for layer in range(self.n_layers) if layer not in called]
        return (
            f"{phrases}: {count(len(self.calls), 'layer call')} in {count(self.depth, 'step')}, "
            f"{count(self.n_layers, 'layer')}; "
            + (f"never called: {list_in_words(missing)}" if missing else "every layer called")
        )

    def __str__(self) -> str:
        return text_of(self.steps)

    def __repr__(self) -> str:
        return f"Plan.parse({str(self)!r}, n_layers={self.n_layers})"


def check_n_layers(n_layers: Layers) -> int:
    """The number of layers, that of a model too.

    Args:
        n_layers: A number, or a model.

    Returns:
        The number.

    Raises:
        PlanError: unless a plan can call each of so many layers once.

    Example:
        >>> check_n_layers(30)
        30
    """
    try:
        number = _count(n_layers)
    except AttributeError:
        number = None
    if not is_whole(number):
        raise PlanError(
            f"{str(n_layers)[:60]!r} is no number of layers, and no model that has some"
        )
    number = int(number)
    if not 1 <= number <= MAX_CALLS:
        raise PlanError(f"n_layers={number} is not a number of layers; 1..{MAX_CALLS:,} fits")
    return number


def _count(n_layers: Any) -> Any:
    """A number as it is; of a model, the layers that it has outside of any plan."""
    if hasattr(n_layers, "cfg"):
        return n_layers.cfg.n_layers
    if hasattr(n_layers, "config"):
        return n_layers.config.get_text_config().num_hidden_layers
    return n_layers
