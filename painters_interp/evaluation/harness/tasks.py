"""lm-eval's side: finding tasks and their data, and building their requests.

Prompts and shots are lm-eval's own. Tasks come from the hub, from a local
folder, or from this package (the probes, which need neither).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
from lm_eval.api.task import Task
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.tasks import TaskManager

from ...borrowed.of_lm_eval import with_instances
from ...errors import TaskError
from .builtin import BUILT_IN, probe_folder
from .included import (
    Include,
    folders_of,
    is_file_of_task,
    name_in,
    refuse_code,
    unreadable,
)
from .own import OwnTask
from .process import drawn_with, hub_or_its_cache, quiet_lm_eval, templates_compiled_once
from .rows import json_lines

_TYPES = ("loglikelihood", "multiple_choice", "loglikelihood_rolling", "generate_until")
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def load_tasks(
    names: Sequence[Any],
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    include: Include = None,
    trust: bool = False,
    template: Callable[..., str] | None = None,
) -> list[Task]:
    """lm-eval tasks, by name, by YAML file or as `task` makes them, with their requests built.

    `data` is a folder with one folder per task, holding a `<split>.jsonl` in the layout of the
    task's own data set; without it the hub is asked. `limit` (items per task; below 1 a share)
    and `num_fewshot` mean what they mean in lm-eval. `include` are folders of further tasks, as
    lm-eval's YAML files; what would run code in them is refused without `trust`. `template` turns
    the turns of a chat into a prompt. Raises TaskError.
    """
    if isinstance(names, str) or not names:
        raise TaskError("tasks must be a list of at least one task name")
    for name in names:
        if not isinstance(name, str | Path | OwnTask):
            told = "a table" if isinstance(name, pd.DataFrame) else repr(str(name)[:60])
            raise TaskError(
                f"{told} is no task; give a name, or make one of your items with "
                "painters.task(name, items)"
            )
    names, folders = _by_name(names, folders_of(include))
    named = [name for name in names if isinstance(name, str)]
    beyond = not set(named) <= set(BUILT_IN)
    source = hub_or_its_cache() if beyond and data is None else nullcontext()
    tasks: dict[str, Task] = {}
    with quiet_lm_eval(), templates_compiled_once(), drawn_with(seed), source:
        manager = task_manager(everything=beyond) if not folders else _with(folders, named)
        for name in dict.fromkeys(names):
            if isinstance(name, OwnTask):
                found = [name.build()]
            else:
                if folders and not trust:
                    refuse_code(manager, name, folders)
                found = _found(manager, name, data, folders)
            for task in found:
                # By name, so that a task asked for twice, alone and in its group, is scored once.
                if isinstance(name, OwnTask) and task.config.task in tasks:
                    raise TaskError(f"two tasks are called {task.config.task!r}; rename one")
                tasks[task.config.task] = task
        for task in tasks.values():
            _build(task, limit, num_fewshot, seed, template)
    return list(tasks.values())


def portion(task: Task, items: Collection[int]) -> Task:
    """A task with some of its items, by lm-eval's doc_id; prompts and shots stay as they are."""
    chosen = [instance for instance in task.instances if instance.doc_id in items]
    own: Task = with_instances(task, chosen)
    return own


@lru_cache(maxsize=2)
def task_manager(everything: bool) -> TaskManager:
    """lm-eval's index of tasks: the probes and, if wanted, its own, which takes seconds to read."""
    return TaskManager(include_path=str(probe_folder()), include_defaults=everything)


def _by_name(names: Sequence[Any], folders: Sequence[Path]) -> tuple[list[Any], list[Path]]:
    """Tasks with names for the paths of YAML files, and the folders that they are found in."""
    found, places = [], [*folders]
    for name in names:
        if not isinstance(name, OwnTask) and is_file_of_task(name):
            name, folder = name_in(name)
            places += [] if folder in places else [folder]
        found.append(str(name) if isinstance(name, Path) else name)
    return found, places


def _with(folders: Sequence[Path], names: Sequence[str]) -> TaskManager:
    """An index with the tasks in `folders`, which go before others of their names.

    lm-eval's own, which take seconds to read, are in it where a name needs them.
    """
    places = [probe_folder(), *folders]
    few = TaskManager(include_path=places, include_defaults=False)
    if all(name in few.all_subtasks for name in names):
        return few
    return TaskManager(include_path=places, include_defaults=True)


