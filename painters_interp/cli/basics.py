"""Commands that look at models, plans and saved runs."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DEFAULT_MODEL, Device, Dtype, Model, loaded


def fetch(
    name: Annotated[str, typer.Argument(help="A model, as for --model.")] = DEFAULT_MODEL,
) -> None:
    """Put a model on this machine's disk, so that it loads without a network."""
    from ..models import fetch as fetched

    print(fetched(name))


def models() -> None:
    """List what can be loaded, and what is there already."""
    from ..models import catalog

    for row in catalog():
        state = f"{row['state']}; " if row["state"] else ""
        print(f"{row['name']:14}{row['source']} (licence: {row['licence']})")
        print(f"{'':14}{state}{row['location']}")


def plan(
    text: Annotated[str, typer.Argument(help="For example '0-8 (9-20)*3 21-29'.")],
    layers: Annotated[int, typer.Option(min=1, help="Number of layers of the model.")] = 30,
) -> None:
    """Say a plan in words, and count its layer calls."""
    from ..plans import Plan

    value = Plan.parse(text, n_layers=layers)
    print(value)
    print(value.describe())


def check(
    model: Model = DEFAULT_MODEL,
    plan: Annotated[
        list[str] | None, typer.Option(help="Plans to prove; one of every kind if not given.")
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Prove that plans run exactly on a model: cached decoding, shared prefixes, padding."""
    from ..execution import check as checked
    from ..execution import specimens

    bridge = loaded(model, device, dtype)
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


def figures(
    folder: Annotated[Path, typer.Argument(help="A folder that `painters run` wrote.")],
) -> None:
    """Redraw the figures of a run from its tables; needs no model."""
    from .. import report

    for path in report.draw(folder):
        print(path)
    for sentence in report.summary(folder):
        print(sentence)
