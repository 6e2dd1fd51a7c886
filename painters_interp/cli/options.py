"""The options of all commands: each is called the same, and means the same, wherever it is."""

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import plans
from ..arguments import LARGEST_SEED
from ..errors import PaintersError, PlanError, TaskError
from ..plans import MAX_CALLS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DEFAULT_MODEL = "smollm2-135m"
_LONGEST_NAME = 255  # bytes, on every file system that is in use

held_models = ExitStack()  # planned models that recipes open

_MOST = 10**9  # items, positions


def path_of(text: str) -> Path:
    """The path that was typed, `~` and `~name` expanded. Raises PaintersError."""
    if not text.strip() or "\0" in text:
        raise PaintersError(f"{text!r} is no path; name a file or a folder")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise PaintersError(f"{text}: nobody here is called so; write the path in full") from error
    if long := [name for name in path.parts if len(name.encode()) > _LONGEST_NAME]:
        raise PaintersError(
            f"a name of {len(long[0].encode()):,} bytes ({long[0][:40]}...) is too long for a "
            f"file; {_LONGEST_NAME} fit"
        )
    return path


def model_of(text: str) -> str:
    """A model's name as typed; where it is a path, one that can exist."""
    return str(path_of(text)) if text.startswith("~") or len(text) > _LONGEST_NAME else text


