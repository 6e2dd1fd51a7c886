"""The one progress bar: whoever opens it first owns it, everybody further in advances the same one.

Work is counted in token-layer calls (one layer applied to one token), the only unit that
forward passes, similarity and scoring share, so that the time left is right across stages.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm

Advance = Callable[[int], object]

# Seconds between two states of a bar that goes to a file, where each is written behind the last.
_IN_A_FILE = 60.0
# What a trial lasts at least, in seconds, so that what else runs here is in it; and its runs.
_LONG, _MOST = 0.5, 20
_IN_A_NOTEBOOK = tqdm is not tqdm_asyncio

_open: ContextVar[tqdm | None] = ContextVar("open_progress_bar", default=None)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show `what` is running and yield a function that advances the bar by token-layer calls.

    Inside another `progress` the outer bar is advanced and only its label changes. Where nobody
    watches (output to a file), a line a minute is written.
    Set the environment variable TQDM_DISABLE=1 for silence.
    """
    outer = _open.get()
    if outer is not None:
        outer.set_description(what, refresh=_watched())
        yield outer.update
        return
    pace = {} if _watched() else {"mininterval": _IN_A_FILE, "maxinterval": _IN_A_FILE}
    looks = {"unit": "call", "unit_scale": True, "dynamic_ncols": True}
    looks["disable"] = bool(os.environ.get("TQDM_DISABLE"))  # the notebook's bar does not look
    with tqdm(desc=what, total=total, **looks, **pace) as bar:
        token = _open.set(bar)
        try:
            yield bar.update
        finally:
            _open.reset(token)


def _watched() -> bool:
    """Whether the bar is on a terminal, or a notebook's own."""
    return _IN_A_NOTEBOOK or sys.stderr.isatty()


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
