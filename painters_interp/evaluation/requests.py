"""What a task asks, as a digest: two runs share their items only if it is the same."""

import hashlib
import json

from lm_eval.api.task import Task


def digest(task: Task) -> str:
    """Digest of every request of `task`: its text with all shots, and the item it belongs to.

    Other data, another limit, other or more shots, or a corrected answer give another one.
    """
    asked = hashlib.sha256()
    for instance in task.instances:
        request = [instance.doc_id, instance.idx, instance.args, instance.doc]
        asked.update(json.dumps(request, sort_keys=True, default=str).encode())
    return asked.hexdigest()[:16]