def amount_of(text: str | float) -> float:
    """A number of items, or below 1 a share of them, as lm-eval reads its --limit."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 < number < 1:
        return number
    if not (1 <= number <= _MOST and number == int(number)):
        raise PaintersError(
            f"--limit {text!r}: give a whole number of items, or a share such as 0.1"
        )
    return int(number)


def folder_of(text: str) -> Path:
    """The folder that was typed, which must be there. Raises PaintersError."""
    path = path_of(text)
    if not path.is_dir():
        raise PaintersError(f"there is no folder {path}")
    return path


Model = Annotated[
    str,
    typer.Option(
        parser=model_of,
        metavar="<model>",
        help="smollm2-135m, minilm-l6, a hub id, a checkpoint directory or a .gguf file.",
    ),
]


def _readable(text: str | None) -> str | None:
    """A plan that some model could have: no model is needed to find a slip of the pen."""
    if text is not None:
        plans.Plan.parse(text, n_layers=MAX_CALLS)
    return text


def _apart(texts: list[str] | None) -> list[str] | None:
    """Plans that stand behind one another, with semicolons between them; what holds none stays."""
    if not texts:
        return texts
    parted = ([part.strip() for part in text.split(";") if part.strip()] for text in texts)
    found = [plan for text, some in zip(texts, parted, strict=True) for plan in some or [text]]
    for plan in found:
        _readable(plan)
    return found


# A plan is --plan behind every command that takes one; where plans are what a command is about,
# they may stand as its words, too.
_PLAN = "A plan in quotes, such as '0-12 17-29'"
Plan = Annotated[str | None, typer.Option("--plan", callback=_readable, help=f"{_PLAN}.")]


Plans = Annotated[
    list[str] | None,
    typer.Option(
        "--plan",
        "--plans",
        help=f"{_PLAN}; give it again for another, or put a semicolon between.",
        callback=_apart,
    ),
]
PlanWord = Annotated[
    str | None,
    typer.Argument(metavar="[PLAN]", callback=_readable, help=f"{_PLAN}; or with --plan."),
]
PlanWords = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PLAN]...", help="Plans in quotes; or with --plan.", callback=_apart),
]
Layers = Annotated[
    int, typer.Option("--n-layers", min=1, max=MAX_CALLS, help="Number of layers of the model.")
]
_TASKS = "Tasks, comma separated"
Tasks = Annotated[
    str | None, typer.Option(help=f"{_TASKS}: lm-eval's; the built-in probes if not given.")
]
_LEARNT = "probe_acceptability, cola, sst2, mrpc, qnli, rte, stsb, wnli, your own .csv or .jsonl."
LearntTasks = Annotated[str, typer.Option(help=f"{_TASKS}: {_LEARNT}")]
LearntTask = Annotated[str, typer.Option("--tasks", help=f"{_TASKS}, but one alone: {_LEARNT}")]
Data = Annotated[
    Path | None,
    typer.Option(
        parser=folder_of,
        metavar="<folder>",
        help="Folder of local task data: DATA/<task>/<split>.jsonl.",
    ),
]
Include = Annotated[
    list[Path] | None,
    typer.Option(
        parser=folder_of,
        metavar="<folder>",
        help="Folder of further tasks, as lm-eval's YAML files; may be given again.",
    ),
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code that included tasks name.")]
Chat = Annotated[
    bool, typer.Option("--chat", help="Put prompts into the tokenizer's chat template.")
]
Texts = Annotated[
    Path | None,
    typer.Option(
        parser=path_of,
        metavar="<file>",
        help="A text file, one document a line; built-in passages if none.",
    ),
]
_LIMIT = "At most so many, or below 1 such a share"
Limit = Annotated[
    float | None,
    typer.Option(parser=amount_of, metavar="<number>", help=f"{_LIMIT}: items of each task."),
]
Documents = Annotated[
    float | None,
    typer.Option(parser=amount_of, metavar="<number>", help=f"{_LIMIT}: documents."),
]
New = Annotated[int, typer.Option(min=0, max=10**5, help="Tokens to write, at most.")]
Shots = Annotated[
    int | None,
    typer.Option(min=0, max=_MOST, help="Examples in the prompt; the task's own if none."),
]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of all that is drawn by chance.")]


def out_option(metavar: str, what: str) -> Any:
    """--out, which is where results go: `what` that is for a command."""
    return typer.Option(
        "--out", "-o", parser=path_of, metavar=metavar, help=f"Where results go: {what}"
    )


Out = Annotated[Path | None, out_option("<folder>", "a folder of them; runs/<model> if not given.")]
Store = Annotated[
    Path | None,
    typer.Option(
        parser=path_of,
        metavar="<folder>",
        help="Folder where results are kept; what is there is not run again.",
    ),
]
# Words that rooms know, said here because to ask a room takes seconds.
VENUES = ("neurips", "icml", "iclr", "aaai", "acl", "cvpr", "jmlr", "nature", "slide")
FORMATS = ("pdf", "png", "svg")
DTYPES = ("float32", "bfloat16", "float16", "float64")
CACHES = ("exact", "averaged")
POOLS = ("mean", "last", "first")


def word_option(known: Sequence[str], what: str) -> Any:
    """An option that is one word out of `known`; any other is refused before anything is loaded."""

    def among(param: typer.CallbackParam, word: str | None) -> str | None:
        return word if word is None else one_of(word, known, param.opts[0])

    return typer.Option(callback=among, help=what)


def _formats(text: str) -> str:
    return ",".join(chosen(text, FORMATS, "format"))


Dtype = Annotated[str | None, word_option(DTYPES, "float32 (default), bfloat16, float16, float64.")]
Cache = Annotated[str, word_option(CACHES, "How texts are written: exact or averaged.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        "--device-map",
        help="cpu, cuda, cuda:1, mps; a GPU if there is one. To spread layers over devices: auto, "
        "balanced, balanced_low_0, sequential, or a JSON file that maps modules to devices.",
    ),
]


TableOut = Annotated[
    Path | None,
    out_option("<file>", "OUT.csv and OUT.json, and the figure; only printed if not given."),
]
PlainOut = Annotated[
    Path | None, out_option("<file>", "OUT.csv and OUT.json; only printed if not given.")
]
Venue = Annotated[str | None, word_option(VENUES, f"Whose columns and type: {', '.join(VENUES)}.")]
Formats = Annotated[
    str,
    typer.Option(
        callback=_formats,
        help=f"Of figures, comma separated: {', '.join(FORMATS)}; all if not given.",
    ),
]
ALL_FORMATS = ",".join(FORMATS)


def look_of(venue: str | None, formats: str) -> dict[str, Any]:
    """How figures are to be saved, as arguments of `report.draw`."""
    return {"venue": venue, "formats": listed(formats)}


def plans_named(words: Sequence[str] | None, options: Sequence[str] | None) -> list[str]:
    """The plans that a command line names, each once, with --plan or without."""
    return [*dict.fromkeys((*(words or ()), *(options or ())))]


def plans_of(model: str) -> list[str]:
    """The plan of a recipe, which need not be named again; none of any other model."""
    from ..deployment.recipe_files import read

    path = Path(model).expanduser()
    return [read(path)["plan"]] if path.suffix == ".json" and path.is_file() else []


def plans_in(
    words: Sequence[str] | None, options: Sequence[str] | None, model: str = DEFAULT_MODEL
) -> list[str]:
    """The plans that a command line names, or its recipe. Raises PlanError for none.

    Nothing stands for the model as it is: that is compared with in any case.
    """
    if not (found := plans_named(words, options) or plans_of(model)):
        raise PlanError("no plan; give one in quotes, such as '0-12 17-29'")
    return found


def plan_in(word: str | None, option: str | None, model: str = DEFAULT_MODEL) -> str:
    """The one plan that a command line names, or its recipe. Raises PlanError for none, or two."""
    words, options = ([text] if text is not None else None for text in (word, option))
    found = plans_in(words, options, model)
    if len(found) > 1:
        raise PlanError(f"two plans, {word!r} and --plan {option!r}; give one")
    return found[0]


def computable(device: str | None, dtype: str | None) -> None:
    """Raise PaintersError for a place or a number format that cannot be computed with here."""
    from ..models.device import dtype_of, place_of

    dtype_of(dtype)
    asked = _place(device)
    if "device" in asked and place_of(device).type == "meta":
        raise PaintersError(f"device {device!r} holds no numbers; use cpu, cuda or cuda:N")


def _place(device: str | None) -> dict[str, Any]:
    """One device, or how layers are spread, as arguments of `load_model`. Raises PaintersError."""
    from ..models.placement import WAYS, Placement

    if device in WAYS:
        return {"device_map": device}
    if device is None or not device.endswith(".json"):
        return {"device": device}
    try:
        found = json.loads(path_of(device).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PaintersError(f"{device} cannot be read as a device map: {error}") from error
    if not isinstance(found, dict) or not all(type(v) in (int, str) for v in found.values()):
        raise PaintersError(f'{device} is no device map: {{"model.layers.0": 0, ...}} is one')
    Placement.of(None, found)
    return {"device_map": found}


def loaded(model: str, device: str | None, dtype: str | None) -> "TransformerBridge":
    """The model that the options name; a recipe's is held until the command line is answered."""
    from ..models import StandsForModel, load_model

    computable(device, dtype)
    bridge: Any = load_model(model, dtype=dtype, **_place(device))
    if isinstance(bridge, StandsForModel):
        held_models.callback(bridge.close)
    return bridge


