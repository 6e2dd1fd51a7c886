"""Which files a folder holds: their digests, and whether they are still what was written."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..storage import write_whole
from .quiet import first_line

NAME = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Note the digest of every file of a finished folder beside them."""
    files = {path.name: _entry(path) for path in sorted(folder.iterdir()) if path.name != NAME}
    write_whole(folder / NAME, f"{json.dumps(files, indent=1)}\n".encode())


def verify(folder: Path, name: str) -> None:
    """Raise ModelError, naming the file, unless a folder holds what was written there.

    Files whose size and time of change are as they were are not read again.
    """
    for file, entry in _entries(folder, name).items():
        path = folder / file
        if not path.is_file():
            raise _other(folder, name, f"{file} is missing")
        if _stamp(path) != entry["stamp"] and content_hash(path) != entry["sha256"]:
            raise _other(folder, name, f"{file} has been changed")


def content_hash(*files: Path) -> str:
    """The sha256 of the files' contents one after the other, as hexadecimal text."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def fingerprint(folder: Path) -> str | None:
    """The revision of a checkpoint that has no name for it: a hash of its config and weights."""
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if not weights or not (folder / "config.json").is_file():
        return None
    return f"sha256:{content_hash(folder / 'config.json', *weights)[:16]}"


def stamps(folder: Path) -> list[tuple[str, list[int]]]:
    """What tells the files of a folder from others of the same names, without reading them."""
    try:
        return sorted((file.name, _stamp(file)) for file in folder.iterdir())
    except OSError:
        return []


def _entries(folder: Path, name: str) -> dict[str, Any]:
    try:
        entries = json.loads((folder / NAME).read_text())
        return {
            file: {"stamp": [*e["stamp"]], "sha256": e["sha256"]} for file, e in entries.items()
        }
    except FileNotFoundError as error:
        raise _other(folder, name, f"it has no {NAME}") from error
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise _other(folder, name, f"{NAME} cannot be read: {first_line(error)}") from error


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": content_hash(path), "stamp": _stamp(path)}


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _other(folder: Path, name: str, reason: str) -> ModelError:
    return ModelError(
        f"{folder} is not {name} as it was converted ({reason}); delete that folder, and "
        f"`painters fetch {name}` makes it again"
    )
