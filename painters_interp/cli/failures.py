"""What goes wrong, as a line in the terms of the command line, and an exit status."""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from ..errors import PaintersError, out_of_memory
from ..notices import PaintersWarning

_LONGEST = 600  # characters of a message; a name of thousands would hide what is wrong with it
_PACKAGE = str(Path(__file__).parent.parent)
# What the functions call something, and what it is called here.
_TERMS = (
    (r", or pass verify=False to read it as it is", ""),
    (r" or give a function[^;]*", ""),
    (r"answers=\(right, wrong\)(?: for each prompt)?", "--right and --wrong"),
    (r"answers=(?:right|answer|\(right,\))(?: for each prompt)?", "--right"),
    (r"answers=\S*", "--right and --wrong"),
    (r"trust_remote_code=True", "--trust"),
    (r"give another (folder|name), or force=True", r"give another \1, or --force"),
    (r"painters\.recipe, or --recipe", "--recipe"),
    (r"leave (that|the) `with applied[^;]*close\(\)[^;]*", "give the model that the recipe names"),
    (r"; close\(\) it first", "; give the model that the recipe names"),
    (r"data=", "--data "),
    (r"--data \(--data \)", "--data"),
    (r"\bat=", "--at "),
    (r"\blayers=", "--layers "),
    (r"\bshard=", "--shard-size "),
    (r"\b(cache|center|massive|metrics?|limit|seed|store|tasks|plan|dtype|device)=", r"--\1 "),
    (r"\btext= ", "--text "),
    (r"\b(calls|time|method|objective|batch|length|repeats)=", r"--\1 "),
    (r"\b(source_positions|num_fewshot)=", lambda found: f"--{found[1].replace('_', '-')} "),
)  # fmt: skip


def status_of(error: BaseException) -> int:
    """Say what went wrong in a line on stderr, and return the exit status that goes with it."""
    _let_go_of_stdout()
    match error:
        case KeyboardInterrupt() | typer.Abort():
            _say("interrupted")
            return 130
        case SystemExit() | BrokenPipeError():
            return 0 if getattr(error, "code", 2) == 0 else 2  # whoever read has read enough
        case TyperException():
            _say(_of_usage(error))
        case PaintersError():
            _say(in_terms_of_options(str(error)))
        case OSError():
            name = f"{error.filename}: " if error.filename else ""
            _say(f"{name}{error.strerror or error}")
        case RuntimeError() | MemoryError() if out_of_memory(error):
            told = str(error).partition("\n")[0] or "it was not said for what"
            _say(f"memory ran out ({told}); ask for less at once, or another --dtype or --device")
        case _:
            if os.environ.get("PAINTERS_TRACEBACK"):
                raise error
            _say(f"{type(error).__name__}: {error} (unforeseen; PAINTERS_TRACEBACK=1 shows where)")
    return 2


def _of_usage(error: TyperException) -> str:
    """What is wrong with a command line, what a missing word means, and where all are told."""
    context, param = (getattr(error, name, None) for name in ("ctx", "param"))
    said = error.format_message().rstrip(".")
    if said.startswith("Missing") and (meaning := getattr(param, "help", None)):
        said += f" ({meaning.rstrip('.')})"
    return said if context is None else f"{said}; see `{context.command_path} --help`"


def in_terms_of_options(message: str) -> str:
    """A message of the functions, with arguments by the names of their options."""
    for pattern, option in _TERMS:
        message = re.sub(pattern, option, message)
    return message


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Within this, what the package warns of is a line, without the code that did."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, *rest: Any, **named: Any
    ) -> None:
        if issubclass(category, PaintersWarning) or filename.startswith(_PACKAGE):
            _say(in_terms_of_options(str(message)))
        else:
            usual(message, category, filename, *rest, **named)

    with warnings.catch_warnings():
        usual, warnings.showwarning = warnings.showwarning, show
        yield


def _say(message: str) -> None:
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    with suppress(OSError):
        if line:  # the help that a command without arguments prints is message enough
            print(f"painters: {line}", file=sys.stderr, flush=True)


def _let_go_of_stdout() -> None:
    """Write out what was printed; where nobody reads it, or there is no room, it goes nowhere."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