def listed(text: str) -> list[str]:
    """The names in a comma-separated option, each once."""
    return [*dict.fromkeys(name.strip() for name in text.split(",") if name.strip())]


def chosen(text: str, known: Sequence[str], noun: str) -> list[str]:
    """Names out of `known`; PaintersError for another one, or none."""
    names = listed(text)
    for name in names:
        if name not in known:
            raise PaintersError(f"no {noun} {name!r}; there are {', '.join(known)}")
    if not names:
        raise PaintersError(f"no {noun} named; there are {', '.join(known)}")
    return names


def one_of(word: str, known: Sequence[str], option: str) -> str:
    """A word out of `known`; PaintersError for another one."""
    if word not in known:
        raise PaintersError(f"{option} {word!r} is not one of {', '.join(known)}")
    return word


def whole_numbers(text: str | None, option: str) -> list[int] | None:
    """The numbers in a comma-separated option. Raises PaintersError."""
    if text is None:
        return None
    words = listed(text)
    try:
        numbers = [int(word) for word in words if len(word) < 12]
    except ValueError:
        numbers = []
    if not words or len(numbers) < len(words):
        raise PaintersError(f"{option} {text!r} are no whole numbers; write them as 3,4 or -2,-1")
    return numbers


def layers_in(text: str | None, n_layers: int) -> list[int] | None:
    """The layers that '0-29' or '0 5 10' names: nothing but single layers, each once."""
    if text is None:
        return None
    plan = plans.Plan.parse(text, n_layers=n_layers)
    layers = plan.layer_calls
    if plan != plans.Plan.parse(" ".join(map(str, layers)), n_layers=n_layers):
        raise PlanError(
            f"--layers {text!r} says more than which layers; write it as '0-5' or '0 5'"
        )
    if len(set(layers)) < len(layers):
        raise PlanError(f"--layers {text!r} names a layer several times; name each once")
    return list(layers)


def task_names(text: str | None, written: bool = False) -> list[str]:
    """The tasks that an option names; if it is not given the built-in probes, or written ones."""
    from ..evaluation import PROBES, WRITTEN_PROBES

    names = [*(WRITTEN_PROBES if written else PROBES)] if text is None else listed(text)
    if not names:
        raise TaskError(f"no task named; built in: {', '.join((*PROBES, *WRITTEN_PROBES))}")
    return names
