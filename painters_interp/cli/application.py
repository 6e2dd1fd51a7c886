"""The commands under their names, and a command line answered by one of them."""

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .comparisons import compare
from .costs import cost
from .deployment import export, latency, per_input, search
from .depths import damage, logit_lens, stitch
from .divergences import kl
from .failures import status_of, warnings_in_a_line
from .figures import figures
from .grids import grid
from .healing import heal
from .learning import classify, readers
from .machine import doctor
from .models import check, fetch, models
from .options import held_models
from .patches import across, effects, residual
from .plans import plan
from .reports import report
from .runs import run
from .scores import evaluate
from .similarities import similarity
from .studies import study
from .sweeps import status, sweep
from .texts import generate


class _NamedFlags:
    """A command whose help names its switches without a type: `--items`, not `--items <bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_bool_flag", False):
                param.metavar = ""
        return params


class _Command(_NamedFlags, TyperCommand):
    """A verb."""


class _Group(_NamedFlags, TyperGroup):
    """A verb that has verbs of its own."""


app = typer.Typer(
    name="painters",
    help="Ask a pretrained transformer what each of its layers does.",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
patch = typer.Typer(
    help="Move streams between runs, or layers between places, and see what they carry.",
    cls=_Group,
    no_args_is_help=True,
)
for command in (
    fetch,
    models,
    plan,
    run,
    study,
    sweep,
    status,
    similarity,
    evaluate,
    generate,
    kl,
    damage,
    logit_lens,
    stitch,
    grid,
    classify,
    readers,
    heal,
    search,
    latency,
    cost,
    per_input,
    export,
    figures,
    report,
    compare,
    check,
    doctor,
):
    app.command(cls=_Command)(command)
for movement in (residual, across, effects):
    patch.command(cls=_Command)(movement)
app.add_typer(patch, name="patch")


def _say_version(asked: bool) -> bool:
    if asked:
        print(f"painters {metadata.version('painters_interp')}")
        raise typer.Exit
    return asked


@app.callback()
def _before(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version."),
    ] = False,
) -> None:
    """What holds for every command."""


def answer(words: Sequence[str]) -> int:
    """Carry out a command line, and return its exit status; a failure is a line on stderr."""
    import sys

    try:
        with warnings_in_a_line(), held_models:
            status = app(list(words), prog_name="painters", standalone_mode=False)
            sys.stdout.flush()
    except BaseException as error:
        return status_of(error)
    return status_of(KeyboardInterrupt()) if status == 130 else int(status or 0)
