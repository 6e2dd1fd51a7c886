"""`painters similarity`: how alike the residual streams at all depths are."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_MODEL,
    Device,
    Dtype,
    Limit,
    Model,
    documents,
    folder_for,
    listed,
    loaded,
)


def similarity(
    model: Model = DEFAULT_MODEL,
    texts: Annotated[
        Path | None,
        typer.Option(help="A text file, one document a line; built-in passages if none."),
    ] = None,
    measures: Annotated[str, typer.Option(help="Comma separated.")] = "cosine,cosine_flat",
    plan: Annotated[str | None, typer.Option(help="Compare the states of a plan's steps.")] = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/<model> if not given.")] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Heatmaps of how alike the residual streams at all depths are (Fig. 3)."""
    from .. import comparison, report
    from ..models import identity
    from ..store import write_table
    from ..tables import provenance

    folder = folder_for(model, out)
    bridge = loaded(model, device, dtype)
    read = documents(bridge, texts)[:limit]
    found = comparison.similarity(bridge, read, listed(measures), plan)
    facts = provenance(**identity(bridge), texts=len(read), plan=plan)
    matrices = found.table()
    write_table(matrices, folder / "similarity", facts)
    for path in report.draw(folder, ["similarity"]):
        print(path)
