"""What a study takes: token-layer calls, and the seconds that such calls take here and now."""

from collections.abc import Callable, Iterable
from functools import partial


class Work(int):
    """Token-layer calls of one kind of work; `seconds` are found by a trial, when they are asked.

    Sums and multiples of it are work again: a head costs more than a layer, and so on.
    """

    seconds: Callable[[], float]

    def __new__(cls, calls: int, seconds: Callable[[], float]) -> "Work":
        self = super().__new__(cls, calls)
        self.seconds = seconds
        return self

    def __add__(self, other: int) -> "Work":
        if not isinstance(other, Work):
            if other:
                raise TypeError(f"{other} calls of what? say how long they take: Work(calls, ...)")
            return self  # where a sum begins
        return Work(int(self) + int(other), partial(_both, self, other))

    __radd__ = __add__

    def __mul__(self, times: int) -> "Work":
        return Work(int(self) * times, partial(_share, self, times))

    __rmul__ = __mul__

    def __floordiv__(self, parts: int) -> "Work":
        return Work(int(self) // parts, partial(_share, self, 1 / parts))

    def alike(self, calls: int) -> "Work":
        """So many calls of the same kind, for which no trial of their own is made."""
        return Work(calls, partial(_share, self, calls / int(self)))


def total(parts: Iterable[Work]) -> Work:
    """All of them together."""
    return sum(parts, Work(0, float))


def _both(one: Work, other: Work) -> float:
    return one.seconds() + other.seconds()


def _share(work: Work, times: float) -> float:
    return times * work.seconds()