def _found(
    manager: TaskManager, name: str, data: str | Path | None, folders: Sequence[Path] = ()
) -> list[Task]:
    if name not in manager.task_index:
        close = get_close_matches(name, {*manager.all_tasks, *BUILT_IN}, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"built in: {', '.join(BUILT_IN)}"
        broken = unreadable(folders)
        raise TaskError(f"no task {name!r}; {hint}{f'; {broken}' if broken else ''}")
    spec: str | dict[str, Any] = name
    if data is not None and name not in BUILT_IN:
        entry = manager.task_index[name]
        if "task" not in (entry.cfg or {}) or "group" in entry.cfg:
            raise TaskError(f"{name!r} is a group of tasks; with local data, name its tasks")
        # Inside a group the changes are merged into the registered task; alone they are not.
        spec = {"group": "local", "task": [_local(name, entry.cfg, Path(data) / name)]}
    try:
        return list(manager.load([spec])["tasks"].values())
    except Exception as error:  # each data source has its own errors
        if missing := _missing_package(error):
            raise TaskError(
                f"task {name!r} needs {missing}, which cannot be imported here "
                f"({_first_line(error)}); install a version that has it, or choose another task"
            ) from error
        where = f"the folder {Path(data) / name}" if data else "the hub and its local cache"
        raise TaskError(
            f"task {name!r}: its data could not be read from {where} ({_first_line(error)}). "
            f"Give a folder of local copies with --data (data=), or use a built-in task: "
            f"{', '.join(BUILT_IN)}"
        ) from error


def _missing_package(error: BaseException | None) -> str | None:
    """The module whose import failed, where that is why a task cannot be loaded."""
    while error is not None:
        if isinstance(error, ImportError):
            return error.name or "a package"
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _local(name: str, declared: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What to change in a task's definition so that it reads `folder`; its splits keep their names.

    The files are read into memory: no cache folder, and no guessing of splits from file names.
    """
    splits = {key: declared[key] for key in _SPLITS if declared.get(key)}
    files = {split: folder / f"{split}.jsonl" for split in splits.values()}
    files = {split: path for split, path in files.items() if path.is_file()}
    scored = splits.get("test_split") or splits.get("validation_split")
    if scored not in files:
        raise TaskError(
            f"task {name!r} is scored on {folder / str(scored)}.jsonl, which does not exist; "
            "--data (data=) needs one folder per task, with a file per split"
        )
    changes = {
        "task": name,
        "dataset_path": str(folder),
        "dataset_name": None,
        "dataset_kwargs": None,
        "custom_dataset": partial(_read, files),
    }
    # A task insists on the splits that it names, also those that nothing reads.
    return changes | {key: None for key, split in splits.items() if split not in files}


def _read(files: Mapping[str, Path], /, **_: object) -> dict[str, datasets.Dataset]:
    """The JSON lines of each split as a data set; lm-eval passes the task's metadata along."""
    return {split: datasets.Dataset.from_dict(_columns(path)) for split, path in files.items()}


def _columns(path: Path) -> dict[str, list[Any]]:
    rows = json_lines(path)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _build(
    task: Task,
    limit: int | float | None,
    num_fewshot: int | None,
    seed: int,
    template: Callable[..., str] | None,
) -> None:
    name = task.config.task
    if task.OUTPUT_TYPE not in _TYPES:
        raise TaskError(
            f"task {name!r} is of type {task.OUTPUT_TYPE}; lm-eval's types are {', '.join(_TYPES)}"
        )
    # As in lm-eval: a task that declares zero shots keeps zero.
    if num_fewshot is not None and task.config.num_fewshot != 0:
        task.set_config("num_fewshot", num_fewshot)
    shots = task.config.num_fewshot or 0
    fewshot = task.config.fewshot_config
    if shots and not (task.has_training_docs() or fewshot.split or fewshot.samples):
        raise TaskError(
            f"task {name!r}: {shots} shots would be drawn from the items that are scored, because "
            "the task names no training split or its folder has no train.jsonl"
        )
    task.set_fewshot_seed(seed)
    items = get_sample_size(task, limit)
    if items is not None and items < 1:
        raise TaskError(f"task {name!r}: limit {limit} leaves no items; give a number above 0")
    try:
        # Shots are turns of their own, which is lm-eval's default for chats.
        task.build_all_requests(
            limit=items,
            apply_chat_template=template is not None,
            fewshot_as_multiturn=template is not None,
            chat_template=template,
        )
    except Exception as error:  # templates and samplers have their own errors
        raise TaskError(
            f"task {name!r}: its requests cannot be built with {shots} shots ({_first_line(error)})"
        ) from error
