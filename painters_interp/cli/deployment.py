"""From a finding to its use: `painters search`, `latency`, `per-input` and `export`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PaintersError
from ..terminal import folded, room, say
from .comparisons import items_in
from .documents import documents, lines_of
from .options import (
    ALL_FORMATS,
    DEFAULT_MODEL,
    Data,
    Device,
    Documents,
    Dtype,
    Formats,
    Model,
    New,
    Out,
    PlainOut,
    Plan,
    Plans,
    PlanWord,
    PlanWords,
    Seed,
    Store,
    TableOut,
    Tasks,
    Texts,
    Venue,
    listed,
    loaded,
    look_of,
    out_option,
    path_of,
    plan_in,
    plans_in,
    task_names,
    whole_numbers,
)
from .outputs import (
    folder_of_tables,
    print_table,
    try_drawn,
    try_folder,
    try_table,
    write_all,
    write_drawn,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def export(
    out: Annotated[
        Path,
        out_option("<path>", "a folder for a checkpoint, a file for --recipe and --mergekit."),
    ],
    word: PlanWord = None,
    plan: Plan = None,
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
    shard_size: Annotated[
        str, typer.Option(help="How large a file of weights may be, such as 500MB.")
    ] = "5GB",
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
    from ..deployment.places import refuse_file, refuse_folder, refuse_shard
    from ..deployment.recipe_files import recipe_file
    from ..storage import write_whole

    if recipe and mergekit:
        raise PaintersError("--recipe and --mergekit write different files; give one of them")
    text = plan_in(word, plan, model)
    refuse_shard(shard_size)
    if recipe:
        out = recipe_file(out, force)
    elif mergekit:
        refuse_file(out, force)
    else:
        refuse_folder(out, force)
    bridge = loaded(model, device, dtype)
    if recipe:
        print(deployment.recipe(bridge, text, out, force))
    elif mergekit:
        print(write_whole(out, deployment.mergekit(bridge, text).encode()))
    else:
        print(deployment.export(bridge, text, out, force, shard=shard_size))


def search(
    model: Model = DEFAULT_MODEL,
    calls: Annotated[
        int | None, typer.Option(min=1, help="Layer calls that the plan may make.")
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(help="Instead: a share of the intact model's measured time per token."),
    ] = None,
    edits: Annotated[
        str,
        typer.Option(
            help="Comma separated: drop, drop_block, swap, move, replace, repeat, repeat_block, "
            "parallel, damp."
        ),
    ] = "drop",
    method: Annotated[str, typer.Option(help="How to find it: greedy or beam.")] = "greedy",
    objective: Annotated[
        str | None,
        typer.Option(
            help="kl (to the intact model), loss (on texts), or tasks; kl, and with --tasks these, "
            "if not given."
        ),
    ] = None,
    texts: Texts = None,
    tasks: Tasks = None,
    data: Data = None,
    limit: Documents = 32,
    width: Annotated[int, typer.Option(min=1, max=1000, help="Plans that go on in a beam.")] = 4,
    rounds: Annotated[
        int | None,
        typer.Option(min=0, max=10_000, help="Rounds within the budget; as many as help if none."),
    ] = None,
    out: Out = None,
    store: Store = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Search the best plan under a budget of layer calls.

    Chosen on half of the texts and judged on the others, beside the best of
    as many random plans, block influence, angular distance and the middle
    block.

    Example: painters search --calls 24 --edits drop,swap
    """
    from .. import deployment
    from ..deployment.requests import asked, refuse_budget, refuse_calls, refuse_few

    refuse_budget(calls, time)
    given = {"tasks": tasks is not None, "texts": texts is not None}
    request = asked(listed(edits), method, objective, width, rounds, **given)
    goal = request["objective"]
    if tasks is not None and goal != "tasks":
        raise PaintersError(f"--tasks are not read for --objective {goal}; leave one of them out")
    chosen = task_names(tasks) if goal == "tasks" else None
    read = None if goal == "tasks" else documents(lines_of(texts), limit)
    if read is not None:
        refuse_few(len(read))
    look = look_of(venue, formats)
    folder = folder_of_tables(model, out, ["search", "rounds"])
    try_folder(store)
    bridge = loaded(model, device, dtype)
    if calls is not None:
        refuse_calls(calls, len(bridge.blocks))
    found = deployment.search(
        bridge,
        read,
        chosen,
        calls=calls,
        time=time,
        edits=request["edits"],
        method=method,
        objective=goal,
        width=width,
        rounds=rounds,
        data=data,
        limit=limit,
        seed=seed,
        store=store,
    )
    tables = {"rounds": found.rounds, "search": found.judged}
    for path in write_all(tables, folder, dict.fromkeys(tables, found.provenance), look):
        print(path)
    spent = f"{len(found.best.calls)} calls" + ("" if time is None else f" in {time:g} of the time")
    say(f"{found.best}: {spent}, {len(found.rounds) - 1} plans tried", hang=4)
    rivals = found.judged[found.judged["calls"].eq(len(found.best.calls))]
    say(f"{rivals['measure'].iloc[0]} on what was held back, 95 % intervals:", hang=4)
    print(_told(rivals))


