"""`painters heal`: a copy of a decoder learns to live with a plan."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..terminal import room
from .options import (
    DEFAULT_MODEL,
    Device,
    Documents,
    Dtype,
    Model,
    Plan,
    PlanWord,
    Seed,
    Texts,
    loaded,
    out_option,
    path_of,
    plan_in,
)
from .outputs import try_folder


def heal(
    out: Annotated[Path, out_option("<folder>", "a folder of its own for the healed model.")],
    word: PlanWord = None,
    plan: Plan = None,
    model: Model = DEFAULT_MODEL,
    texts: Texts = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            parser=path_of,
            metavar="<file>",
            help="Texts to judge by, one a line; a fifth of the others if not given.",
        ),
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Train updates of this rank alone; needs peft."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Passes over the texts.")] = 3,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-9, max=1, help="Of learning; 5e-5 if not given, with --lora 3e-4."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Rows at once: pieces of text.")] = 32,
    context: Annotated[int, typer.Option(min=2, max=10**6, help="Tokens in a piece.")] = 512,
    checkpoints: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="<folder>", help="Kept here, to go on from."),
    ] = None,
    limit: Documents = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Fine-tune a copy of a decoder under a plan, and see what that regains.

    Says the loss on held-out texts of the intact model, before and after,
    and writes the healed model as a checkpoint into OUT.

    Example: painters heal "0-12 17-29" --texts my_documents.txt --out healed
    """
    from .. import learning
    from ..execution import as_plan
    from ..learning.healing import LORA_RATE, refuse_occupied
    from ..storage import room_for
    from ..tables.showing import ends, printed, short
    from .documents import documents, lines_of

    text = plan_in(word, plan, model)
    try_folder(out)
    refuse_occupied(out)
    lines, judged = lines_of(texts), lines_of(held_out)
    adapters = None if lora is None else learning.Lora(rank=lora)
    rate = rate or (learning.Tuning.rate if lora is None else LORA_RATE)
    recipe = learning.Tuning(epochs=epochs, rate=rate, batch=batch, folder=checkpoints)
    bridge = loaded(model, device, dtype)
    altered = as_plan(text, bridge)
    room_for(sum(weight.nbytes for weight in bridge.original_model.parameters()), out)
    learnt = documents(lines, limit)
    asked: dict[str, Any] = {"tuning": recipe, "lora": adapters, "context": context, "seed": seed}
    healed = learning.heal(bridge, altered, learnt, judged, **asked)
    losses = healed.table()
    numbers = losses.select_dtypes("number").map(short)
    print(printed(losses.assign(**numbers), width=room()))
    share, low, high = healed.recovered()
    print(f"recovered: {share:.3f} {ends(low, high)}of what the plan costs")
    print(healed.save(out))
