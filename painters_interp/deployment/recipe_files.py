"""The small file that a recipe is: what it holds, where it goes; reading one takes no model."""

import json
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .places import refuse_file

FORMAT = "painters_interp recipe"
_FIELDS = {"format", "model", "revision", "dtype", "plan"}


def recipe_file(path: str | Path, force: bool) -> Path:
    """The file that a recipe is written to. Raises OutputError as `refuse_file` does."""
    path = Path(path)
    if path.suffix != ".json" and not path.is_dir():
        path = path.with_name(f"{path.name}.json")
    refuse_file(path, force)
    return path


def read(path: Path) -> dict[str, Any]:
    """What a recipe says: model, revision, dtype and plan. Raises ModelError for other files."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as a recipe: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT or {*facts} != _FIELDS:
        raise ModelError(
            f"{path} is no recipe of this package; painters export --recipe writes one"
        )
    return facts
