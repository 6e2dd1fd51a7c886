"""`painters figures`: what lies in a folder, drawn again and summed up."""

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import say
from .options import ALL_FORMATS, Formats, Venue, look_of, path_of


def figures(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=path_of, metavar="FOLDER", help="A folder that `painters run` wrote."
        ),
    ],
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Redraw all figures of a folder from its tables; needs no model.

    Example: painters figures runs/smollm2-135m --venue icml --formats pdf
    """
    from .. import report

    for path in report.draw(folder, **look_of(venue, formats)):
        print(path)
    for sentence in report.summary(folder):
        say(sentence, hang=4)
