"""Checkpoints as transformers writes them, and what is said where they cannot be written."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OutputError, out_of_memory
from .quiet import first_line, without_bars


def write_checkpoint(model: Any, tokenizer: Any, folder: Path, **asked: Any) -> None:
    """Write a plain model, and a tokenizer if there is one, into a folder that is there.

    `asked` is of `save_pretrained`.
    """
    with without_bars():
        model.save_pretrained(folder, **asked)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        # safetensors writes 0600, which would lock others out.
        shutil.copymode(folder / "config.json", file)


@contextmanager
def said_of(place: str, then: str) -> Iterator[None]:
    """Whatever ends the writing as an OutputError: of `place`, and what is left or to be done."""
    try:
        yield
    except Exception as error:  # a full disk is an OSError, a SafetensorError, or a bare one
        if out_of_memory(error) or isinstance(error, OutputError):
            raise
        raise OutputError(f"{place} cannot be written ({first_line(error)}); {then}") from error
