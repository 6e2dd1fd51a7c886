"""`painters patch grid`: pairs of layers swapped, replaced, moved; blocks repeated, dropped."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DEFAULT_MODEL, Device, Dtype, Model, documents, folder_for, loaded

# What one types, and the experiment it stands for.
KINDS = {
    "swaps": "swaps",
    "replacements": "replacements",
    "moves": "moves",
    "repeats": "block_repeats",
    "windows": "dropped_windows",
}


def grid(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}.")],
    model: Model = DEFAULT_MODEL,
    texts: Annotated[
        Path | None,
        typer.Option(help="A text file, one document a line; built-in passages if none."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents to read.")] = 16,
    layers: Annotated[
        str | None, typer.Option(help="Only these layers, such as '0-29' or '0 5 10'.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/<model> if not given.")] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Map what pairs of layers do: KL to the intact model, in nats per token."""
    from .. import experiments, report
    from ..damage import kl_to_intact
    from ..errors import PaintersError
    from ..models import identity
    from ..plans import Plan, shared_calls
    from ..storage import provenance, write_table

    if kind not in KINDS:
        raise PaintersError(f"no grid {kind!r}; there are {', '.join(KINDS)}")
    folder = folder_for(model, out)
    bridge = loaded(model, device, dtype)
    read = documents(bridge, texts)[:limit]
    n_layers = len(bridge.blocks)
    some = None if layers is None else Plan.parse(layers, n_layers=n_layers).layer_calls
    table = experiments.GRIDS[KINDS[kind]](n_layers, some)
    plans = experiments.plans(table)
    print(f"{len(plans)} plans, {shared_calls(plans):,} shared layer calls, {len(read)} documents")
    found = kl_to_intact(bridge, table, read)
    facts = provenance(**identity(bridge), texts=len(read))
    print(write_table(found, folder / KINDS[kind], facts))
    for path in report.draw(folder, [KINDS[kind]]):
        print(path)
    altered = found[found["variant"] != "intact"].sort_values("kl")
    for word, row in (("least", altered.iloc[0]), ("most", altered.iloc[-1])):
        print(f"{word} changed by {row['plan']}: {row['kl']:.3g} nats per token")
    print(f"median {altered['kl'].median():.3g} nats per token")
