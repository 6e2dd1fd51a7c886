"""Options that several commands share, and what they stand for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PaintersError, TaskError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DEFAULT_MODEL = "smollm2-135m"

Model = Annotated[
    str, typer.Option(help="smollm2-135m, a hub id, a checkpoint directory or a .gguf file.")
]
Tasks = Annotated[
    str | None,
    typer.Option(help="lm-eval tasks, comma separated; the built-in probes if not given."),
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of local task data: DATA/<task>/<split>.jsonl.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Items per task.")]
Shots = Annotated[int | None, typer.Option(min=0, help="Examples in the prompt.")]
Seed = Annotated[int, typer.Option(help="Seed of the examples in the prompt.")]
Store = Annotated[
    Path | None,
    typer.Option(help="Folder where results are kept; what is there is not run again."),
]
Dtype = Annotated[str | None, typer.Option(help="float32 (default), bfloat16, float16, float64.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; a GPU if there is one.")]


def loaded(model: str, device: str | None, dtype: str | None) -> "TransformerBridge":
    """The model that the options name."""
    from ..models import load_model

    return load_model(model, device=device, dtype=dtype)


def folder_for(model: str, out: Path | None) -> Path:
    """Where the results of a model go: `out`, or runs/<model>; made, and known to be writable."""
    from ..storage import writable_folder

    return writable_folder(out or Path("runs") / model.rstrip("/").split("/")[-1])


def listed(given: str) -> list[str]:
    """The names in a comma-separated option."""
    return [name.strip() for name in given.split(",") if name.strip()]


def chosen(given: str, known: Sequence[str], noun: str) -> list[str]:
    """Names out of `known`; PaintersError for another one, or none."""
    names = listed(given)
    for name in names:
        if name not in known:
            raise PaintersError(f"no {noun} {name!r}; there are {', '.join(known)}")
    if not names:
        raise PaintersError(f"no {noun} named; there are {', '.join(known)}")
    return names


def task_names(given: str | None, written: bool = False) -> list[str]:
    """The tasks that an option names; if it is not given the built-in probes, or written ones."""
    from ..evaluation import PROBES, WRITTEN_PROBES

    names = [*(WRITTEN_PROBES if written else PROBES)] if given is None else listed(given)
    if not names:
        raise TaskError(f"no task named; built in: {', '.join((*PROBES, *WRITTEN_PROBES))}")
    return names


def documents(bridge: "TransformerBridge", path: Path | None) -> list[str]:
    """One text a line of `path`, or the passages of the first built-in task."""
    if path is None:
        from ..evaluation import PROBES, prepare

        return prepare(bridge, PROBES[:1]).texts
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PaintersError(f"cannot read texts from {path}: {error}; give a UTF-8 file") from error
    return [line for line in lines if line.strip()]
