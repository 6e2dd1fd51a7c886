"""Where a plan may be written down: tried before a model is loaded for it."""

import re
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..storage import writable_file

_CONFIG = "config.json"


def refuse_folder(folder: Path, force: bool) -> None:
    """Raise OutputError where a checkpoint cannot be put, before anything is computed for it."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise OutputError(f"{folder} is not empty; give another folder, or force=True")
        if not (folder / _CONFIG).is_file():
            raise OutputError(
                f"{folder} holds something else than a checkpoint, which is never replaced; "
                "give another folder"
            )
    place = folder.resolve()
    if place == Path.cwd():
        raise OutputError(f"{folder} is where you are; give a folder of its own")
    writable_file(place.with_name(f".{place.name}"))  # beside which it is written


def refuse_shard(shard: Any) -> None:
    """Raise OutputError for what is no size of a file."""
    if not isinstance(shard, str) or not re.fullmatch(r"[1-9]\d{0,5}(KB|MB|GB)", shard):
        raise OutputError(f"shard={shard!r} is no size of a file; write it as 500MB or 5GB")


def refuse_file(path: Path, force: bool) -> None:
    """Raise OutputError where a file is there already, or could not be written."""
    if writable_file(path).exists() and not force:
        raise OutputError(f"{path} exists; give another name, or force=True")