def _told(judged: "pd.DataFrame") -> str:
    """A line per way to choose what runs, with how much the found plan is better."""
    lines = []
    for row in judged.to_dict("records"):
        line = f"{row['variant']:20} {row['value']:.4g} [{row['low']:.4g}, {row['high']:.4g}]"
        if row["gain"] == row["gain"]:  # not for the found plan itself
            ends = f"[{row['gain_low']:.3g}, {row['gain_high']:.3g}]"
            line += f", the found plan is better by {row['gain']:.3g} {ends}"
        lines.append(folded(line, 21, room()))
    return "\n".join(lines)


def latency(
    plans: PlanWords = None,
    plan: Plans = None,
    model: Model = DEFAULT_MODEL,
    batch: Annotated[str, typer.Option(help="Rows at once, comma separated.")] = "1",
    length: Annotated[str, typer.Option(help="Tokens of a prompt, comma separated.")] = "128",
    new: New = 16,
    repeats: Annotated[int, typer.Option(min=2, max=1000, help="How often each is timed.")] = 10,
    overlapped: Annotated[
        bool, typer.Option("--overlapped", help="Time groups with their members together, too.")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            parser=path_of,
            metavar="<file>",
            help="What `painters kl` or `evaluate` wrote of these plans: with --out, drawn "
            "against the time per token, of one batch and length.",
        ),
    ] = None,
    out: TableOut = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Measure how long plans take to read a prompt and to write a token.

    Plans take turns with the intact model; medians with 95 % intervals, and
    ratios to the intact model, turn by turn. Layers in sequence run as the
    checkpoint that `painters export` writes, groups inside the model.

    Example: painters latency "0-12 17-29" --batch 1,8
    """
    from ..storage import provenance, read_table

    given, look = plans_in(plans, plan, model), look_of(venue, formats)
    rows, tokens = whole_numbers(batch, "--batch"), whole_numbers(length, "--length")
    if scores is not None and (out is None or len(rows or []) * len(tokens or []) != 1):
        raise PaintersError("--scores are drawn with --out, for one --batch and one --length")
    judged = None if scores is None else _judged(read_table(scores))
    try_drawn(out)

    from .. import deployment
    from ..execution import as_plan
    from ..models import identity

    bridge = loaded(model, device, dtype)
    labelled = {text: as_plan(text, bridge) for text in given}
    asked: dict[str, Any] = {"new": new, "repeats": repeats, "seed": seed}
    asked["groups"] = "overlapped" if overlapped else "in turn"
    table = deployment.latency(bridge, labelled, rows or 1, tokens or 128, **asked)
    written: list[Path] = []
    if out is not None:
        facts = provenance(**identity(bridge), **asked)
        written = write_drawn(table, out, facts, look, judged)
    print_table(table)
    for path in written:
        print(path)


def _judged(scores: "pd.DataFrame") -> "Callable[[pd.DataFrame], Figure]":
    """What draws times against these scores: divergences, or values of one task's metric."""
    from ..figures import latency_frontier, naming
    from ..tables import primary, require

    if "kl" in scores:
        return partial(latency_frontier, scores=scores)
    require(scores, "plan", "task", "metric", "value", "higher_is_better")
    rows = primary(scores)
    if rows["task"].nunique() != 1:
        raise PaintersError(
            "--scores holds several tasks; give a table of one, or of `painters kl`"
        )
    label = (
        f"{naming.task_label(rows['task'].iloc[0])}: {naming.metric_label(rows['metric'].iloc[0])}"
    )
    better = bool(rows["higher_is_better"].iloc[0])
    return partial(latency_frontier, scores=rows, of="value", higher_is_better=better, label=label)


def per_input(
    items: Annotated[
        Path,
        typer.Argument(
            parser=path_of,
            metavar="FILE",
            help="Items of several plans, OUT.items.parquet of `painters evaluate --items`.",
        ),
    ],
    out: PlainOut = None,
    seed: Seed = 0,
) -> None:
    """Say what choosing a plan for every input could gain, beside what luck finds.

    For each item the shortest plan that still answers right; of the items
    that the intact model gets wrong, how many some plan corrects. No model
    is loaded.

    Example: painters per-input scores.items.parquet
    """
    from ..storage import read_provenance, write_table
    from ..tables import per_input as found_of

    try_table(out)
    table, facts = items_in(items), read_provenance(items)
    if not isinstance(layers := facts.get("n_layers"), int):
        raise PaintersError(f"{items} does not say how many layers its model has; give another")
    found = found_of(table, layers, seed)
    for row in found.summary.to_dict("records"):
        told = (
            f"{row['task']} ({row['metric']}), {row['plans']} plans: {row['n_right']} items right "
            f"with {row['calls']:.1f} calls at best, {_with_ends(row, 'calls_luck')} by luck; "
            f"{row['corrected']} of {row['n_wrong']} wrong ones corrected, "
            f"{_with_ends(row, 'luck')} by luck (p = {row['p']:.3g})"
        )
        say(told, hang=4)
    if out is not None:
        print(write_table(found.items, out, {**facts, "seed": seed}))


def _with_ends(row: Mapping[Any, Any], name: str) -> str:
    return f"{row[name]:.1f} [{row[f'{name}_low']:.1f}, {row[f'{name}_high']:.1f}]"
