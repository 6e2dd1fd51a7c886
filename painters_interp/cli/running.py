"""`painters run`: the main job, from a model to a folder of tables and figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    DEFAULT_MODEL,
    Data,
    Device,
    Dtype,
    Limit,
    Model,
    Seed,
    Store,
    Tasks,
    chosen,
    folder_for,
    loaded,
    task_names,
)
from .scoring import facts_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from ..evaluation import Questions

EXPERIMENTS = ("similarity", "single_layers", "variants", "loops")
DEFAULT = EXPERIMENTS[:3]
# What a default run may cost: about eight minutes with the default model on two cores.
ITEMS, TOKENS, FEWEST_ITEMS = 32, 4_000, 8


def run(
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; runs/<model> if not given.")
    ] = None,
    store: Store = None,
    seed: Seed = 0,
    experiments: Annotated[
        str, typer.Option(help=f"Comma separated, out of {', '.join(EXPERIMENTS)}.")
    ] = ",".join(DEFAULT),
    every_window: Annotated[
        bool,
        typer.Option(
            "--every-window",
            help="Every window of middle layers, not every other; 28 loops, not 10.",
        ),
    ] = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """The main job: similarity of states, single layers dropped and swapped, all variants.

    Writes each figure as PDF and PNG, its table as CSV, and what produced it as JSON; and every
    single item that was scored as items.parquet.
    """
    from .. import report

    wanted = chosen(experiments, EXPERIMENTS, "experiment")
    folder = folder_for(model, out)
    bridge = loaded(model, device, dtype)
    questions = _questions(bridge, tasks, data, limit, seed)
    _run_experiments(bridge, questions, wanted, folder, every_window, store)
    report.draw(folder)
    print(f"Tables and figures are in {folder}/")
    for path in sorted(folder.iterdir()):
        if path.stem in wanted:
            print(f"  {path}")
    for sentence in report.summary(folder):
        print(sentence)


def _questions(
    bridge: "TransformerBridge", tasks: str | None, data: Path | None, limit: int | None, seed: int
) -> "Questions":
    """Tasks for a run; without a limit, as many items as a default run can afford."""
    from ..evaluation import prepare

    names = task_names(tasks)
    questions = prepare(bridge, names, data, limit or ITEMS, seed=seed)
    tokens = questions.tokens + questions.prompts.tokens
    if limit is None and tokens > TOKENS:
        fewer = max(FEWEST_ITEMS, ITEMS * TOKENS // tokens)
        print(
            f"{ITEMS} items per task are {tokens:,} tokens; "
            f"taking {fewer} items (--limit sets another number)"
        )
        questions = prepare(bridge, names, data, fewer, seed=seed)
    return questions


def _run_experiments(
    bridge: "TransformerBridge",
    questions: "Questions",
    wanted: list[str],
    folder: Path,
    every_window: bool,
    store: Path | None,
) -> None:
    """Everything chosen under one progress bar, with its cost printed first; tables to `folder`."""
    import pandas as pd

    from ..comparison import calls_needed, similarity
    from ..evaluation import score_items
    from ..experiments import every_window as all_windows
    from ..experiments import loops, single_layers, variants
    from ..experiments import plans as plans_of
    from ..items import summarise
    from ..plans import shared_calls
    from ..progress import progress
    from ..report import ITEM_TABLE
    from ..store import write_table
    from ..strategies import full
    from ..tables import labelled

    n_layers = len(bridge.blocks)
    firsts = all_windows(n_layers) if every_window else None
    few = all_windows(n_layers)[:-1:2]  # a window of one layer has no loop of its own
    makers = {
        "single_layers": lambda: single_layers(n_layers),
        "variants": lambda: variants(n_layers, firsts),
        "loops": lambda: loops(n_layers) if every_window else loops(n_layers, few, max_times=10),
    }
    parts = [makers[name]() for name in makers if name in wanted]
    texts = questions.texts
    facts = facts_of(bridge, questions)
    total = calls_needed(bridge, texts) if "similarity" in wanted else 0
    if parts:
        table = pd.concat(parts, ignore_index=True)
        plans = plans_of(table)
        total += questions.calls(plans)
        print(
            f"{len(plans)} plans, {shared_calls(plans):,} shared layer calls "
            f"({sum(len(p.calls) for p in plans):,} one by one), "
            f"{questions.items} items, {questions.tokens:,} tokens"
        )
    print(f"Estimate: {_estimate(bridge, questions, total)}")
    with progress("painters run", total):
        if "similarity" in wanted:
            found = similarity(bridge, texts)
            matrices = found.table()
            write_table(matrices, folder / "similarity", facts)
        if parts:
            items = score_items(bridge, table, questions, store=store)
            write_table(items, folder / ITEM_TABLE, facts)
            results = labelled(table, summarise(items, intact=str(full(n_layers))))
            for name, rows in results.groupby("experiment"):
                write_table(rows, folder / str(name), facts)


def _estimate(bridge: "TransformerBridge", questions: "Questions", total: int) -> str:
    """How long `total` token-layer calls take here, judged by running a few of them."""
    from ..evaluation import time_per_call

    seconds = total * time_per_call(bridge, questions)
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"
