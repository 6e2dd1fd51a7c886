"""`painters patch ...`: tensors moved from one run into another."""

from typing import Annotated

import typer

from ..errors import PatchError
from .documents import documents, lines_of
from .options import (
    ALL_FORMATS,
    DEFAULT_MODEL,
    Device,
    Documents,
    Dtype,
    Formats,
    Model,
    Out,
    Plan,
    Plans,
    PlanWords,
    Texts,
    Venue,
    loaded,
    look_of,
    plans_named,
    whole_numbers,
)
from .outputs import folder_of_tables, write_one

Positions = Annotated[
    str | None, typer.Option(help="Token positions, such as 3,4 or -2,-1; all if not given.")
]
Metric = Annotated[str, typer.Option(help="kl, loss, logit_difference, probability or logprob.")]
Right = Annotated[
    str | None, typer.Option(help="The right answer, one token; often begins with a space.")
]
Wrong = Annotated[str | None, typer.Option(help="The wrong answer, one token.")]
# How many answers a metric reads.
_READS = {"logit_difference": 2, "probability": 1, "logprob": 1}


def residual(
    clean: Annotated[str, typer.Argument(help="A prompt that has the right answer.")],
    corrupted: Annotated[str, typer.Argument(help="Its counterpart, as many tokens long.")],
    right: Right = None,
    wrong: Wrong = None,
    metric: Metric = "logit_difference",
    positions: Positions = None,
    plan: Plan = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Put the clean run's stream into the corrupted run, layer by layer, token by token.

    Example: painters patch residual "The capital of France is" "The capital of Italy is"
    --right " Paris" --wrong " Rome"
    """
    from ..models import identity
    from ..patching import patch_residual
    from ..storage import provenance

    answers, places = _answers(metric, right, wrong), whole_numbers(positions, "--positions")
    look = look_of(venue, formats)
    folder = folder_of_tables(model, out, ["patch_residual"])
    bridge = loaded(model, device, dtype)
    table = patch_residual(bridge, clean, corrupted, metric, plan, places, answers=answers)
    asked = {"clean": clean, "corrupted": corrupted, "right": right, "wrong": wrong, "plan": plan}
    facts = provenance(**identity(bridge), **asked, positions=positions)
    write_one("patch_residual", table, folder, facts, look)


def across(
    source: Annotated[str, typer.Argument(help="The prompt whose states are taken.")],
    target: Annotated[
        str | None, typer.Option(help="The prompt they are put into; the same if not given.")
    ] = None,
    metric: Metric = "kl",
    positions: Positions = None,
    source_positions: Annotated[
        str | None, typer.Option(help="Where they are taken; as --positions if not given.")
    ] = None,
    right: Right = None,
    wrong: Wrong = None,
    plan: Plan = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Put the stream before layer i before layer j, for all i and j: who can read whom?

    Example: painters patch across "The capital of France is" --positions -1
    """
    from ..models import identity
    from ..patching import crossing
    from ..storage import provenance

    answers, places = _answers(metric, right, wrong), whole_numbers(positions, "--positions")
    taken = whole_numbers(source_positions, "--source-positions")
    look = look_of(venue, formats)
    folder = folder_of_tables(model, out, ["patch_across"])
    bridge = loaded(model, device, dtype)
    table = crossing(
        bridge, source, target, metric, plan, places, source_positions=taken, answers=answers
    )
    asked = {"source": source, "target": target, "positions": positions, "plan": plan}
    asked |= {"source_positions": source_positions, "right": right, "wrong": wrong}
    write_one("patch_across", table, folder, provenance(**identity(bridge), **asked), look)


def effects(
    words: PlanWords = None,
    plan: Plans = None,
    texts: Texts = None,
    at: Annotated[
        int | None,
        typer.Option(min=0, max=10**9, help="Change this token alone, and measure later ones."),
    ] = None,
    limit: Documents = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Drop each layer, or run each plan, and see how much every later layer's update changes.

    Example: painters patch effects --texts my_documents.txt --at 4
    """
    from ..models import identity
    from ..patching import effects as measured
    from ..storage import provenance

    look = look_of(venue, formats)
    lines, folder = lines_of(texts), folder_of_tables(model, out, ["patch_effects"])
    bridge = loaded(model, device, dtype)
    read = documents(lines, limit)
    plans = plans_named(words, plan) or None
    table = measured(bridge, read, plans, at)
    facts = provenance(**identity(bridge), texts=len(read), changed_at=at, plans=plans)
    write_one("patch_effects", table, folder, facts, look)


def _answers(metric: str, right: str | None, wrong: str | None) -> tuple[str, ...] | None:
    """The answers that are given, for a metric that reads them."""
    from ..patching.metrics import METRICS

    if metric not in METRICS:
        raise PatchError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    if wrong is not None and right is None:
        raise PatchError("--wrong is compared with the right answer; give --right too")
    words = {"--right": right, "--wrong": wrong}
    given = [option for option, word in words.items() if word is not None]
    read = _READS.get(metric, 0)
    if idle := given[read:]:
        raise PatchError(f"--metric {metric} does not read {' or '.join(idle)}; leave it out")
    if len(given) < read:
        raise PatchError(f"--metric {metric} reads answers; give {' and '.join([*words][:read])}")
    return tuple(word for word in words.values() if word is not None) or None
