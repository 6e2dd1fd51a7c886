"""`painters ...`: the rooms composed for the command line, and nothing else.

Heavy libraries are imported inside the commands, so that help answers at once.
"""

import sys

import typer
from typer.exceptions import TyperException

from ..errors import PaintersError
from .basics import check, fetch, figures, models, plan
from .comparing import similarity
from .grids import grid
from .patching import patch
from .running import run
from .scoring import evaluate

app = typer.Typer(
    name="painters",
    help="Ask a pretrained transformer what each of its layers does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (fetch, models, plan, run, similarity, evaluate, figures, check):
    app.command()(command)
patch.command()(grid)
app.add_typer(patch, name="patch")


def main() -> None:
    """Run the command line: a user's error is one line on stderr and exit code 2."""
    try:
        status = app(standalone_mode=False)
    except PaintersError as error:
        status = _failed(str(error))
    except TyperException as error:
        status = _failed(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    sys.exit(status)


def _failed(message: str) -> int:
    print(f"painters: {' '.join(message.split())}", file=sys.stderr)
    return 2
