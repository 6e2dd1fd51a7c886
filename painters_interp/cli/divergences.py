"""`painters kl`: how far plans move the predictions."""

from pathlib import Path
from typing import Annotated

import typer

from .documents import documents, lines_of
from .options import (
    DEFAULT_MODEL,
    Device,
    Documents,
    Dtype,
    Model,
    Texts,
    computable,
    loaded,
    path_of,
)
from .outputs import try_table


def kl(
    plans: Annotated[list[str], typer.Argument(help="Plans in quotes, such as '0-12 17-29'.")],
    model: Model = DEFAULT_MODEL,
    texts: Texts = None,
    limit: Documents = 16.0,
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="<file>", help="Also write OUT.csv and OUT.json."),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Say how far plans move the predictions: KL from the intact model, in nats per token.

    Intervals are 95 %, over documents.

    Example: painters kl "0-12 17-29" "0-12 16-13 17-29"
    """
    from ..damage import kl_to_intact
    from ..execution import as_plan
    from ..models import identity
    from ..storage import provenance, write_table

    lines = lines_of(texts)
    if out is not None:
        try_table(out)
    computable(device, dtype)
    bridge = loaded(model, device, dtype)
    chosen = {text: as_plan(text, bridge) for text in plans}
    read = documents(bridge, lines, limit)
    found = kl_to_intact(bridge, chosen, read)
    print(f"{'KL':>8}  {'95 % interval':18}  plan   (nats per token, {len(read)} documents)")
    for row in found.itertuples(index=False):
        interval = f"[{row.kl_low:.3g}, {row.kl_high:.3g}]"
        print(f"{row.kl:8.3g}  {interval:18}  {row.plan}")
    if out is not None:
        facts = provenance(**identity(bridge), texts=len(read), documents=texts and str(texts))
        print(write_table(found, out, facts))
