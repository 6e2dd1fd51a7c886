"""What a task asks of a model: its documents as texts, and all of it as a digest."""

import hashlib
import inspect
import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from lm_eval.api.task import Task

from ...digests import compiled, enclosed, is_installed, members, named_by, text_digest


def named(task: Task) -> dict[str, str]:
    """What items say of their task: its name, its version, and what was asked."""
    return {
        "task": task.config.task,
        "version": str(task.VERSION),
        "requests": requests_digest(task),
    }


@lru_cache(maxsize=64)
def requests_digest(task: Task) -> str:
    """Digest of every request of a prepared task: its text with all shots, and its document.

    Other data, another limit, other or more shots, or a corrected answer give another one.
    """
    found = hashlib.sha256()
    for instance in task.instances:
        request = [instance.doc_id, instance.idx, instance.args, instance.doc]
        found.update(json.dumps(request, sort_keys=True, default=str).encode())
    return found.hexdigest()[:16]


def definition(task: Task) -> str:
    """Digest of how a prepared task turns answers into metrics: its configuration and its code.

    Of a function counts the file that it comes from, for it may call others there.
    """
    config = asdict(task.config)
    for idle in ("custom_dataset", "metadata", "dataset_path", "dataset_name", "dataset_kwargs"):
        config.pop(idle, None)  # the items themselves are in the requests
    return text_digest(json.dumps(config, sort_keys=True, default=source_of))


def source_of(value: Any) -> Any:
    """What tells a function or another object of a configuration from others, as plain values.

    Of a function that is its code, the file that it comes from, and what it finds when it is
    called: defaults, variables of functions around it, and those of its module that it names.
    """
    return _told(value, frozenset(), [])


def _told(value: Any, within: frozenset[int], known: list[FunctionType | type]) -> Any:
    """`known` are functions and classes that were told before: each once, however many name it."""
    if id(value) in within:
        return "itself"
    told = partial(_told, within=within | {id(value)}, known=known)
    if isinstance(value, partial):
        return [told(value.func), told(value.args), told(value.keywords)]
    if isinstance(value, MethodType):
        return [told(value.__func__), told(value.__self__)]
    if isinstance(value, FunctionType | type):
        if value in known:
            return ["as before", known.index(value)]
        known.append(value)
        return [value.__qualname__, _file_of(value), *map(told, _finds(value))]
    if isinstance(value, Mapping):
        return [[repr(key), told(value[key])] for key in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    # Behind a cached function is one, which is written by name alone.
    return [told(type(value)), told(getattr(value, "__wrapped__", None)), _content(value, told)]


def _finds(value: FunctionType | type) -> list[Any]:
    """The code of a function, and the values that its names have when it is called.

    Functions of another module are known by their file, and so are classes that are installed; of
    others, what they hold.
    """
    if isinstance(value, type):
        return [] if is_installed(value) else [value.__bases__, members(value)]
    values = {
        name: _file_of(other)
        if isinstance(other, FunctionType) and other.__module__ != value.__module__
        else other
        for name, other in named_by(value).items()
        if not isinstance(other, ModuleType)
    }
    given = value.__defaults__, value.__kwdefaults__
    return [compiled(value.__code__), *given, enclosed(value), values]


def _content(value: Any, told: Callable[[Any], Any]) -> Any:
    """What an object holds: as it would be written to a file, or, of what cannot be, by name."""
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # whatever an object, or what it holds, does when it is written
        held = told(getattr(value, "__dict__", {}))
        return [re.sub(r" at 0x[0-9a-f]+", "", repr(value)), held]


def _file_of(value: Any) -> str:
    """A digest of the file that defines a function or class."""
    try:
        file = inspect.getsourcefile(value)
        return hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()
    except (OSError, TypeError):  # typed at a prompt
        return ""


def documents(task: Task) -> dict[int, str]:
    """Each item, by lm-eval's doc_id, as running text: its context and longest continuation."""
    longest: dict[int, str] = {}
    for instance in task.instances:
        text = "".join(part for part in instance.args if isinstance(part, str))
        if len(text) > len(longest.get(instance.doc_id, "")):
            longest[instance.doc_id] = text
    return longest
