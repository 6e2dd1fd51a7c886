"""Tables on disk: rows as CSV or Parquet beside a JSON of what produced them.

Files appear whole or not at all, and the same table gives the same bytes. Tables of results are
CSV, which every program reads; tables of items, a hundred times longer, are Parquet. The JSON also
holds a digest of the rows, so that a file that was cut short or changed is found when it is read,
and the types of a CSV, so that a label "01" stays one.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import OutputError, TableError
from ..notices import warn
from .encoding import decoded, encoded, facts_as_json, facts_from_json
from .files import writable_file, write_together

FORMATS = (".csv", ".parquet")
# The entry of the JSON that is about the file; the others say what produced it.
_TABLE = "table"
# Others may be writing the same table: how often a writer tries to leave rows and JSON of its own,
# and how long, in seconds, both must have been as they are before a reader calls them wrong.
_TURNS = 200
_PATIENCE, _PAUSE = 0.1, 0.005


def write_table(table: pd.DataFrame, path: str | Path, provenance: Mapping[str, Any]) -> Path:
    """Write a table and, beside it, a `.json` with what produced it.

    Values and types read back exactly; the row index is not written. A table of this package is
    written over, whoever wrote it; other files never are.

    Args:
        table: Any table of texts, numbers, truths and gaps.
        path: Parquet where it ends in `.parquet`, else CSV; the ending may be left out (dots in a
            name, such as `smollm2-1.7b`, stay).
        provenance: Facts that JSON can hold, such as `provenance` makes.

    Returns:
        The table's path, with its ending.

    Raises:
        OutputError: if it cannot be written.
        TableError: for a table that would not come back.

    Example:
        >>> write_table(table, tmp_path / "other.parquet", {"seed": 0}).name
        'other.parquet'
    """
    path = writable(path)
    content, types = encoded(table, path.suffix)
    about = {"sha256": digest_of(content), "rows": len(table), "types": types}
    if _TABLE in provenance and not _is_about(provenance[_TABLE]):
        raise TableError(f"{_TABLE!r} is what the JSON calls the file; give that fact another name")
    facts = facts_as_json({**provenance, _TABLE: about})
    for _ in range(_TURNS):
        write_together({_beside(path): facts, path: content})
        if _settled(path):
            return path
    raise OutputError(f"others keep writing {path}; give every writer a file of its own")


def writable(path: str | Path) -> Path:
    """Where `write_table` would write, if it could be done now.

    Meant for the start of a long run; makes and leaves nothing.

    Args:
        path: As given to `write_table`.

    Returns:
        `path` with its ending.

    Raises:
        OutputError: for a folder that cannot be written, a folder of that name, and files there
            that are not of this package.

    Example:
        >>> writable(tmp_path / "smollm2-1.7b").name
        'smollm2-1.7b.csv'
    """
    path = _named(path)
    beside = _beside(path)
    for file in (writable_file(path), writable_file(beside)):
        if file.exists() and not _is_ours(beside):
            raise OutputError(
                f"{file} exists and is no table of this package; give another name, or move it away"
            )
    for suffix in FORMATS:
        other = path.with_suffix(suffix)
        if suffix != path.suffix and beside.exists() and other.exists():
            raise OutputError(f"{beside} belongs to {other}; give another name")
    return path


def read_table(path: str | Path, verify: bool = True) -> pd.DataFrame:
    """Read a table that `write_table` wrote, with the same types.

    Args:
        path: As given to `write_table`.
        verify: Whether a table that is not what was written is refused; else it is read as it is.

    Returns:
        The table. One without its JSON is read with a warning, and its types are guessed.

    Raises:
        TableError: naming the file, if it is missing, or if it is not what was written: cut short,
            changed, or damaged.

    Example:
        >>> written = write_table(table, tmp_path / "mine", {})
        >>> read_table(written).equals(table)
        True
    """
    path = _named(path)
    content, facts = _pair(path, verify)
    about = facts.get(_TABLE) if facts is not None else None
    if about is None and verify:
        warn(f"{path} is read unchecked: no {_beside(path).name} with a digest lies beside it")
    if about is not None and verify and about.get("sha256") != digest_of(content):
        raise TableError(
            f"{path} was changed or cut short after it was written: it is not what "
            f"{_beside(path).name} beside it has the digest of; write it again, or pass "
            "verify=False to read it as it is"
        )
    try:
        return decoded(content, path.suffix, None if about is None else about.get("types"))
    except Exception as error:  # a damaged Parquet file has as many as it has bytes
        raise TableError(f"{path} is not a table of this package: {error}") from error


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What produced the table at `path`.

    Args:
        path: The table's, as given to `write_table`.

    Returns:
        The facts that were given when it was written.

    Raises:
        TableError: if there are none beside it, or if they are not what was written.

    Example:
        >>> written = write_table(table, tmp_path / "mine", {"seed": 0})
        >>> read_provenance(written)
        {'seed': 0}
    """
    beside = _beside(_named(path))
    facts = _facts(beside)
    if facts is None:
        raise TableError(f"no provenance at {beside}; write_table puts it beside a table")
    return {name: fact for name, fact in facts.items() if name != _TABLE}


