"""The one progress bar: whoever opens it first owns it, everybody further in advances the same one.

Work is counted in token-layer calls (one layer applied to one token), the only unit that
forward passes, similarity and scoring share, so that the time left is right across stages.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

Advance = Callable[[int], object]

# Seconds between two states of a bar that goes to a file, where each is written behind the last.
_IN_A_FILE = 60.0
# What a trial lasts at least, in seconds, so that what else runs here is in it; and its runs.
_LONG, _MOST = 0.5, 20
_WIDE = 100  # characters of a notebook's bar

_open: ContextVar[tqdm | None] = ContextVar("open_progress_bar", default=None)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show `what` is running and yield a function that advances the bar by token-layer calls.

    Inside another `progress` the outer bar is advanced and only its label changes. In a notebook it
    is text that is gone when all is done. Where nobody watches (output to a file), a line a minute
    is written.
    Set the environment variable TQDM_DISABLE=1 for silence.
    """
    outer = _open.get()
    if outer is not None:
        outer.set_description(what, refresh=_watched(outer))
        yield outer.update
        return
    with _bar(what, total) as bar:
        token = _open.set(bar)
        try:
            yield bar.update
        finally:
            _open.reset(token)


@contextmanager
def up_to(total: int, advance: Advance) -> Iterator[Advance]:
    """Yield a function by which `advance` is told `total` in all, whatever the function is told.

    What comes above it, as pads are read, is left out; what is missing follows at the end.
    """
    left = total

    def advanced(calls: int) -> None:
        nonlocal left
        calls = min(calls, left)
        left -= calls
        advance(calls)

    yield advanced
    advance(left)


def _bar(what: str, total: int) -> tqdm:
    """A bar for where we are: a notebook, a terminal, or a file."""
    looks: dict[str, Any] = {"desc": what, "total": total, "unit": "call", "unit_scale": True}
    looks["disable"] = bool(os.environ.get("TQDM_DISABLE"))  # as it is now, not at the import
    if _in_a_notebook():
        return _InANotebook(**looks, file=io.StringIO(), leave=False, ncols=_WIDE)
    if not sys.stderr.isatty():
        looks |= {"mininterval": _IN_A_FILE, "maxinterval": _IN_A_FILE}
    return tqdm(**looks, dynamic_ncols=True)


def _in_a_notebook() -> bool:
    """Whether what is written goes to a cell of a notebook, which has a kernel."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")


class _InANotebook(tqdm):  # type: ignore[misc]
    """A bar as the text of one output, which is replaced as it advances and empty at the end.

    Written to a stream, all its states would be saved with the notebook; a widget would be saved as
    something that is dead when it is opened again.
    """

    _output: Any = None

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar, or a text in its place."""
        from IPython.display import display

        shown = str(self) if msg is None else msg
        data = {"text/plain": shown} if shown else {}
        if self._output is None:
            self._output = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._output.update(data, raw=True)


def _watched(bar: tqdm) -> bool:
    """Whether somebody sees the bar move: on a terminal, or in a notebook."""
    return isinstance(bar, _InANotebook) or sys.stderr.isatty()


@contextmanager
def silent() -> Iterator[None]:
    """No bar is shown inside, and none advanced: for trials that are no part of the work."""
    token = _open.set(tqdm(disable=True))
    try:
        yield
    finally:
        _open.reset(token)


def trial(work: Callable[[], object]) -> float:
    """Seconds that something takes: the mean of some runs, after one that warms up.

    A mean, for what else is running here will go on; one run where that takes long.
    """
    start = time.perf_counter()
    work()
    if (first := time.perf_counter() - start) > 2 * _LONG:
        return first
    start, runs, passed = time.perf_counter(), 0, 0.0
    while passed < _LONG and runs < _MOST:
        work()
        runs, passed = runs + 1, time.perf_counter() - start
    return passed / runs
