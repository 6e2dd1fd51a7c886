"""`painters report`: a folder of results as one page."""

from pathlib import Path
from typing import Annotated

import typer

from .options import folder_of, out_option


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=folder_of, metavar="FOLDER", help="What `painters run` or `study` wrote."
        ),
    ],
    out: Annotated[
        Path | None, out_option("<file>", "the page; report.html in the folder if not given.")
    ] = None,
) -> None:
    """Put a folder's claims, figures, tables and provenance into one page; needs no model.

    The page opens in any browser without a network, and can be sent as it is.

    Example: painters report runs/smollm2-135m -o report.html
    """
    from ..report import write_page

    print(write_page(folder, out))
