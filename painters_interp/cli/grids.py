"""`painters grid`: pairs of layers swapped, replaced, moved; blocks repeated, dropped."""

from typing import Annotated

import typer

from ..errors import PaintersError
from ..terminal import say
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
    Texts,
    Venue,
    layers_in,
    loaded,
    look_of,
)
from .outputs import folder_of_tables, write_one

# What one types, and the experiment it stands for.
KINDS = {
    "swaps": "swaps",
    "replacements": "replacements",
    "moves": "moves",
    "repeats": "block_repeats",
    "windows": "dropped_windows",
}


def _kind(word: str) -> str:
    if word not in KINDS:
        raise PaintersError(f"no grid {word!r}; there are {', '.join(KINDS)}")
    return word


def grid(
    kind: Annotated[str, typer.Argument(callback=_kind, help=f"{', '.join(KINDS)}.")],
    model: Model = DEFAULT_MODEL,
    texts: Texts = None,
    limit: Documents = 16,
    layers: Annotated[
        str | None, typer.Option(help="Only these layers, such as '0-29' or '0 5 10'.")
    ] = None,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Map what pairs of layers do: KL to the intact model, in nats per token.

    Example: painters grid replacements --layers 10-20
    """
    from .. import experiments
    from ..damage import kl_to_intact
    from ..models import identity
    from ..plans import shared_calls
    from ..storage import provenance

    look = look_of(venue, formats)
    name, lines = KINDS[kind], lines_of(texts)
    folder = folder_of_tables(model, out, [name])
    bridge = loaded(model, device, dtype)
    n_layers = len(bridge.blocks)
    table = experiments.GRIDS[name](n_layers, layers_in(layers, n_layers))
    if len(table) == 1:
        raise PaintersError(f"a grid of {kind} needs more layers than these; give two or more")
    read = documents(lines, limit)
    plans = experiments.plans(table)
    calls = f"{shared_calls(plans):,} shared layer calls"
    print(f"{len(plans)} plans, {calls}, {len(read)} documents")
    found = kl_to_intact(bridge, table, read)
    facts = provenance(**identity(bridge), texts=len(read), layers=layers)
    write_one(name, found, folder, facts, look)
    altered = found[found["variant"] != "intact"].sort_values("kl")
    for word, row in (("least", altered.iloc[0]), ("most", altered.iloc[-1])):
        say(f"{word} changed by {row['plan']}: {row['kl']:.3g} nats per token", hang=4)
    print(f"median {altered['kl'].median():.3g} nats per token")
