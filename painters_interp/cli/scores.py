"""`painters evaluate`: plans on benchmark tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PaintersError
from .options import (
    ALL_FORMATS,
    DEFAULT_MODEL,
    Cache,
    Chat,
    Data,
    Device,
    Dtype,
    Formats,
    Include,
    Limit,
    Model,
    Plans,
    PlanWords,
    Seed,
    Shots,
    Store,
    TableOut,
    Tasks,
    Trust,
    Venue,
    listed,
    loaded,
    look_of,
    one_of,
    plans_in,
    task_names,
)
from .outputs import print_table, try_drawn, try_folder, write_drawn

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from ..evaluation import Questions


def evaluate(
    plans: PlanWords = None,
    plan: Plans = None,
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    num_fewshot: Shots = None,
    include: Include = None,
    trust: Trust = False,
    chat: Chat = False,
    cache: Cache = "exact",
    out: TableOut = None,
    items: Annotated[
        bool, typer.Option("--items", help="Also write every single item: OUT.items.parquet.")
    ] = False,
    store: Store = None,
    metrics: Annotated[
        str, typer.Option(help="More metrics, comma separated: kl (to the intact model).")
    ] = "",
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Score plans on lm-eval tasks, all on the same items; the intact model comes first.

    delta is the difference to the intact model with its 95 % interval over
    items; p_adj is the chance of one as large by luck, corrected for the
    number of plans.

    Example: painters evaluate "0-12 17-29" --tasks arc_easy,piqa --limit 100
    """
    from ..evaluation import prepare, results, score_items
    from ..evaluation.measurements import MEASUREMENTS, TASK_METRICS
    from ..execution import as_plan
    from ..report import items_beside
    from ..storage import write_table
    from ..strategies import full

    if items and out is None:
        raise PaintersError("--items needs a place to write to; add --out")
    given, look = plans_in(plans, plan, model), look_of(venue, formats)
    further = listed(metrics)
    for name in further:
        one_of(name, [name for name in MEASUREMENTS if name != TASK_METRICS], "--metrics")
    names = task_names(tasks)
    try_drawn(out)
    try_folder(store)
    bridge = loaded(model, device, dtype)
    labelled = {"intact": full(len(bridge.blocks))} | {p: as_plan(p, bridge) for p in given}
    questions = prepare(
        bridge, names, data, limit, num_fewshot, seed, include=include, trust=trust, chat=chat
    )
    found = score_items(bridge, labelled, questions, cache=cache, store=store, metrics=further)
    table = results(bridge, labelled, questions, found, cache)
    written: list[Path] = []
    if out is not None:
        asked: dict[str, Any] = {"limit": limit, "data": data, "num_fewshot": num_fewshot}
        asked |= {"include": include, "trust": trust, "cache": cache}
        facts = facts_of(bridge, questions, **asked)
        kept = [write_table(found, items_beside(out), facts)] if items else []
        written = [*write_drawn(table, out, facts, look), *kept]
    print_table(table.drop(columns="label"))
    for path in written:
        print(path)


def facts_of(bridge: "TransformerBridge", questions: "Questions", **asked: Any) -> dict[str, Any]:
    """What produced the scores of `questions`, and what else was asked for."""
    from ..models import identity
    from ..storage import provenance

    facts: dict[str, Any] = {
        "tasks": {task.config.task: str(task.VERSION) for task in questions.tasks},
        "requests": questions.digests,
        "shots": {task.config.task: task.config.num_fewshot or 0 for task in questions.tasks},
        "items": questions.items,
        "tokens": questions.tokens,
        "truncated": questions.truncated,
        "chat": questions.chat,
        "seed": questions.seed,
    }
    return provenance(**identity(bridge), **facts, **asked)
