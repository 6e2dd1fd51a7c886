"""Where converted checkpoints are kept, and how a folder appears there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_dir

from ..errors import OutputError
from ..storage.files import part_of, remove_abandoned


def cache_folder() -> Path:
    """The folder of converted checkpoints; the environment variable PAINTERS_CACHE overrides it."""
    return Path(os.environ.get("PAINTERS_CACHE") or user_cache_dir("painters_interp")).expanduser()


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that is renamed to it when the block succeeds.

    A killed run leaves no half-made `folder`. Of two processes making it at once the first
    wins and the other's work is dropped: a lock would do no better, and shared file systems
    of clusters often have none.
    """
    part = part_of(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        part.mkdir()
    except OSError as error:
        raise OutputError(
            f"cache folder {folder.parent} cannot be written ({error.strerror}); "
            "set PAINTERS_CACHE to a folder that can"
        ) from error
    try:
        yield part
        _rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rename(part: Path, folder: Path) -> None:
    try:
        part.replace(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was first, with the same content
            raise
