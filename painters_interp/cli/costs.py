"""`painters cost`: what the paper's experiments take on a model and machines that are not here."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PaintersError
from ..terminal import say
from .options import Layers, Limit, PlainOut, loaded, model_of, whole_numbers
from .outputs import try_table

if TYPE_CHECKING:
    import pandas as pd

    from ..experiments import Hardware

_MOST = 10**7
_PEAK, _UTILISATION, _BANDWIDTH, _MEMORY = 989.0, 0.4, 3350.0, 80.0  # of an H100


def cost(
    n_layers: Layers,
    d_model: Annotated[int, typer.Option(min=1, max=_MOST, help="Width of its stream.")],
    d_ff: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Of its MLP; 8/3 of the stream if none.")
    ] = None,
    kv_width: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Of its keys; all of the stream if none.")
    ] = None,
    vocabulary: Annotated[int, typer.Option(min=1, max=_MOST, help="Its tokens.")] = 32_000,
    weight_bytes: Annotated[
        float, typer.Option(help="Bytes of a weight: 2 in half precision, 0.5 in four bits.")
    ] = 2.0,
    gpus: Annotated[str, typer.Option(help="How many, comma separated.")] = "1,8,64",
    peak: Annotated[float, typer.Option(help="Of a GPU: 10^12 operations a second.")] = _PEAK,
    utilisation: Annotated[
        float, typer.Option(help="Which share of them is reached.")
    ] = _UTILISATION,
    bandwidth: Annotated[float, typer.Option(help="10^9 bytes a second from memory.")] = _BANDWIDTH,
    memory: Annotated[float, typer.Option(help="10^9 bytes of memory.")] = _MEMORY,
    measure: Annotated[
        str | None,
        typer.Option(
            parser=model_of,
            metavar="<model>",
            help="Time layer calls of this model here, and take that for every GPU.",
        ),
    ] = None,
    limit: Limit = None,
    out: PlainOut = None,
) -> None:
    """Reckon what the paper's whole suite takes on a model that is not here.

    Operations and bytes of each layer call, counted over the plans themselves,
    beginnings shared, and over the tokens of the paper's tasks.

    Example: painters cost --n-layers 80 --d-model 8192 --d-ff 28672 --kv-width 1024
    """
    from ..experiments import Shape
    from ..experiments import cost as reckoned
    from ..storage import provenance, write_table

    try_table(out)
    shape = Shape(
        n_layers, d_model, d_ff or round(8 * d_model / 3), kv_width or d_model, vocabulary
    )
    given = (peak, utilisation, bandwidth, memory)
    hardware = _given(*given) if measure is None else _measured(measure, given)
    counts = whole_numbers(gpus, "--gpus") or []
    table = reckoned(shape, hardware, counts, weight_bytes=weight_bytes, limit=limit)
    say(_said(table, hardware), hang=4)
    if out is not None:
        facts = {**vars(shape), "hardware": vars(hardware), "limit": limit}
        print(write_table(table, out, provenance(**facts)))


def _given(peak: float, utilisation: float, bandwidth: float, memory: float) -> "Hardware":
    from ..experiments import Hardware

    if not 0 < utilisation <= 1:
        raise PaintersError(f"--utilisation {utilisation} is no share; give 0.4, say")
    return Hardware("a GPU", peak * 1e12 * utilisation, bandwidth * 1e9, memory * 1e9)


def _measured(model: str, given: tuple[float, ...]) -> "Hardware":
    from ..deployment import reached

    if given != (_PEAK, _UTILISATION, _BANDWIDTH, _MEMORY):
        raise PaintersError("--measure says what a GPU reaches; give no other numbers beside it")
    return reached(loaded(model, None, None))


def _said(table: "pd.DataFrame", hardware: "Hardware") -> str:
    """What was counted, and a line for each number of GPUs."""
    first = table.iloc[0]
    size = f"{first['parameters'] / 1e9:.3g} billion parameters, {first['weight_gb']:.3g} GB"
    calls = f"{first['calls']:,.0f} layer calls, {first['shared']:,.0f} shared"
    rate = f"{hardware.rate / 1e12:.3g} * 10^12 a second"
    lines = [
        f"{size}: {first['per_copy']:.0f} of {hardware.name} hold them",
        f"{first['plans']:.0f} plans: {calls}; {first['flops']:.2g} operations at {rate}",
    ]
    for row in table.to_dict("records"):
        if not row["copies"]:
            lines.append(f"{row['gpus']:>5} GPUs: the model does not fit")
            continue
        lines.append(
            f"{row['gpus']:>5} GPUs: {_hours(row['hours'])} (scoring {_hours(row['reading'])}, "
            f"writing {_hours(row['writing'])}); plan by plan {_hours(row['one_by_one'])}"
        )
    return "\n".join(lines)


def _hours(hours: float) -> str:
    if hours < 0.1:
        return f"{3600 * hours:.2g} s"
    return f"{hours:.2g} hours" if hours < 9.5 else f"{hours:,.0f} hours"
