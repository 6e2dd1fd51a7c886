"""`painters evaluate`: plans on benchmark tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PaintersError
from .options import (
    DEFAULT_MODEL,
    Data,
    Device,
    Dtype,
    Limit,
    Model,
    Seed,
    Shots,
    Store,
    Tasks,
    listed,
    loaded,
    task_names,
)

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from ..evaluation import Questions


def evaluate(
    plans: Annotated[list[str], typer.Argument(help="Plans in quotes, such as '0-12 17-29'.")],
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    num_fewshot: Shots = None,
    cache: Annotated[str, typer.Option(help="How texts are written: exact or averaged.")] = "exact",
    out: Annotated[Path | None, typer.Option(help="Also write OUT.csv and OUT.json.")] = None,
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
) -> None:
    """Score plans on lm-eval tasks, all on the same items; the intact model comes first.

    delta is the difference to the intact model with its 95 % interval over
    items; p_adj is the chance of one as large by luck, corrected for the
    number of plans.
    """
    from ..evaluation import prepare, results, score_items
    from ..execution import as_plan
    from ..storage import write_table
    from ..strategies import full

    if items and out is None:
        raise PaintersError("--items needs a place to write to; add --out")
    bridge = loaded(model, device, dtype)
    intact = full(len(bridge.blocks))
    labelled = {"intact": intact} | {p: as_plan(p, bridge) for p in plans}
    questions = prepare(bridge, task_names(tasks), data, limit, num_fewshot, seed)
    found = score_items(
        bridge, labelled, questions, cache=cache, store=store, metrics=listed(metrics)
    )
    table = results(bridge, labelled, questions, found, cache)
    print(_readable(table).to_string(index=False, na_rep=""))
    if out is not None:
        facts = facts_of(bridge, questions)
        print(write_table(table, out, facts))
        if items:
            print(write_table(found, _items_beside(out), facts))


def _items_beside(out: Path) -> Path:
    """OUT.items.parquet, of OUT with or without the ending of a table."""
    from ..storage import FORMATS

    name = out.stem if out.suffix in FORMATS else out.name
    return out.with_name(f"{name}.items.parquet")


def _readable(table: "pd.DataFrame") -> "pd.DataFrame":
    """The columns one looks at, numbers short, each difference with its interval."""

    def short(number: float) -> str:
        return "" if number != number else f"{number:.4g}"

    shown = table[["plan", "task", "metric"]].copy()
    for column in ("value", "stderr", "chance", "delta"):
        shown[column] = table[column].map(short)
    ends = zip(table["delta_low"].map(short), table["delta_high"].map(short), strict=True)
    shown["95 % interval"] = [f"[{low}, {high}]" if low else "" for low, high in ends]
    shown["p_adj"] = table["p_adjusted"].map(short)
    return shown.assign(n=table["n"])


def facts_of(bridge: "TransformerBridge", questions: "Questions") -> dict[str, Any]:
    """What produced the scores of `questions`."""
    from ..models import identity
    from ..storage import provenance

    return provenance(
        **identity(bridge),
        tasks={task.config.task: str(task.VERSION) for task in questions.tasks},
        items=questions.items,
        tokens=questions.tokens,
        truncated=questions.truncated,
        seed=questions.seed,
    )
