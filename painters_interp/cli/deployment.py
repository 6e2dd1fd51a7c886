"""`painters export`: a plan as a checkpoint, as a recipe, or as a passthrough merge."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import PaintersError
from .options import DEFAULT_MODEL, Device, Dtype, Model, loaded, path_of


def export(
    plan: Annotated[str, typer.Argument(help="A plan in quotes, such as '0-12 17-29'.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=path_of, metavar="<path>", help="Folder of the checkpoint, or file for the rest."
        ),
    ],
    model: Model = DEFAULT_MODEL,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Write base model and plan, not weights: any plan.")
    ] = False,
    mergekit: Annotated[
        bool, typer.Option("--mergekit", help="Write the YAML of a passthrough merge.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a checkpoint, or a file, that is there.")
    ] = False,
    shard: Annotated[str, typer.Option(help="How large a file of weights may be.")] = "5GB",
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Write a model under a plan as a checkpoint that loads without this package.

    It is read back and compared with the model under the plan before it
    counts as written. Plans with groups or branches fit no checkpoint:
    --recipe writes them down, and --model opens what it wrote.

    Example: painters export "0-12 17-29" --out smaller
    """
    from .. import deployment
    from ..deployment.checkpoints import refuse_folder, refuse_shard
    from ..deployment.recipes import refuse_file
    from ..storage import write_whole

    if recipe and mergekit:
        raise PaintersError("--recipe and --mergekit write different files; give one of them")
    refuse_shard(shard)
    if recipe or mergekit:
        refuse_file(out, force)
    else:
        refuse_folder(out, force)
    bridge = loaded(model, device, dtype)
    if recipe:
        print(deployment.recipe(bridge, plan, out, force))
    elif mergekit:
        print(write_whole(out, deployment.mergekit(bridge, plan).encode()))
    else:
        print(deployment.export(bridge, plan, out, force, shard=shard))
