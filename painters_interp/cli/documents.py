"""The texts that a command reads: the lines of a file, or built-in passages."""

from math import ceil
from pathlib import Path

from ..errors import PaintersError


def lines_of(path: Path | None) -> list[str] | None:
    """One text a line of the file, without blank ones; None if no file is named.

    Read before a model is loaded. Raises PaintersError, naming the file.
    """
    if path is None:
        return None
    if path.is_dir():
        raise PaintersError(f"cannot read texts from {path}: it is a folder; give a UTF-8 file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PaintersError(f"cannot read texts from {path}: {error}; give a UTF-8 file") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise PaintersError(f"cannot read texts from {path}: it has none; write one a line")
    return texts


def documents(lines: list[str] | None, limit: float | None) -> list[str]:
    """The lines, or the built-in passages; as many as `limit` leaves."""
    if lines is None:
        from ..evaluation import passages

        lines = passages()
    if limit is None:
        return lines
    return lines[: ceil(limit * len(lines)) if limit < 1 else int(limit)]
