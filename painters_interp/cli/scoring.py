"""`painters evaluate`: plans on benchmark tasks."""

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
    Shots,
    Tasks,
    loaded,
    task_names,
)

if TYPE_CHECKING:
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
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Score plans on lm-eval tasks, all on the same items; the intact model comes first."""
    from ..evaluation import evaluate as evaluated
    from ..evaluation import prepare
    from ..execution import as_plan
    from ..store import write_table
    from ..strategies import full

    bridge = loaded(model, device, dtype)
    intact = full(len(bridge.blocks))
    labelled = {"intact": intact} | {p: as_plan(p, bridge) for p in plans}
    questions = prepare(bridge, task_names(tasks), data, limit, num_fewshot, seed)
    table = evaluated(bridge, labelled, questions, cache=cache)
    shown = table[["plan", "task", "metric", "value", "stderr", "n", "chance"]]
    print(shown.to_string(index=False, float_format="{:.4f}".format, na_rep=""))
    if out is not None:
        print(write_table(table, out, facts_of(bridge, questions)))


def facts_of(bridge: "TransformerBridge", questions: "Questions") -> dict[str, Any]:
    """What produced the scores of `questions`."""
    from ..models import identity
    from ..tables import provenance

    return provenance(
        **identity(bridge),
        tasks={task.config.task: str(task.VERSION) for task in questions.tasks},
        items=questions.items,
        tokens=questions.tokens,
        truncated=questions.truncated,
        seed=questions.seed,
    )
