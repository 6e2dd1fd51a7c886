"""What a task asks of a model: its documents as texts, and all of it as a digest."""

import hashlib
import json
from functools import lru_cache

from lm_eval.api.task import Task


@lru_cache(maxsize=64)
def digest(task: Task) -> str:
    """Digest of every request of a prepared task: its text with all shots, and its document.

    Other data, another limit, other or more shots, or a corrected answer give another one.
    """
    asked = hashlib.sha256()
    for instance in task.instances:
        request = [instance.doc_id, instance.idx, instance.args, instance.doc]
        asked.update(json.dumps(request, sort_keys=True, default=str).encode())
    return asked.hexdigest()[:16]


def documents(task: Task) -> dict[int, str]:
    """Each item, by lm-eval's doc_id, as running text: its context and longest continuation."""
    longest: dict[int, str] = {}
    for instance in task.instances:
        text = "".join(part for part in instance.args if isinstance(part, str))
        if len(text) > len(longest.get(instance.doc_id, "")):
            longest[instance.doc_id] = text
    return longest