def remove_table(path: Path) -> None:
    """Remove rows and JSON, whatever is in them: for files that are named by what they hold.

    Args:
        path: The table's, with its ending.

    Example:
        >>> remove_table(write_table(table, tmp_path / "mine", {}))
        >>> [*tmp_path.glob("mine.*")]
        []
    """
    for file in (path, _beside(path)):
        file.unlink(missing_ok=True)


def digest_of(content: bytes) -> str:
    """The SHA-256 of some bytes.

    Args:
        content: The bytes.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest_of(b"painters")[:8]
        '01174897'
    """
    return hashlib.sha256(content).hexdigest()


def _pair(path: Path, verify: bool) -> tuple[bytes, dict[str, Any] | None]:
    """A table's rows and its JSON: of one writer, unless nobody is writing and they are not."""
    still = 0.0
    pair = _content(path), _facts(_beside(path), strict=verify)
    while verify and not _agree(*pair) and still < _PATIENCE:
        time.sleep(_PAUSE)
        before, pair = pair, (_content(path), _facts(_beside(path)))
        still = still + _PAUSE if pair == before else 0.0
    return pair


def _settled(path: Path) -> bool:
    """Whether the rows on disk are those that the JSON on disk is about."""
    try:
        return _agree(_content(path), _facts(_beside(path)))
    except TableError:  # gone again, or written over with something else
        return True


def _agree(content: bytes, facts: dict[str, Any] | None) -> bool:
    about = (facts or {}).get(_TABLE)
    return about is None or about.get("sha256") == digest_of(content)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TableError(f"no table at {path}; give the file that was written") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error


def _facts(beside: Path, strict: bool = True) -> dict[str, Any] | None:
    try:
        facts = facts_from_json(beside.read_bytes())
        if not isinstance(facts.get(_TABLE, {}), dict):
            raise ValueError(f"its entry {_TABLE!r} is of something else")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if not strict:
            return None
        raise TableError(
            f"{beside} is not what was written beside a table ({error}); write the table again, "
            "or read it with verify=False"
        ) from error
    return facts


def _is_ours(beside: Path) -> bool:
    """Whether a JSON was written by `write_table`, now or before there were digests."""
    try:
        facts = _facts(beside) or {}
    except TableError:
        return False
    packages = facts.get("packages")
    return _is_about(facts.get(_TABLE)) or (
        isinstance(packages, dict) and "painters_interp" in packages
    )


def _is_about(entry: Any) -> bool:
    """Whether this is an entry that `write_table` made, as it is where a JSON was read whole."""
    return isinstance(entry, dict) and "sha256" in entry


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _named(path: str | Path) -> Path:
    path = Path(path)
    if path.name in ("", ".."):
        raise OutputError(f"{str(path)!r} names no table; give the name of a file")
    return path if path.suffix in FORMATS else path.with_name(f"{path.name}.csv")
