"""`painters ...`: the rooms composed for the command line, and nothing else.

Heavy libraries are imported inside the commands, so that help answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from .errors import PaintersError, TaskError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from .evaluation import Questions

DEFAULT_MODEL = "smollm2-135m"
EXPERIMENTS = ("similarity", "single_layers", "variants")
# What a default run may cost: about eight minutes with the default model on two cores.
ITEMS, TOKENS, FEWEST_ITEMS = 32, 4_000, 8

app = typer.Typer(
    name="painters",
    help="Ask a pretrained transformer what each of its layers does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str, typer.Option(help="smollm2-135m, a hub id, a checkpoint directory or a .gguf file.")
]
Tasks = Annotated[
    str | None,
    typer.Option(help="lm-eval tasks, comma separated; the built-in probes if not given."),
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of local task data: DATA/<task>/<split>.jsonl.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Items per task.")]
Shots = Annotated[int | None, typer.Option(min=0, help="Examples in the prompt.")]
Seed = Annotated[int, typer.Option(help="Seed of the examples in the prompt.")]
Dtype = Annotated[str | None, typer.Option(help="float32 (default), bfloat16, float16, float64.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; a GPU if there is one.")]


def main() -> None:
    """Run the command line: a user's error is one line on stderr and exit code 2."""
    try:
        status = app(standalone_mode=False)
    except PaintersError as error:
        status = _failed(str(error))
    except TyperException as error:
        status = _failed(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    sys.exit(status)


def _failed(message: str) -> int:
    print(f"painters: {' '.join(message.split())}", file=sys.stderr)
    return 2


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A model, as for --model.")] = DEFAULT_MODEL,
) -> None:
    """Put a model on this machine's disk, so that it loads without a network."""
    from .models import fetch as fetched

    print(fetched(name))


@app.command()
def models() -> None:
    """List what can be loaded, and what is there already."""
    from .models import catalog

    for row in catalog():
        state = f"{row['state']}; " if row["state"] else ""
        print(f"{row['name']:14}{row['source']} (licence: {row['licence']})")
        print(f"{'':14}{state}{row['location']}")


@app.command()
def plan(
    text: Annotated[str, typer.Argument(help="For example '0-8 (9-20)*3 21-29'.")],
    layers: Annotated[int, typer.Option(min=1, help="Number of layers of the model.")] = 30,
) -> None:
    """Say a plan in words, and count its layer calls."""
    from .plans import Plan

    value = Plan.parse(text, n_layers=layers)
    print(value)
    print(value.describe())


@app.command()
def run(
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; runs/<model> if not given.")
    ] = None,
    seed: Seed = 0,
    experiments: Annotated[str, typer.Option(help="Which to run, comma separated.")] = ",".join(
        EXPERIMENTS
    ),
    every_window: Annotated[
        bool,
        typer.Option("--every-window", help="Every window of middle layers, not every other."),
    ] = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """The main job: similarity of states, single layers dropped and swapped, all variants.

    Writes each figure as PDF and PNG, its table as CSV, and what produced it as JSON.
    """
    from . import report
    from .files import writable_folder

    chosen = _chosen(experiments, EXPERIMENTS, "experiment")
    folder = writable_folder(out or Path("runs") / model.rstrip("/").split("/")[-1])
    bridge = _loaded(model, device, dtype)
    questions = _questions(bridge, tasks, data, limit, seed)
    _run_experiments(bridge, questions, chosen, folder, every_window)
    report.draw(folder)
    print(f"Tables and figures are in {folder}/")
    for path in sorted(folder.iterdir()):
        if path.stem in chosen:
            print(f"  {path}")
    for sentence in report.summary(folder):
        print(sentence)


def _loaded(model: str, device: str | None, dtype: str | None) -> "TransformerBridge":
    from .models import load_model

    return load_model(model, device=device, dtype=dtype)


