"""Files of JSON lines, an item each."""

import json
from pathlib import Path
from typing import Any


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, one per line; ValueError, naming the line, for anything else."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        try:
            if line.strip():
                rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path.name}, line {number} is no JSON object") from error
    if not rows:
        raise ValueError(f"{path.name} has no items")
    return rows
