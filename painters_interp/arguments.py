"""What callers hand over: brought into the form that a function works with, or refused by name."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from math import isfinite
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from .errors import SettingError

P = ParamSpec("P")
R = TypeVar("R")
_LISTS = ("Sequence", "Iterable")
LARGEST_SEED = 2**32 - 1  # of NumPy's older generators, which scikit-learn draws from


def several(value: Any, *kinds: type) -> list[Any]:
    """`value` as a list: one value of `kinds` (a text, unless told) where a list of them is meant.

    Example:
        >>> several("cola"), several(["cola", "sst2"])
        (['cola'], ['cola', 'sst2'])
    """
    return [value] if isinstance(value, kinds or (str,)) else list(value)


def counting(**least: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function refuse what is no whole number where it counts, before it does anything.

    Args:
        least: by the name of a setting, the smallest number that it takes. A setting called
            `limit` may be a share, too; None fits where it is the default, and a list of numbers
            where each of them fits.

    Returns:
        What to put above the function, which raises SettingError from then on.

    Example:
        >>> drawn = counting(seed=0)(lambda seed=0: seed)
        >>> drawn(3), drawn(seed=4)
        (3, 4)
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        form = signature(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = form.bind_partial(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # which says what is wrong, by its own name
            for name in least.keys() & given.arguments.keys():
                value, declared = given.arguments[name], form.parameters[name]
                if value is not None or declared.default is not None:
                    lists = any(kind in str(declared.annotation) for kind in _LISTS)
                    given.arguments[name] = _checked(name, value, least[name], lists)
            return function(*given.args, **given.kwargs)

        return checked

    return decorated


def _checked(name: str, value: Any, least: int, lists: bool) -> Any:
    if lists and isinstance(value, Iterable) and not isinstance(value, str):
        return [whole(name, one, least) for one in value]
    return amount(name, value) if name == "limit" else whole(name, value, least)


def is_whole(value: Any) -> bool:
    """Whether something is a whole number: no bool, which Python takes for one.

    Example:
        >>> is_whole(1), is_whole(True), is_whole(1.0)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole(name: str, value: Any, least: int) -> int:
    """A setting that counts something. Raises SettingError for anything but such a number.

    Example:
        >>> whole("batch_size", 8, 1)
        8
    """
    if not is_whole(value):
        raise SettingError(f"{name}={_shown(value)} is no whole number; give {least} or more")
    number = int(value)
    if number < least:
        raise SettingError(f"{name}={_shown(value)} is too small; give {least} or more")
    if "seed" in name and number > LARGEST_SEED:
        raise SettingError(f"{name}={_shown(value)} is too large; give {LARGEST_SEED} or less")
    return number


def amount(name: str, value: Any) -> int | float:
    """How many of something there may be, or below 1 which share of them.

    Raises SettingError for what is neither.

    Example:
        >>> amount("limit", 32), amount("limit", 0.5)
        (32, 0.5)
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(float(value)):
        raise SettingError(
            f"{name}={_shown(value)} is no number; give 1 or more, or a share between 0 and 1"
        )
    number = float(value)
    if number <= 0:
        raise SettingError(
            f"{name}={_shown(value)} leaves nothing; give 1 or more, or a share between 0 and 1"
        )
    if number < 1:
        return number
    if not number.is_integer():
        raise SettingError(f"{name}={_shown(value)} is neither a whole number nor a share below 1")
    return int(number)


def _shown(value: Any) -> str:
    large = isinstance(value, int) and value.bit_length() > 256
    text = "a number of very many digits" if large else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
