"""Files that appear whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import OutputError


def writable_folder(path: str | Path) -> Path:
    """Make the folder if need be and return it; OutputError if nothing can be written there.

    Meant for the start of a long run, so that it does not fail at its end.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits do not settle it: read-only mounts and full disks show only on writing.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file so that nobody ever sees a part of it; OutputError if it cannot be written."""
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        half.replace(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    finally:
        with suppress(OSError):
            half.unlink()
    return path


def _unwritable(folder: Path, error: OSError) -> OutputError:
    reason = error.strerror or error
    return OutputError(f"cannot write in {folder}: {reason}; give a folder that you may write in")
