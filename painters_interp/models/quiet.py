"""What a user sees while a model is fetched and read: one line, without other libraries' bars."""

from collections.abc import Iterator
from contextlib import contextmanager


def first_line(error: BaseException) -> str:
    """The error's first non-empty line, or its type's name where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__).rstrip(" .:")


@contextmanager
def without_bars() -> Iterator[None]:
    """Switch the bars of transformers off, and back to how they were."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
