"""Warnings, which point at the user's own line that led to them."""

import inspect
import os
import warnings
from pathlib import Path
from types import FrameType

from .errors import in_a_line

NOT_FINITE = (
    "the model computes numbers that are not finite; load it in float32, or look at the layer that "
    "writes them"
)
_OURS = (str(Path(__file__).parent) + os.sep,)
_STANDARD = str(Path(os.__file__).parent) + os.sep
_INSTALLED = ("site-packages", "dist-packages")


class PaintersWarning(UserWarning):
    """What this package warns of."""


def warn(message: str) -> None:
    """Warn, pointing at the line outside of this package, and of the libraries it goes through.

    However many functions, decorators, contexts and hooks lie between. Where libraries alone called
    it is the first line outside of this package.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("something is odd")
        >>> "doctest" in caught[0].filename
        True
    """
    warnings.warn(in_a_line(message), PaintersWarning, stacklevel=1 + _callers())


def _callers() -> int:
    """How many frames lie between `warn` and the line that it points at, that one counted."""
    outside = 0
    here = inspect.currentframe()
    frame: FrameType | None = here.f_back if here else None
    depth = 0
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS):
            outside = outside or depth
            if not name.startswith(_STANDARD) and not any(part in name for part in _INSTALLED):
                return depth
        frame, depth = frame.f_back, depth + 1
    return outside


def say_nan(what: str, wrong: int, total: int, noun: str, why: str = NOT_FINITE) -> None:
    """Warn, if any are wrong, that `what` is NaN for so many of `total` things called `noun`."""
    if wrong:
        warn(f"{what} is NaN for {wrong} of {total} {noun}: {why}")
