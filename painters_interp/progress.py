"""The one progress bar: whoever opens it first owns it, everybody further in advances the same one.

Work is counted in token-layer calls (one layer applied to one token), the only unit that
forward passes, similarity and scoring share, so that the time left is right across stages.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm.auto import tqdm

Advance = Callable[[int], object]

_open: ContextVar[tqdm | None] = ContextVar("open_progress_bar", default=None)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show `what` is running and yield a function that advances the bar by token-layer calls.

    Inside another `progress` the outer bar is advanced and only its label changes.
    Set the environment variable TQDM_DISABLE=1 for silence.
    """
    outer = _open.get()
    if outer is not None:
        outer.set_description(what)
        yield outer.update
        return
    with tqdm(desc=what, total=total, unit="call", unit_scale=True, dynamic_ncols=True) as bar:
        token = _open.set(bar)
        try:
            yield bar.update
        finally:
            _open.reset(token)
