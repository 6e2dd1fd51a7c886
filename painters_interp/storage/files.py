"""Files that appear whole or not at all, and places tried before there is anything to write."""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..errors import OutputError

_ABANDONED_AFTER = 3600.0  # seconds since a file was begun in it


def writable_folder(path: str | Path) -> Path:
    """Make the folder if need be and return it.

    Meant for the start of a long run, so that it does not fail at its end.

    Args:
        path: The folder's name; folders on the way to it are made, too.

    Returns:
        The folder.

    Raises:
        OutputError: if nothing can be written there.

    Example:
        >>> writable_folder(tmp_path / "runs" / "mine").is_dir()
        True
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try(folder)
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error) from error
    return folder


@contextmanager
def making(path: str | Path) -> Iterator[Path]:
    """A writable folder, for a start that may fail: then what was made of it goes again.

    Args:
        path: The folder's name; folders on the way to it are made, too.

    Yields:
        The folder.

    Raises:
        OutputError: if nothing can be written there.

    Example:
        >>> with making(tmp_path / "made" / "kept") as folder:
        ...     folder.is_dir()
        True
    """
    folder = Path(path).absolute()
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield writable_folder(path)
    except BaseException:
        for one in new:
            with suppress(OSError):  # not there, or not empty
                one.rmdir()
        raise


def writable_file(path: str | Path) -> Path:
    """Whether a file could be written somewhere now; makes and leaves nothing.

    Args:
        path: The file's name; folders on the way to it may be missing.

    Returns:
        `path`.

    Raises:
        OutputError: with the reason, if it could not.

    Example:
        >>> writable_file(tmp_path / "new" / "figure.pdf").name
        'figure.pdf'
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise OutputError(f"{str(path)!r} names no file; give the name of one")
    try:
        with suppress(FileNotFoundError):
            path.stat()  # raises where no file of this name could be
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        _try(folder)
    except (OSError, ValueError) as error:
        raise _unwritable(path.parent, error) from error
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    return path


def room_for(size: int, path: str | Path) -> None:
    """Raise OutputError where a disk has no room for so many bytes in `path`, which may be missing.

    Meant for the start of a long run, so that it does not fail at its end.

    Args:
        size: Bytes that are to be written.
        path: A folder, or what is to become one.

    Raises:
        OutputError: with what there is, and what it takes.

    Example:
        >>> room_for(1, tmp_path / "new")
    """
    place = Path(path).resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < size:
        raise OutputError(
            f"{path} has room for {free / 1e6:,.0f} MB, and what is to be kept there takes "
            f"{size / 1e6:,.0f} MB; give a folder on another disk"
        )


def part_of(folder: Path) -> Path:
    """A hidden folder beside `folder`, of a name of its own, to become it once it is whole."""
    return folder.with_name(f".{folder.name}-{uuid4().hex}")


def remove_abandoned(folder: Path) -> None:
    """Remove what killed runs have left of `folder`; what is young may be of one that is running.

    Meant for the start of the next one: nobody else knows of it.
    """
    named = re.compile(rf"\.{re.escape(folder.name)}-[0-9a-f]{{32}}")
    for part in folder.parent.iterdir():
        with suppress(FileNotFoundError):  # its process has just finished
            if named.fullmatch(part.name) and time.time() - part.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(part, ignore_errors=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which takes its place when the block succeeds.

    Args:
        folder: What is to appear; what stands there is gone only when the new one is whole. Where
            it is a link, what it leads to is replaced.

    Yields:
        The folder to write into.

    Raises:
        OutputError: if it cannot be written; then what stood there stands there still.

    Example:
        >>> with replacing(tmp_path / "results") as part:
        ...     _ = (part / "note.txt").write_text("whole")
        >>> [path.name for path in (tmp_path / "results").iterdir()]
        ['note.txt']
    """
    place = folder.resolve()
    writable_folder(place.parent)
    part = part_of(place)
    gone = place.with_name(f"{part.name}.old")  # never taken for what was not finished
    try:
        remove_abandoned(place)
        part.mkdir()
        yield part
        with suppress(FileNotFoundError):
            place.replace(gone)
        try:
            part.replace(place)
        except OSError:
            if gone.exists():
                gone.replace(place)
            raise
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror or error
        raise OutputError(
            f"{folder} cannot be written ({reason}); nothing is left of it"
        ) from error
    finally:
        for left in (part, gone):
            shutil.rmtree(left, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file so that nobody ever sees a part of it.

    Args:
        path: Its name, in a folder that is there; a file of that name is replaced.
        content: All of it.

    Returns:
        `path`.

    Raises:
        OutputError: if it cannot be written.

    Example:
        >>> write_whole(tmp_path / "note.txt", b"whole").read_bytes()
        b'whole'
    """
    write_together({path: content})
    return path


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files of one folder: all of them, or none where one does not fit on the disk.

    They appear one right after the other, each whole. Raises OutputError.
    """
    # Named after nobody: several threads, processes and machines may be writing the same files.
    halves = {path: path.with_name(f".{uuid4().hex}.part") for path in contents}
    folder = next(iter(contents)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, half in halves.items():
            _write_through(half, contents[path])
        for path, half in halves.items():
            half.replace(path)
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error) from error
    finally:
        for half in halves.values():
            with suppress(OSError, ValueError):
                half.unlink()


def _write_through(path: Path, content: bytes) -> None:
    # On the disk before it gets its name: after a power cut, a file may else be there and empty.
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _try(folder: Path) -> None:
    # Permission bits do not settle it: read-only mounts and full disks show only on writing.
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"0")


def _unwritable(folder: Path, error: OSError | ValueError) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    full = getattr(error, "errno", None) == errno.ENOSPC
    where = "on another disk, or make room" if full else "that you may write in"
    return OutputError(f"cannot write in {folder}: {reason}; give a folder {where}")
