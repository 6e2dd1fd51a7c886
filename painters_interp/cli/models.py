"""Commands about models: which there are, to have one here, to prove that plans run on it."""

from typing import Annotated

import typer

from ..terminal import say
from .options import (
    DEFAULT_MODEL,
    Device,
    Dtype,
    Model,
    Plans,
    PlanWords,
    loaded,
    model_of,
    plans_named,
)


def fetch(
    name: Annotated[
        str, typer.Argument(parser=model_of, metavar="MODEL", help="A model, as for --model.")
    ] = DEFAULT_MODEL,
) -> None:
    """Put a model on this machine's disk, so that it loads without a network.

    Example: painters fetch smollm2-135m
    """
    from ..models import fetch as fetched

    print(fetched(name))


def models() -> None:
    """List what can be loaded, and what is there already.

    Example: painters models
    """
    from ..models import catalog

    for row in catalog():
        state = f"{row['state']}; " if row["state"] else ""
        say(f"{row['name']:14}{row['source']} (licence: {row['licence']})", hang=14)
        say(f"{'':14}{state}{row['location']}", hang=14)


def check(
    plans: PlanWords = None,
    plan: Plans = None,
    model: Model = DEFAULT_MODEL,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Prove that plans run exactly on a model: cached decoding, shared prefixes, padding.

    Without a plan, on one of every kind; a recipe on its own.

    Example: painters check "0-12 (13-16) 17-23" --model EleutherAI/pythia-410m
    """
    from ..execution import as_plan, specimens
    from ..execution import check as checked
    from ..models import StandsForModel

    bridge = loaded(model, device, dtype)
    given = [as_plan(text, bridge) for text in plans_named(plans, plan)]
    if not given:
        given = [bridge.plan] if isinstance(bridge, StandsForModel) else specimens(bridge)
    gaps = ("cached_gap", "runner_gap", "padding_gap", "own_gap")
    print("gap    " + "".join(f"{gap.removesuffix('_gap'):>9}" for gap in gaps) + "  plan")
    reports = []
    for chosen in given:
        reports.append(found := checked(bridge, chosen))
        values = (getattr(found, gap) for gap in gaps)
        shown = "".join(f"{'-' if value is None else f'{value:.0e}':>9}" for value in values)
        say(f"{'ok' if found.ok else 'NOT OK':7}{shown}  {found.plan}", hang=45)
    sound = sum(found.ok for found in reports)
    tolerances = {found.tolerance for found in reports}
    least, most = min(tolerances), max(tolerances)
    rounding = f" ({most:.1g} where rounding alone is large)" if most > least else ""
    told = (
        f"{sound} of {len(reports)} ok: differences of log-probabilities in float32, tolerance "
        f"{least:.1g} nats{rounding}; the own gap is in the model's own dtype and not judged"
    )
    say(told, hang=4)
    if sound < len(reports):
        raise typer.Exit(1)
