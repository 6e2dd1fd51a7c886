"""`painters run`: the main job, from a model to a folder of tables and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PaintersError
from ..plans.words import count
from ..terminal import duration, say
from .options import (
    ALL_FORMATS,
    DEFAULT_MODEL,
    Data,
    Device,
    Dtype,
    Formats,
    Limit,
    Model,
    Out,
    Seed,
    Store,
    Tasks,
    Venue,
    chosen,
    loaded,
    look_of,
    task_names,
)
from .outputs import folder_of_tables, try_folder, write_report

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from ..evaluation import Questions

SCORED = ("single_layers", "variants", "loops", "internal_loops")
EXPERIMENTS = ("similarity", *SCORED, "decoding")
DEFAULT = EXPERIMENTS[:3]
# What a default run may cost: about eight minutes with the default model on two cores.
ITEMS, TOKENS, FEWEST_ITEMS = 32, 4_000, 8


def run(
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    out: Out = None,
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
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """The main job: similarity of states, single layers, all variants.

    On request loops (fig. 10), internal_loops (each layer repeated in place,
    fig. 17), and decoding: texts under the exact and the published cache.

    Writes each figure as PDF, PNG and SVG, its table as CSV, what produced it as
    JSON, and every single item that was scored beside the table that rests on
    it. Tables that other runs left in the folder stay as they are.

    Example: painters run --experiments single_layers,variants --limit 16
    """
    wanted, look = chosen(experiments, EXPERIMENTS, "experiment"), look_of(venue, formats)

    from ..report import PAGE, writable_page

    folder = folder_of_tables(model, out, wanted)
    writable_page(folder / PAGE)
    try_folder(store)
    bridge = loaded(model, device, dtype)
    wanted = _possible(wanted, len(bridge.blocks))
    _carry_out(bridge, wanted, tasks, data, limit, seed, every_window, folder, store, look)


def _possible(wanted: Sequence[str], n_layers: int) -> list[str]:
    """The experiments for which a model has layers enough; what is left out is said."""
    from .stages import FEWEST_LAYERS

    possible = [name for name in wanted if n_layers >= FEWEST_LAYERS.get(name, 1)]
    short = [name for name in wanted if name not in possible]
    reason = f"a model of {count(n_layers, 'layer')} has too few for"
    told = ", ".join(f"{name} ({FEWEST_LAYERS[name]} or more)" for name in short)
    if not possible:
        raise PaintersError(f"{reason} {told}")
    if short:
        say(f"Left out: {reason} {told}", hang=4)
    return possible


def _carry_out(
    bridge: "TransformerBridge",
    wanted: Sequence[str],
    tasks: str | None,
    data: Path | None,
    limit: float | None,
    seed: int,
    every_window: bool,
    folder: Path,
    store: Path | None,
    look: Mapping[str, Any],
) -> None:
    from .. import report
    from ..progress import progress
    from . import stages

    planned: list[stages.Stage] = []
    scored = [name for name in SCORED if name in wanted]
    if scored or "similarity" in wanted:
        questions, items = _questions(bridge, task_names(tasks), data, limit, seed)
        asked = stages.Asked(bridge, questions, folder, {"limit": items, "data": data})
        if "similarity" in wanted:
            planned.append(stages.similarities(asked))
        if scored:
            planned.append(stages.scores(asked, scored, every_window, store))
    if "decoding" in wanted:
        questions, items = _questions(bridge, task_names(tasks, written=True), data, limit, seed)
        asked = stages.Asked(bridge, questions, folder, {"limit": items, "data": data})
        planned.append(stages.decodings(asked, every_window))
    seconds = sum(stage.seconds for stage in planned) + stages.drawing(wanted)
    print(f"Estimate: about {duration(seconds)}")
    with progress("painters run", sum(stage.calls for stage in planned)):
        written = [name for stage in planned for name in stage.write()]
    drawn = report.draw(folder, written, **look)
    print(f"Tables and figures are in {folder}/")
    tables = [folder / f"{name}.csv" for name in written]
    for path in sorted([*drawn, *tables, *write_report(folder)]):
        print(f"  {path}")
    for sentence in report.summary(folder, written):
        say(sentence, hang=4)


def _questions(
    bridge: "TransformerBridge",
    names: Sequence[str],
    data: Path | None,
    limit: float | None,
    seed: int,
) -> "tuple[Questions, float]":
    """Tasks for a run, and how many items of each; without a limit, what a run can afford."""
    from ..evaluation import prepare

    items = limit or ITEMS
    questions = prepare(bridge, names, data, items, seed=seed)
    tokens = questions.tokens + questions.prompts.tokens
    if limit is None and tokens > TOKENS:
        items = max(FEWEST_ITEMS, ITEMS * TOKENS // tokens)
        told = f"{ITEMS} items per task are {tokens:,} tokens; taking {items} items"
        print(f"{told} (--limit sets another)")
        questions = prepare(bridge, names, data, items, seed=seed)
    return questions, items
