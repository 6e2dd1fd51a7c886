"""Read a probe's items for lm-eval: the ``custom_dataset`` that the YAML files name.

lm-eval imports this file by its path, so it must not use relative imports. The items go straight
into memory: no hub, no cache folder, and the working directory does not matter.
"""

import json
from pathlib import Path

from datasets import Dataset


def load(name: str, **_: object) -> dict[str, Dataset]:
    """Return ``{"test": items}`` of the JSONL file beside this module; other metadata is unused."""
    lines = Path(__file__).with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return {"test": Dataset.from_list([json.loads(line) for line in lines])}
