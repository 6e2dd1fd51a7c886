"""`painters classify`: what heads learn to read from the states under plans."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    DEFAULT_MODEL,
    Data,
    Device,
    Dtype,
    Limit,
    Model,
    Seed,
    computable,
    listed,
    loaded,
    path_of,
)
from .outputs import try_table
from .scores import readable

if TYPE_CHECKING:
    from ..learning import Examples

LearntTasks = Annotated[
    str,
    typer.Option(
        help="Comma separated: probe_acceptability (built in), cola, sst2, mrpc, qnli, rte, stsb, "
        "wnli, or files of your own: .csv, .jsonl."
    ),
]
TextColumn = Annotated[
    str | None, typer.Option("--text", help="Column of texts, in files of your own.")
]
SecondColumn = Annotated[
    str | None, typer.Option("--second", help="Column of second texts, read together.")
]
LabelColumn = Annotated[str, typer.Option("--label", help="Column of labels.")]


def classify(
    plans: Annotated[list[str], typer.Argument(help="Plans in quotes, such as '0-2 5'.")],
    model: Model = DEFAULT_MODEL,
    tasks: LearntTasks = "probe_acceptability",
    data: Data = None,
    text: TextColumn = None,
    second: SecondColumn = None,
    label: LabelColumn = "label",
    pool: Annotated[
        str | None,
        typer.Option(help="mean (encoders), last (decoders) or first, of a text's final states."),
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="<file>", help="Also write OUT.csv and OUT.json."),
    ] = None,
    items: Annotated[
        bool, typer.Option("--items", help="Also write every single item: OUT.items.parquet.")
    ] = False,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Train linear heads on the frozen model's final states under plans, and score them.

    Every plan has heads of its own; the intact model comes first. Takes
    encoders and decoders.
    """
    from ..errors import PaintersError
    from ..execution import as_plan
    from ..learning import classify_items
    from ..report import items_beside
    from ..storage import write_table
    from ..strategies import full
    from ..tables import labelled
    from ..tables.items import summarise
    from ..tables.labels import labels_for

    if items and out is None:
        raise PaintersError("--items needs a place to write to; add --out")
    if out is not None:
        try_table(out, items)
    computable(device, dtype)
    chosen = tasks_of(tasks, data, text, second, label)
    bridge = loaded(model, device, dtype)
    intact = full(len(bridge.blocks))
    named = {"intact": intact} | {plan: as_plan(plan, bridge) for plan in plans}
    found = classify_items(bridge, named, chosen, limit=limit, seed=seed, pool=pool)
    labels = labels_for(named, len(bridge.blocks))
    table = labelled(labels, summarise(found, intact=str(intact)))
    print(readable(table).to_string(index=False, na_rep=""))
    if out is not None:
        facts = facts_of(bridge, chosen, limit=limit, seed=seed, data=data, pool=pool)
        print(write_table(table, out, facts))
        if items:
            print(write_table(found, items_beside(out), facts))


def tasks_of(
    tasks: str, data: Path | None, text: str | None, second: str | None, label: str
) -> "list[Examples]":
    """The examples that the options name. Raises TaskError."""
    from ..errors import TaskError
    from ..learning import examples, named

    names = listed(tasks)
    if not names:
        raise TaskError("no task named; built in: probe_acceptability")
    own = [name for name in names if name.endswith((".csv", ".jsonl"))]
    if not own and (text or second or label != "label"):
        raise TaskError("--text, --second and --label name columns of your own files; give one")
    return [
        examples(path_of(name), text, second, label) if name in own else named(name, data)
        for name in names
    ]


def facts_of(bridge: Any, tasks: "list[Examples]", **asked: Any) -> dict[str, Any]:
    """What produced the numbers that are learnt."""
    from ..models import identity
    from ..storage import provenance

    facts = {
        "tasks": {task.name: task.version for task in tasks},
        "examples": {task.name: task.digest() for task in tasks},
    }
    return provenance(**identity(bridge), **facts, **asked)
