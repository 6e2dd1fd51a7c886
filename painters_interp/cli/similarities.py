"""`painters similarity`: how alike the residual streams at all depths are."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .documents import documents, lines_of
from .options import (
    ALL_FORMATS,
    DEFAULT_MODEL,
    Device,
    Documents,
    Dtype,
    Formats,
    Model,
    Out,
    Plan,
    Seed,
    Texts,
    Venue,
    chosen,
    loaded,
    look_of,
    model_of,
    word_option,
)
from .outputs import FIGURES, folder_of_tables, write_all

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from ..comparison import Similarity

_MEASURES = "cosine,cosine_centered,cosine_flat,cka,block_influence,update_ratio"
CENTERS, VIEWS = ("texts", "document"), ("keep", "drop", "both")
_TABLES = ("similarity", "depth", "massive")
_NULLS = ("similarity_shuffled", "similarity_random")


def similarity(
    model: Model = DEFAULT_MODEL,
    texts: Texts = None,
    measures: Annotated[str, typer.Option(help="Comma separated, or 'all'.")] = _MEASURES,
    plan: Plan = None,
    other: Annotated[
        str | None,
        typer.Option(
            parser=model_of, metavar="<model>", help="Another model, whose states are the columns."
        ),
    ] = None,
    center: Annotated[
        str, word_option(CENTERS, "Mean of cosine_centered: of all 'texts' or of each 'document'.")
    ] = "texts",
    massive: Annotated[
        str, word_option(VIEWS, "'keep' massive activations, 'drop' them, or show 'both'.")
    ] = "keep",
    keep_first: Annotated[
        bool, typer.Option("--keep-first", help="Count each text's first token, too.")
    ] = False,
    nulls: Annotated[
        bool, typer.Option("--nulls", help="Also shuffled tokens, and the model untrained.")
    ] = False,
    limit: Documents = None,
    out: Out = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Heatmaps and curves of how alike the residual streams at all depths are (Fig. 3).

    Example: painters similarity --texts my_documents.txt --measures cosine,cka
    """
    from .. import comparison
    from ..execution import as_plan
    from ..measures import BETWEEN_STATES, MEASURES
    from ..models import identity, random_weights

    names = [*MEASURES] if measures == "all" else chosen(measures, [*MEASURES], "measure")
    lines, look = lines_of(texts), look_of(venue, formats)
    folder = folder_of_tables(model, out, (*_TABLES, *(_NULLS if nulls else ())))
    bridge = loaded(model, device, dtype)
    steps = None if plan is None else as_plan(plan, bridge)
    second = None if other is None else loaded(other, device, dtype)
    read = documents(lines, limit)
    options: dict[str, Any] = {
        "skip_first": not keep_first,
        "center": center,
        "massive": massive,
        "seed": seed,
    }
    asked = {"texts": len(read), "plan": plan, "options": options}
    found = comparison.similarity(bridge, read, names, steps, second, **options)
    tables = _named(found, bridge, second)
    columns = None if second is None else identity(second)
    facts = dict.fromkeys(tables, _facts(bridge, asked | {"columns": columns}, other))
    between = [name for name in names if name in BETWEEN_STATES]
    if nulls and between:
        shuffled = comparison.similarity(
            bridge, read, between, steps, comparison.SHUFFLED, **options
        )
        tables["similarity_shuffled"] = shuffled.table()
        facts["similarity_shuffled"] = _facts(bridge, asked, comparison.SHUFFLED)
        blank = random_weights(bridge, seed)
        untrained = comparison.similarity(blank, read, between, steps, **options)
        tables["similarity_random"] = untrained.table()
        trained = {fact: identity(bridge)[fact] for fact in ("model", "revision")}
        facts["similarity_random"] = _facts(blank, asked | {"in_place_of": trained}, None)
    for path in write_all(tables, folder, facts, look):
        if path.suffix in FIGURES:
            print(path)


def _named(
    found: "Similarity", bridge: "TransformerBridge", second: "TransformerBridge | None"
) -> dict[str, "pd.DataFrame"]:
    """The tables that are not empty; where two models are compared, with both their names."""
    tables = dict(zip(_TABLES, (found.table(), found.curves(), found.massive), strict=True))
    if second is not None:
        models = {"source": str(bridge.cfg.model_name), "target": str(second.cfg.model_name)}
        tables["similarity"] = tables["similarity"].assign(**models)
    return {name: table for name, table in tables.items() if len(table)}


def _facts(bridge: "TransformerBridge", asked: dict[str, Any], other: str | None) -> dict[str, Any]:
    from ..models import identity
    from ..storage import provenance

    return provenance(**identity(bridge), **asked, other=other)
