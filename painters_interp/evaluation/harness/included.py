"""Folders of a user's own lm-eval tasks, and the code that they would run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import yaml
from lm_eval.tasks import TaskManager

from ...arguments import several
from ...errors import TaskError

Include = str | Path | Sequence[str | Path] | None
_STOCK = Path(lm_eval.__file__).parent
# A template that does more than show a document's fields.
_REACHING = re.compile(r"\{[{%][^}]*(__|\battr\b|\bimport\b)")
# Settings that fetch and run code of others.
_FETCHING = ("trust_remote_code", "hf_evaluate", "unsafe_code")


class _Function(str):
    """The name behind a `!function` tag."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads a task's YAML and imports nothing."""


def _function(loader: Any, node: Any) -> _Function:
    return _Function(loader.construct_scalar(node))


_Loader.add_constructor("!function", _function)


def folders_of(include: Include) -> list[Path]:
    """The folders that are searched for tasks, lm-eval's own aside. Raises TaskError."""
    folders = [Path(one).expanduser() for one in several(include, str, Path)] if include else []
    for folder in folders:
        if not folder.is_dir():
            raise TaskError(f"{folder} is no folder of tasks; --include (include=) needs one")
    return [folder.resolve() for folder in folders]


def is_file_of_task(name: str | Path) -> bool:
    """Whether this is the path of a task's YAML file rather than a name."""
    return Path(name).suffix in (".yaml", ".yml")


def name_in(path: str | Path) -> tuple[str, Path]:
    """The task or group that a YAML file defines, and the folder it lies in. Raises TaskError."""
    path = Path(path).expanduser().resolve()
    fields = _read(path)
    name = fields.get("group") or fields.get("task")
    if not isinstance(name, str):
        raise TaskError(f"{path} defines no task; its field `task` names it")
    return name, path.parent


def unreadable(folders: Sequence[Path]) -> str | None:
    """The first file among the tasks of `folders` that is no YAML, and why; lm-eval skips it."""
    for path in (path for folder in folders for path in sorted(folder.glob("**/*.yaml"))):
        try:
            _read(path)
        except TaskError as error:
            return str(error)
    return None


def refuse_code(manager: TaskManager, name: str, folders: Sequence[Path]) -> None:
    """Raise TaskError if a task out of `folders`, or of a group in them, would run code."""
    for path in _files(manager, name, folders, set()):
        for setting in _code(_read(path)):
            raise TaskError(
                f"task {name!r} runs code of its own: {path} {setting}; read it, and pass --trust "
                "(trust=True) if you trust it"
            )


def _files(
    manager: TaskManager, name: str, folders: Sequence[Path], seen: set[str]
) -> Iterator[Path]:
    """The YAML files that loading a task or group reads out of `folders`, and what they include."""
    entry = manager.task_index.get(name)
    if entry is None or name in seen:
        return
    seen.add(name)
    if entry.yaml_path and any(folder in entry.yaml_path.resolve().parents for folder in folders):
        yield from _included(entry.yaml_path.resolve())
    for child in (*sorted(entry.tags), *_children((entry.cfg or {}).get("task"))):
        yield from _files(manager, child, folders, seen)


def _children(members: Any) -> Iterator[str]:
    for member in members if isinstance(members, list) else ():
        if isinstance(member, str):
            yield member
        elif isinstance(member, Mapping):
            yield from (member[k] for k in ("task", "group") if isinstance(member.get(k), str))
            yield from _children(member.get("task"))


def _included(path: Path) -> Iterator[Path]:
    if _STOCK in path.parents:
        return
    yield path
    further = _read(path).get("include") or ()
    for other in [further] if isinstance(further, str) else further:
        yield from _included((path.parent / other).resolve())


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=_Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise TaskError(f"{path} cannot be read as the YAML of a task: {reason}") from error
    if not isinstance(content, dict):
        raise TaskError(f"{path} cannot be read as the YAML of a task: it has no fields")
    return content


def _code(value: Any) -> Iterator[str]:
    """What in a definition would run code, in words."""
    match value:
        case _Function():
            yield f"names the function {value}"
        case str():
            if _REACHING.search(value):
                yield f"has a template that reaches into objects ({value[:60]!r})"
        case dict():
            yield from (f"sets {key}" for key in _FETCHING if value.get(key))
            for item in value.values():
                yield from _code(item)
        case list():
            for item in value:
                yield from _code(item)
