"""`painters kl`: how far plans move the predictions."""

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
    Plans,
    PlanWords,
    Seed,
    TableOut,
    Texts,
    Venue,
    loaded,
    look_of,
    plans_in,
)
from .outputs import try_drawn, write_drawn


def kl(
    plans: PlanWords = None,
    plan: Plans = None,
    model: Model = DEFAULT_MODEL,
    texts: Texts = None,
    limit: Documents = 16,
    out: TableOut = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Say how far plans move the predictions: KL from the intact model, in nats per token.

    Intervals are 95 %, over documents.

    Example: painters kl "0-12 17-29" "0-12 16-13 17-29"
    """
    given = plans_in(plans, plan, model)
    lines, look = lines_of(texts), look_of(venue, formats)
    try_drawn(out)

    from ..damage import kl_to_intact
    from ..execution import as_plan
    from ..models import identity
    from ..storage import provenance
    from ..tables.showing import ends

    bridge = loaded(model, device, dtype)
    chosen = {text: as_plan(text, bridge) for text in given}
    read = documents(lines, limit)
    found = kl_to_intact(bridge, chosen, read, seed)
    print(f"{'KL':>8}  {'95 % interval':18}  plan   (nats per token, {len(read)} documents)")
    for row in found.itertuples(index=False):
        say(f"{row.kl:8.3g}  {ends(row.kl_low, row.kl_high):18}  {row.plan}", hang=30)
    if out is not None:
        asked = {"texts": len(read), "documents": texts and str(texts), "seed": seed}
        facts = provenance(**identity(bridge), **asked)
        for path in write_drawn(found, out, facts, look):
            print(path)