def _chosen(given: str, known: Sequence[str], noun: str) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise PaintersError(f"no {noun} {name!r}; there are {', '.join(known)}")
    if not names:
        raise PaintersError(f"no {noun} named; there are {', '.join(known)}")
    return names


def _questions(
    bridge: "TransformerBridge", tasks: str | None, data: Path | None, limit: int | None, seed: int
) -> "Questions":
    """Tasks for a run; without a limit, as many items as a default run can afford."""
    from .evaluation import PROBES, prepare

    names = [*PROBES] if tasks is None else [t.strip() for t in tasks.split(",") if t.strip()]
    if not names:
        raise TaskError(f"no task named; built in: {', '.join(PROBES)}")
    questions = prepare(bridge, names, data, limit or ITEMS, seed=seed)
    if limit is None and questions.tokens > TOKENS:
        fewer = max(FEWEST_ITEMS, ITEMS * TOKENS // questions.tokens)
        print(
            f"{ITEMS} items per task are {questions.tokens:,} tokens; "
            f"taking {fewer} items (--limit sets another number)"
        )
        questions = prepare(bridge, names, data, fewer, seed=seed)
    return questions


def _run_experiments(
    bridge: "TransformerBridge",
    questions: "Questions",
    chosen: list[str],
    folder: Path,
    every_window: bool,
) -> None:
    """Everything chosen under one progress bar, with its cost printed first; tables to `folder`."""
    import pandas as pd

    from .comparison import calls_needed, similarity
    from .evaluation import evaluate
    from .experiments import every_window as all_windows
    from .experiments import plans as plans_of
    from .experiments import single_layers, variants
    from .plans import shared_calls
    from .progress import progress
    from .store import write_table
    from .tables import from_matrices

    n_layers = len(bridge.blocks)
    firsts = all_windows(n_layers) if every_window else None
    makers = {
        "single_layers": lambda: single_layers(n_layers),
        "variants": lambda: variants(n_layers, firsts),
    }
    parts = [makers[name]() for name in makers if name in chosen]
    texts = questions.texts
    facts = _provenance(bridge, questions)
    total = calls_needed(bridge, texts) if "similarity" in chosen else 0
    if parts:
        table = pd.concat(parts, ignore_index=True)
        plans = plans_of(table)
        total += questions.tokens * shared_calls(plans)
        print(
            f"{len(plans)} plans, {shared_calls(plans):,} shared layer calls "
            f"({sum(len(p.calls) for p in plans):,} one by one), "
            f"{questions.items} items, {questions.tokens:,} tokens"
        )
    print(f"Estimate: {_estimate(bridge, questions, total)}")
    with progress("painters run", total):
        if "similarity" in chosen:
            found = similarity(bridge, texts)
            matrices = from_matrices({name: m.matrix for name, m in found.items()})
            write_table(matrices, folder / "similarity", facts)
        if parts:
            results = evaluate(bridge, table, questions)
            for name, rows in results.groupby("experiment"):
                write_table(rows, folder / str(name), facts)


def _estimate(bridge: "TransformerBridge", questions: "Questions", total: int) -> str:
    """How long `total` token-layer calls take here, judged by running a few of them."""
    from .evaluation import time_per_call

    seconds = total * time_per_call(bridge, questions)
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"


def _provenance(bridge: "TransformerBridge", questions: "Questions") -> dict[str, Any]:
    from .models import identity
    from .tables import provenance

    return provenance(
        **identity(bridge),
        tasks={task.config.task: str(task.VERSION) for task in questions.tasks},
        items=questions.items,
        tokens=questions.tokens,
        truncated=questions.truncated,
        seed=questions.seed,
    )


@app.command()
def similarity(
    model: Model = DEFAULT_MODEL,
    texts: Annotated[
        Path | None,
        typer.Option(help="A text file, one document a line; built-in passages if none."),
    ] = None,
    measures: Annotated[str, typer.Option(help="Comma separated.")] = "cosine,cosine_flat",
    plan: Annotated[str | None, typer.Option(help="Compare the states of a plan's steps.")] = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/<model> if not given.")] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Heatmaps of how alike the residual streams at all depths are (Fig. 3)."""
    from . import comparison, report
    from .files import writable_folder
    from .models import identity
    from .store import write_table
    from .tables import from_matrices, provenance

    folder = writable_folder(out or Path("runs") / model.rstrip("/").split("/")[-1])
    bridge = _loaded(model, device, dtype)
    documents = _documents(bridge, texts)[:limit]
    names = [name.strip() for name in measures.split(",") if name.strip()]
    found = comparison.similarity(bridge, documents, names, plan)
    facts = provenance(**identity(bridge), texts=len(documents), plan=plan)
    matrices = from_matrices({name: m.matrix for name, m in found.items()})
    write_table(matrices, folder / "similarity", facts)
    for path in report.draw(folder, ["similarity"]):
        print(path)


def _documents(bridge: "TransformerBridge", path: Path | None) -> list[str]:
    """One text a line of `path`, or the passages of the first built-in task."""
    if path is None:
        from .evaluation import PROBES, prepare

        return prepare(bridge, PROBES[:1]).texts
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PaintersError(f"cannot read texts from {path}: {error}; give a UTF-8 file") from error
    return [line for line in lines if line.strip()]


@app.command()
def evaluate(
    plans: Annotated[list[str], typer.Argument(help="Plans in quotes, such as '0-12 17-29'.")],
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    num_fewshot: Shots = None,
    out: Annotated[Path | None, typer.Option(help="Also write OUT.csv and OUT.json.")] = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Score plans on lm-eval tasks, all on the same items; the intact model comes first."""
    from .evaluation import PROBES, prepare
    from .evaluation import evaluate as evaluated
    from .execution import as_plan
    from .store import write_table
    from .strategies import full

    bridge = _loaded(model, device, dtype)
    intact = full(len(bridge.blocks))
    labelled = {"intact": intact} | {p: as_plan(p, bridge) for p in plans}
    names = [*PROBES] if tasks is None else [t.strip() for t in tasks.split(",") if t.strip()]
    questions = prepare(bridge, names, data, limit, num_fewshot, seed)
    table = evaluated(bridge, labelled, questions)
    shown = table[["plan", "task", "metric", "value", "stderr", "n", "chance"]]
    print(shown.to_string(index=False, float_format="{:.4f}".format, na_rep=""))
    if out is not None:
        print(write_table(table, out, _provenance(bridge, questions)))


@app.command()
def figures(
    folder: Annotated[Path, typer.Argument(help="A folder that `painters run` wrote.")],
) -> None:
    """Redraw the figures of a run from its tables; needs no model."""
    from . import report

    for path in report.draw(folder):
        print(path)
    for sentence in report.summary(folder):
        print(sentence)


@app.command()
def check(
    model: Model = DEFAULT_MODEL,
    plan: Annotated[
        list[str] | None, typer.Option(help="Plans to prove; one of every kind if not given.")
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Prove that plans run exactly on a model: cached decoding, shared prefixes, padding."""
    from .execution import check as checked
    from .execution import specimens

    bridge = _loaded(model, device, dtype)
    gaps = ("cached_gap", "runner_gap", "padding_gap", "own_gap")
    print(f"{'':7}" + "".join(f"{gap.replace('_', ' '):>13}" for gap in gaps) + "  plan")
    reports = []
    for chosen in plan or specimens(bridge):
        reports.append(found := checked(bridge, chosen))
        values = (getattr(found, gap) for gap in gaps)
        shown = "".join(f"{'-' if value is None else f'{value:.0e}':>13}" for value in values)
        print(f"{'ok' if found.ok else 'NOT OK':7}{shown}  {found.plan}")
    sound = sum(found.ok for found in reports)
    print(
        f"{sound} of {len(reports)} ok: differences of log-probabilities in float32, tolerance "
        f"{reports[0].tolerance:g} nats; the own gap is in the model's own dtype and not judged"
    )
    if sound < len(reports):
        raise typer.Exit(1)
