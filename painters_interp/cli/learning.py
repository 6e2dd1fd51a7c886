"""`painters classify`, `painters readers`: what is learnt to be read from states."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..terminal import say
from .options import (
    ALL_FORMATS,
    DEFAULT_MODEL,
    POOLS,
    Data,
    Device,
    Dtype,
    Formats,
    LearntTask,
    LearntTasks,
    Limit,
    Model,
    Out,
    Plans,
    PlanWords,
    Seed,
    Store,
    TableOut,
    Venue,
    computable,
    listed,
    loaded,
    look_of,
    model_of,
    path_of,
    plans_in,
    whole_numbers,
    word_option,
)
from .outputs import (
    FIGURES,
    folder_of_tables,
    print_table,
    try_drawn,
    try_folder,
    write_all,
    write_drawn,
)

if TYPE_CHECKING:
    from ..learning import Examples, Readers

TRAINED = ("head", "all")
TextColumn = Annotated[
    str | None, typer.Option("--text", help="Column of texts, in files of your own.")
]
SecondColumn = Annotated[
    str | None, typer.Option("--second", help="Column of second texts, read together.")
]
LabelColumn = Annotated[str, typer.Option("--label", help="Column of labels.")]


def classify(
    plans: PlanWords = None,
    plan: Plans = None,
    model: Model = DEFAULT_MODEL,
    tasks: LearntTasks = "probe_acceptability",
    data: Data = None,
    text: TextColumn = None,
    second: SecondColumn = None,
    label: LabelColumn = "label",
    train: Annotated[
        str,
        word_option(TRAINED, "head (the model is frozen), or all: fine-tuned under each plan."),
    ] = "head",
    epochs: Annotated[
        int, typer.Option(min=1, max=1000, help="Passes over the texts; with --train all.")
    ] = 3,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            parser=path_of, metavar="<folder>", help="Kept here, to go on from; with --train all."
        ),
    ] = None,
    pool: Annotated[
        str | None,
        word_option(POOLS, "Which state is a text's: mean (encoders), last (decoders) or first."),
    ] = None,
    limit: Limit = None,
    store: Store = None,
    out: TableOut = None,
    items: Annotated[
        bool, typer.Option("--items", help="Also write every single item: OUT.items.parquet.")
    ] = False,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Train linear heads on the model's final states under plans, and score them.

    Every plan has heads of its own; the intact model comes first. Takes
    encoders and decoders.

    Example: painters classify "0-2 5" --model minilm-l6 --tasks probe_acceptability
    """
    from ..errors import PaintersError
    from ..execution import as_plan
    from ..learning import Tuning, classify_items
    from ..report import items_beside
    from ..storage import write_table
    from ..strategies import full
    from ..tables import labelled
    from ..tables.items import summarise
    from ..tables.labels import labels_for

    if items and out is None:
        raise PaintersError("--items needs a place to write to; add --out")
    given, look = plans_in(plans, plan, model), look_of(venue, formats)
    try_drawn(out)
    try_folder(store)
    if train != "all" and (checkpoints is not None or epochs != 3):
        raise PaintersError("--epochs and --checkpoints are of --train all; add that")
    recipe = Tuning(epochs=epochs, folder=checkpoints) if train == "all" else None
    computable(device, dtype)
    chosen = tasks_of(tasks, data, text, second, label)
    bridge = loaded(model, device, dtype)
    intact = full(len(bridge.blocks))
    named = {"intact": intact} | {text: as_plan(text, bridge) for text in given}
    asked: dict[str, Any] = {"train": train, "limit": limit, "seed": seed, "pool": pool}
    found = classify_items(bridge, named, chosen, **asked, tuning=recipe, store=store)
    labels = labels_for(named, len(bridge.blocks))
    table = labelled(labels, summarise(found, intact=str(intact)))
    print_table(table.drop(columns="label"))
    if out is not None:
        facts = facts_of(bridge, chosen, **asked, data=data, epochs=epochs if recipe else None)
        written = [write_table(found, items_beside(out), facts)] if items else []
        for path in (*write_drawn(table, out, facts, look), *written):
            print(path)


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
    if "" in (text, second, label):
        raise TaskError("--text, --second and --label name columns of files; one of them is empty")
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


def readers(
    model: Model = DEFAULT_MODEL,
    tasks: LearntTask = "probe_acceptability",
    other: Annotated[
        str | None,
        typer.Option(
            parser=model_of, metavar="<model>", help="Another model, whose states are read."
        ),
    ] = None,
    stitch: Annotated[
        str | None,
        typer.Option(
            metavar="<i,j>", help="Read --other through a map of its state i to state j of --model."
        ),
    ] = None,
    data: Data = None,
    text: TextColumn = None,
    second: SecondColumn = None,
    label: LabelColumn = "label",
    pool: Annotated[
        str, word_option(POOLS, "Which state is a text's: mean over tokens, first or last.")
    ] = "mean",
    limit: Limit = None,
    out: Out = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Train a linear reader at every state, and read every other state with it: heatmaps.

    In the raw stream, and with each state standardised by itself. A map between
    two models is fitted on the texts that readers learn from.

    Example: painters readers --tasks probe_acceptability --limit 300
    """
    from .. import learning
    from ..errors import TaskError
    from ..models import identity
    from ..stitching import fit_stitch

    look, states = look_of(venue, formats), _two_states(stitch, other)
    folder = folder_of_tables(model, out, ["readers"])
    computable(device, dtype)
    chosen = tasks_of(tasks, data, text, second, label)
    if len(chosen) != 1:
        raise TaskError(f"--tasks {tasks!r} are several; readers are trained for one")
    bridge = loaded(model, device, dtype)
    second_bridge = None if other is None else loaded(other, device, dtype)
    between = None
    if second_bridge is not None and states is not None:
        learnt_from = [" ".join(text) for text in chosen[0].limited(limit, seed).train.texts]
        between = fit_stitch(second_bridge, bridge, learnt_from, *states)
    read: dict[str, Any] = {"pool": pool, "limit": limit, "seed": seed}
    found = learning.readers(bridge, chosen[0], second_bridge, between, **read)
    columns = None if second_bridge is None else identity(second_bridge)
    facts = facts_of(bridge, chosen, other=other, columns=columns, stitch=states, data=data, **read)
    for reading in learning.READINGS:
        say(f"{reading}: {_told(found, reading)}", hang=4)
    for path in write_all({"readers": found.table()}, folder, {"readers": facts}, look):
        if path.suffix in FIGURES:
            print(path)


def _two_states(stitch: str | None, other: str | None) -> tuple[int, int] | None:
    """The states between which --stitch maps. Raises PaintersError."""
    from ..errors import PaintersError

    if (states := whole_numbers(stitch, "--stitch")) is None:
        return None
    if len(states) != 2:
        raise PaintersError(f"--stitch {stitch!r} is not two states; write them as 12,6")
    if other is None:
        raise PaintersError("--stitch leads from another model to this one; give --other, too")
    return states[0], states[1]


def _told(found: "Readers", reading: str) -> str:
    """The best accuracy at a reader's own state, and what a layer of distance costs."""
    from ..tables.showing import ends

    matrix = found.matrix(reading).to_numpy(dtype=float)
    if matrix.shape[0] != matrix.shape[1]:
        return f"{matrix.max():.3f} at best, chance {found.chance:.3f}"
    value, low, high = found.drop_per_layer(reading)
    where = "where trained" if found.source == found.target else "as deep as trained"
    return (
        f"{matrix.diagonal().max():.3f} at best {where} (chance {found.chance:.3f}); "
        f"{value:.4f} {ends(low, high)}lost per layer of distance"
    )
