"""`painters patch ...`: tensors moved from one run into another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PatchError
from .options import (
    DEFAULT_MODEL,
    Device,
    Dtype,
    Model,
    documents,
    folder_for,
    listed,
    loaded,
)

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

patch = typer.Typer(
    help="Move streams between runs, or layers between places, and see what they carry.",
    no_args_is_help=True,
)

Plan = Annotated[str | None, typer.Option(help="Patch the steps of a plan, not the layers.")]
Positions = Annotated[
    str | None, typer.Option(help="Token positions, such as 3,4 or -2,-1; all if not given.")
]
Metric = Annotated[str, typer.Option(help="kl, loss, logit_difference, probability or logprob.")]
Right = Annotated[
    str | None, typer.Option(help="The right answer, one token; often begins with a space.")
]
Wrong = Annotated[str | None, typer.Option(help="The wrong answer, one token.")]
Out = Annotated[Path | None, typer.Option(help="Folder; runs/<model> if not given.")]


@patch.command()
def residual(
    clean: Annotated[str, typer.Argument(help="A prompt that has the right answer.")],
    corrupted: Annotated[str, typer.Argument(help="Its counterpart, as many tokens long.")],
    right: Right = None,
    wrong: Wrong = None,
    metric: Metric = "logit_difference",
    positions: Positions = None,
    plan: Plan = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Put the clean run's stream into the corrupted run, layer by layer, token by token."""
    from ..patching import patch_residual

    folder, bridge = folder_for(model, out), loaded(model, device, dtype)
    table = patch_residual(
        bridge, clean, corrupted, metric, plan, _numbers(positions), answers=_answers(right, wrong)
    )
    asked = {"clean": clean, "corrupted": corrupted, "right": right, "wrong": wrong, "plan": plan}
    _write(table, "patch_residual", folder, bridge, asked)


@patch.command()
def across(
    source: Annotated[str, typer.Argument(help="The prompt whose states are taken.")],
    target: Annotated[
        str | None, typer.Option(help="The prompt they are put into; the same if not given.")
    ] = None,
    metric: Metric = "kl",
    positions: Positions = None,
    source_positions: Annotated[
        str | None, typer.Option(help="Where they are taken; as --positions if not given.")
    ] = None,
    right: Right = None,
    wrong: Wrong = None,
    plan: Plan = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Put the stream before layer i before layer j, for all i and j: who can read whom?"""
    from ..patching import crossing

    folder, bridge = folder_for(model, out), loaded(model, device, dtype)
    table = crossing(
        bridge,
        source,
        target,
        metric,
        plan,
        _numbers(positions),
        source_positions=_numbers(source_positions),
        answers=_answers(right, wrong),
    )
    asked = {"source": source, "target": target, "positions": positions, "plan": plan}
    asked |= {"source_positions": source_positions, "right": right, "wrong": wrong}
    _write(table, "patch_across", folder, bridge, asked)


@patch.command()
def effects(
    texts: Annotated[
        Path | None,
        typer.Option(help="A text file, one document a line; built-in passages if none."),
    ] = None,
    plans: Annotated[
        list[str] | None, typer.Option("--plan", help="A row each; every layer dropped if none.")
    ] = None,
    at: Annotated[
        int | None, typer.Option(min=0, help="Change this token alone, and measure later ones.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of documents.")] = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Drop each layer, and see how much every later layer's update changes."""
    from ..patching import effects as measured

    folder, bridge = folder_for(model, out), loaded(model, device, dtype)
    read = documents(bridge, texts)[:limit]
    table = measured(bridge, read, plans, at)
    _write(table, "patch_effects", folder, bridge, {"texts": len(read), "changed_at": at})


def _numbers(given: str | None) -> list[int] | None:
    if given is None:
        return None
    try:
        return [int(word) for word in listed(given)]
    except ValueError:
        raise PatchError(
            f"positions {given!r} are no whole numbers; write them as 3,4 or -2,-1"
        ) from None


def _answers(right: str | None, wrong: str | None) -> tuple[str, ...] | None:
    if right is None:
        if wrong is not None:
            raise PatchError("--wrong is compared with the right answer; give --right too")
        return None
    return (right,) if wrong is None else (right, wrong)


def _write(
    table: "pd.DataFrame", name: str, folder: Path, bridge: "TransformerBridge", asked: Any
) -> None:
    """The table, what produced it, and its figure; their paths are printed."""
    from .. import report
    from ..models import identity
    from ..storage import provenance, write_table

    print(write_table(table, folder / name, provenance(**identity(bridge), **asked)))
    for path in report.draw(folder, [name]):
        print(path)
