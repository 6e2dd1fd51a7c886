"""`painters logit-lens`, `damage` and `stitch`: what states say, foretell and carry over."""

from itertools import product
from typing import Annotated, Any

import typer

from ..errors import PaintersError
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
    whole_numbers,
    word_option,
)
from .outputs import folder_of_tables, write_one

_MEASURES = "cosine,angular,cka,block_influence"
PAIRS = ("depth", "all")
MAPS = ("ridge", "orthogonal")


def logit_lens(
    prompt: Annotated[str, typer.Argument(help="What the model reads.")],
    positions: Annotated[
        str | None, typer.Option(help="Token positions, such as 3,4 or -1; all if not given.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10**9, help="So many tokens of each state.")] = 3,
    plan: Plan = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Say which next token each state would give, through the model's own norm and head.

    Example: painters logit-lens "The capital of France is" --positions -1
    """
    from ..models import identity
    from ..patching import readout
    from ..patching.prompts import prompt as read
    from ..storage import provenance

    places, look = whole_numbers(positions, "--positions"), look_of(venue, formats)
    folder = folder_of_tables(model, out, ["logit_lens"])
    bridge = loaded(model, device, dtype)
    asked = read(bridge, prompt).places(places)
    table = readout(bridge, prompt, plan, asked, top=top)
    facts = provenance(**identity(bridge), prompt=prompt, plan=plan, positions=asked)
    write_one("logit_lens", table, folder, facts, look)


def damage(
    measures: Annotated[str, typer.Option(help="Comma separated.")] = _MEASURES,
    longest: Annotated[
        int | None,
        typer.Option(min=1, max=10**6, help="Layers of the longest window; half of all if none."),
    ] = None,
    texts: Texts = None,
    limit: Documents = 16,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Say whether a likeness of states tells what dropping or swapping layers costs.

    Spearman's rho with its 95 % interval over documents, for each measure
    and kind of plan; a measure should beat "depth".

    Example: painters damage --measures cosine,cka --longest 4
    """
    from ..damage import predict_damage
    from ..damage.prediction import MEASURES
    from ..experiments import damages
    from ..models import identity
    from ..storage import provenance
    from ..tables.showing import ends

    names, look = chosen(measures, MEASURES, "measure"), look_of(venue, formats)
    lines, folder = lines_of(texts), folder_of_tables(model, out, ["damage"])
    bridge = loaded(model, device, dtype)
    read, plans = documents(lines, limit), damages(len(bridge.blocks), longest)
    points, rho = predict_damage(bridge, read, names, plans, seed=seed)
    facts = provenance(**identity(bridge), texts=len(read), longest=longest, seed=seed)
    named = rho.rename(columns={"low": "rho_low", "high": "rho_high"})
    table = points.merge(named, on=["measure", "variant"])
    write_one("damage", table, folder, facts, look)
    for row in rho.itertuples(index=False):
        line = f"{row.measure:16}{row.variant:12}rho {row.rho:.2f} {ends(row.low, row.high)}"
        print(line.rstrip())


def stitch(
    target: Annotated[
        str, typer.Argument(parser=model_of, metavar="TARGET", help="The model that goes on.")
    ],
    model: Model = DEFAULT_MODEL,
    pairs: Annotated[
        str, word_option(PAIRS, "Pairs of states: at the same relative 'depth', or 'all'.")
    ] = "depth",
    method: Annotated[
        str, word_option(MAPS, "How to find it, the map: ridge or orthogonal.")
    ] = "ridge",
    texts: Texts = None,
    limit: Documents = None,
    out: Out = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Say whether TARGET goes on from the stream of --model, through an affine map.

    The map is fitted on half of the texts; the rise of TARGET's loss, in
    nats per token, is of the other half. At the same depth, beside what
    no map, a random one and the mean state would give.

    Example: painters stitch smollm2-135m --pairs all --limit 64
    """
    from .. import stitching
    from ..models import identity
    from ..storage import provenance

    lines, look = lines_of(texts), look_of(venue, formats)
    folder = folder_of_tables(model, out, ["stitching"])
    source = loaded(model, device, dtype)
    other = source if target == model else loaded(target, device, dtype)
    read = documents(lines, limit)
    if len(read) < 2:
        raise PaintersError("stitching needs two texts or more: to fit on some, and judge on some")
    how: dict[str, Any] = {"method": method, "seed": seed}
    if pairs == "all":  # a map of them shows no baselines
        i, j = (range(len(each.blocks) + 1) for each in (source, other))
        how |= {"states": [*product(i, j)], "baselines": ()}
    table = stitching.stitch(source, other, read, **how)
    asked: dict[str, Any] = {"method": method, "pairs": pairs, "texts": len(read), "seed": seed}
    facts = provenance(**identity(source), target=identity(other), **asked)
    write_one("stitching", table, folder, facts, look)
