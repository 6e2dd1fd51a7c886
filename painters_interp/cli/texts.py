"""`painters generate`: what a model writes under plans, beside what it writes by itself."""

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from ..plans.sharing import shared_length
from .options import (
    DEFAULT_MODEL,
    Cache,
    Device,
    Dtype,
    Model,
    New,
    PlainOut,
    Plans,
    loaded,
    plans_of,
)
from .outputs import try_table

if TYPE_CHECKING:
    import pandas as pd

_PARTED = "||"


def generate(
    prompts: Annotated[list[str], typer.Argument(help="Texts to go on from, in quotes.")],
    plan: Plans = None,
    new: New = 40,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Write no further than to this text; give it again for another."),
    ] = None,
    cache: Cache = "exact",
    model: Model = DEFAULT_MODEL,
    out: PlainOut = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Continue texts under plans, greedily; the intact model comes first.

    || marks where a text parts from that of the intact model.

    Example: painters generate "Once upon a time" --plans "0-12 17-29; 0-12 16-13 17-29"
    """
    from ..execution import as_plan
    from ..generation import generate as written
    from ..models import identity
    from ..storage import provenance, write_table
    from ..strategies import full

    try_table(out)
    bridge = loaded(model, device, dtype)
    intact = full(len(bridge.blocks))
    named = [as_plan(text, bridge) for text in plan or plans_of(model)]
    distinct, texts = dict.fromkeys([intact, *named]), dict.fromkeys(prompts)
    table = written(bridge, [*distinct], [*texts], new, stop or (), cache)
    print("\n\n".join(_compared(texts) for _, texts in table.groupby("prompt", sort=False)))
    if out is not None:
        facts = provenance(**identity(bridge), max_new_tokens=new, stop=stop or [], cache=cache)
        listed = table.assign(tokens=table["tokens"].map(list, na_action="ignore"))
        print(write_table(listed, out, facts))


def _compared(texts: "pd.DataFrame") -> str:
    """The texts after one prompt, each under its plan; the first is that of the intact model."""
    own = texts["text"].iloc[0]
    lines = [texts["prompt"].iloc[0]]
    for plan, text in zip(texts["plan"], texts["text"], strict=True):
        lines += ["", f"  {plan}", textwrap.indent(_parted(own, text), "    ")]
    return "\n".join(lines)


def _parted(own: str | None, text: str | None) -> str:
    """`text` with a mark where it parts from the `own` one."""
    if not isinstance(text, str):
        return "(no text: the model computes NaN)"
    if not isinstance(own, str) or own == text:
        return text
    same = shared_length(own, text)
    return text[:same] + _PARTED + text[same:]
