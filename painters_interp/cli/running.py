"""`painters run`: the main job, from a model to a folder of tables and figures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from ..evaluation import Questions

SCORED = ("single_layers", "variants", "loops")
EXPERIMENTS = ("similarity", *SCORED, "decoding")
DEFAULT = EXPERIMENTS[:3]
# What a default run may cost: about eight minutes with the default model on two cores.
ITEMS, TOKENS, FEWEST_ITEMS = 32, 4_000, 8


@dataclass(frozen=True)
class _Stage:
    """A part of a run that writes its tables; what it takes, in token-layer calls, and how long
    one of them takes in seconds."""

    calls: int
    pace: float
    write: Callable[[], object]


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
    """The main job: similarity of states, single layers, all variants.

    On request loops (fig. 10), and decoding: texts under the exact and the
    published cache.

    Writes each figure as PDF and PNG, its table as CSV, what produced it as
    JSON, and every single item that was scored as items.parquet.
    """
    from .. import report
    from ..evaluation import time_per_call
    from ..progress import progress

    wanted = chosen(experiments, EXPERIMENTS, "experiment")
    folder = folder_for(model, out)
    bridge = loaded(model, device, dtype)
    scored = [name for name in SCORED if name in wanted]
    stages = []
    if scored or "similarity" in wanted:
        questions = _questions(bridge, task_names(tasks), data, limit, seed)
        pace = time_per_call(bridge, questions)
        if "similarity" in wanted:
            stages.append(_similarity(bridge, questions, pace, folder))
        if scored:
            stages.append(_scores(bridge, questions, pace, scored, every_window, folder, store))
    if "decoding" in wanted:
        questions = _questions(bridge, task_names(tasks, written=True), data, limit, seed)
        pace = time_per_call(bridge, questions)
        stages.append(_decoding(bridge, questions, pace, every_window, folder))
    print(f"Estimate: {_readable(sum(stage.calls * stage.pace for stage in stages))}")
    with progress("painters run", sum(stage.calls for stage in stages)):
        for stage in stages:
            stage.write()
    report.draw(folder)
    print(f"Tables and figures are in {folder}/")
    for path in sorted(folder.iterdir()):
        if path.stem in wanted:
            print(f"  {path}")
    for sentence in report.summary(folder):
        print(sentence)


def _questions(
    bridge: "TransformerBridge",
    names: Sequence[str],
    data: Path | None,
    limit: int | None,
    seed: int,
) -> "Questions":
    """Tasks for a run; without a limit, as many items as a default run can afford."""
    from ..evaluation import prepare

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


def _similarity(
    bridge: "TransformerBridge", questions: "Questions", pace: float, folder: Path
) -> _Stage:
    from ..comparison import calls_needed, similarity
    from ..storage import write_table

    def write() -> None:
        found = similarity(bridge, questions.texts)
        write_table(found.table(), folder / "similarity", facts_of(bridge, questions))

    return _Stage(calls_needed(bridge, questions.texts), pace, write)


def _scores(
    bridge: "TransformerBridge",
    questions: "Questions",
    pace: float,
    names: Sequence[str],
    every_window: bool,
    folder: Path,
    store: Path | None,
) -> _Stage:
    """The experiments `names`, all plans on the same items in one pass."""
    import pandas as pd

    from ..evaluation import results, score_items
    from ..experiments import plans as plans_of
    from ..plans import shared_calls
    from ..report import ITEM_TABLE
    from ..storage import write_table

    table = pd.concat(_experiments(names, len(bridge.blocks), every_window), ignore_index=True)
    plans = plans_of(table)
    print(
        f"{len(plans)} plans, {shared_calls(plans):,} shared layer calls "
        f"({sum(len(p.calls) for p in plans):,} one by one), "
        f"{questions.items} items, {questions.tokens:,} tokens"
    )

    def write() -> None:
        facts = facts_of(bridge, questions)
        items = score_items(bridge, table, questions, store=store)
        write_table(items, folder / ITEM_TABLE, facts)
        found = results(bridge, table, questions, items)
        for name, rows in found.groupby("experiment"):
            write_table(rows, folder / str(name), facts)

    return _Stage(questions.calls(plans), pace, write)


def _experiments(
    names: Sequence[str], n_layers: int, every_window: bool
) -> "Iterator[pd.DataFrame]":
    from .. import experiments

    every = experiments.every_window(n_layers)
    for name in names:
        match name:
            case "single_layers":
                yield experiments.single_layers(n_layers)
            case "variants":
                yield experiments.variants(n_layers, every if every_window else None)
            case "loops" if every_window:
                yield experiments.loops(n_layers)
            case "loops":  # a window of one layer has no loop of its own
                yield experiments.loops(n_layers, every[:-1:2], max_times=10)


def _decoding(
    bridge: "TransformerBridge",
    questions: "Questions",
    pace: float,
    every_window: bool,
    folder: Path,
) -> _Stage:
    """Texts under parallel and looped windows, decoded exactly and as published."""
    from .. import experiments
    from ..evaluation import decoding
    from ..storage import write_table

    n_layers = len(bridge.blocks)
    firsts = experiments.every_window(n_layers)[:-1] if every_window else None
    table = experiments.decoding(n_layers, firsts)
    calls = decoding.calls_needed(bridge, experiments.plans(table), questions)
    print(f"{table['plan'].nunique()} plans, both caches, {questions.items} texts to decode")

    def write() -> None:
        found = decoding.decode(bridge, table, questions)
        write_table(found, folder / "decoding", facts_of(bridge, questions))

    return _Stage(calls, pace, write)


def _readable(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"
