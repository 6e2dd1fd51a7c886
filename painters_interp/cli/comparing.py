"""`painters similarity`: how alike the residual streams at all depths are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from ..comparison import Similarity

_MEASURES = "cosine,cosine_centered,cosine_flat,cka,block_influence,update_ratio"


def similarity(
    model: Model = DEFAULT_MODEL,
    texts: Annotated[
        Path | None,
        typer.Option(help="A text file, one document a line; built-in passages if none."),
    ] = None,
    measures: Annotated[str, typer.Option(help="Comma separated, or 'all'.")] = _MEASURES,
    plan: Annotated[str | None, typer.Option(help="Compare the states of a plan's steps.")] = None,
    other: Annotated[
        str | None, typer.Option(help="Another model, whose states are the columns.")
    ] = None,
    center: Annotated[
        str, typer.Option(help="Mean of cosine_centered: of all 'texts' or of each 'document'.")
    ] = "texts",
    massive: Annotated[
        str, typer.Option(help="'keep' massive activations, 'drop' them, or show 'both'.")
    ] = "keep",
    keep_first: Annotated[
        bool, typer.Option("--keep-first", help="Count each text's first token, too.")
    ] = False,
    nulls: Annotated[
        bool, typer.Option("--nulls", help="Also shuffled tokens, and the model untrained.")
    ] = False,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of samples, shuffles and random weights.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/<model> if not given.")] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Heatmaps and curves of how alike the residual streams at all depths are (Fig. 3)."""
    from .. import comparison, report
    from ..measures import BETWEEN_STATES, MEASURES
    from ..models import identity, random_weights
    from ..storage import provenance

    folder = folder_for(model, out)
    bridge = loaded(model, device, dtype)
    read = documents(bridge, texts)[:limit]
    names = [*MEASURES] if measures == "all" else listed(measures)
    second = None if other is None else loaded(other, device, dtype)
    options: dict[str, Any] = {
        "skip_first": not keep_first,
        "center": center,
        "massive": massive,
        "seed": seed,
    }
    facts = provenance(**identity(bridge), texts=len(read), plan=plan, other=other, options=options)
    found = comparison.similarity(bridge, read, names, plan, second, **options)
    written = _written(found, folder, "similarity", facts)
    between = [name for name in names if name in BETWEEN_STATES]
    if nulls and between:
        shuffled = comparison.similarity(
            bridge, read, between, plan, comparison.SHUFFLED, **options
        )
        written += _written(shuffled, folder, "similarity_shuffled", facts)
        blank = random_weights(bridge, seed)
        untrained = comparison.similarity(blank, read, between, plan, **options)
        written += _written(untrained, folder, "similarity_random", facts)
    for path in report.draw(folder, written):
        print(path)


def _written(found: "Similarity", folder: Path, name: str, facts: dict[str, object]) -> list[str]:
    """Write what is not empty; return the names of the tables that have a figure."""
    from ..storage import write_table

    tables = {name: found.table()}
    if name == "similarity":
        tables |= {"depth": found.curves(), "massive": found.massive}
    filled = {stem: table for stem, table in tables.items() if len(table)}
    for stem, table in filled.items():
        write_table(table, folder / stem, facts)
    return [stem for stem in filled if stem != "massive"]
