"""`painters figures`: what lies in a folder, drawn again and summed up."""

from pathlib import Path
from typing import Annotated

import typer

from .options import path_of


def figures(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=path_of, metavar="FOLDER", help="A folder that `painters run` wrote."
        ),
    ],
) -> None:
    """Redraw all figures of a folder from its tables; needs no model."""
    from .. import report

    for path in report.draw(folder):
        print(path)
    for sentence in report.summary(folder):
        print(sentence)
