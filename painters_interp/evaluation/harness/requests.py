"""What a task asks of a model: its documents as texts, and all of it as a digest."""

import hashlib
import inspect
import json
import re
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

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


def definition(task: Task) -> str:
    """Digest of how a prepared task turns answers into metrics: its configuration and its code.

    Of a function counts the file that it comes from, for it may call others there.
    """
    config = asdict(task.config)
    for idle in ("custom_dataset", "metadata", "dataset_path", "dataset_name", "dataset_kwargs"):
        config.pop(idle, None)  # the items themselves are in the requests
    text = json.dumps(config, sort_keys=True, default=source_of)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_of(value: Any) -> Any:
    """What tells a function or another object of a configuration from others, as plain values."""
    if isinstance(value, partial):
        return [source_of(value.func), value.args, value.keywords]
    if not callable(value):
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    plain = inspect.unwrap(value)
    code = getattr(plain, "__code__", None)
    if code is None:
        plain = type(plain)
    try:
        file = inspect.getsourcefile(plain)
        content = Path(file).read_bytes() if file else b""
    except (OSError, TypeError):  # typed at a prompt
        content = b""
    names = [getattr(plain, "__qualname__", repr(plain)), _compiled(code)]
    return [*names, hashlib.sha256(content).hexdigest()]


def _compiled(code: Any) -> Any:
    """A function's code, with that of the functions in it."""
    if code is None:
        return None
    return [code.co_code.hex(), [*code.co_names], [_constant(c) for c in code.co_consts]]


def _constant(value: Any) -> Any:
    if hasattr(value, "co_code"):
        return _compiled(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def documents(task: Task) -> dict[int, str]:
    """Each item, by lm-eval's doc_id, as running text: its context and longest continuation."""
    longest: dict[int, str] = {}
    for instance in task.instances:
        text = "".join(part for part in instance.args if isinstance(part, str))
        if len(text) > len(longest.get(instance.doc_id, "")):
            longest[instance.doc_id] = text
    return longest
