"""`painters study`: what a paper did, on a model, with its claims and verdicts."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import OutputError, PaintersError
from .documents import lines_of
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
    Texts,
    Venue,
    computable,
    loaded,
    look_of,
    task_names,
)
from .outputs import folder_for, try_folder, write_report

if TYPE_CHECKING:
    from ..studies import Study

_BESIDE = 2.0  # seconds that statistics and figures take
_FEWEST = 8  # items of a task that a budget leaves
_UNITS = {"": 60, "s": 1, "min": 60, "h": 3600}


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="[study]", help="An id, such as 2407.09298.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    tasks: Tasks = None,
    data: Data = None,
    limit: Limit = None,
    texts: Texts = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time that it may take, such as 30min; items and texts are cut to fit."),
    ] = None,
    out: Out = None,
    store: Store = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Carry out what a paper did, and say which of its claims hold here.

    Without a study, lists those that there are. Writes tables, figures,
    claims and what produced them to OUT/<study>.

    Example: painters study 2403.03853 --limit 16
    """
    from .. import studies
    from ..report import PAGE, writable_page
    from ..studies.registry import carried_out, named

    if name is None:
        print(studies.listed().to_string(index=False, header=False))
        return
    chosen, look = named(name), look_of(venue, formats)
    seconds = None if budget is None else _seconds(budget)
    folder = folder_for(model, out) / chosen.id
    try_folder(folder)
    writable_page(folder / PAGE)
    if store is not None:
        try_folder(store)
    lines = None if texts is None else lines_of(texts)
    names = None if tasks is None else task_names(tasks)
    computable(device, dtype)
    bridge = loaded(model, device, dtype)
    asked: dict[str, Any] = {"data": data, "limit": limit or chosen.limit, "texts": lines}
    on = chosen.ask(bridge, names, seed=seed, store=store, **asked)
    estimate = _estimate(on, chosen)
    if seconds is not None and estimate > seconds:
        asked["limit"] = _fitting(on, estimate, seconds)
        on = chosen.ask(bridge, names, seed=seed, store=store, **asked)
        estimate = _estimate(on, chosen)
    print(f"{chosen.title}: {on.told}, about {_readable(estimate)}")
    facts = {name: asked[name] for name in ("data", "limit")}
    _refuse_others(folder, on, chosen, facts)
    found = carried_out(chosen, on, **facts)
    for path in [*found.save(folder, **look), *write_report(folder)]:
        print(f"  {path}")
    print(found)


def _seconds(text: str) -> float:
    """How long a budget is; a number alone is of minutes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|)", text.strip())
    if not found or float(found[1]) <= 0:
        raise PaintersError(f"--budget {text!r} is no time; write it as 90s, 30min or 2h")
    return float(found[1]) * _UNITS[found[2]]


def _estimate(on: Any, study: "Study") -> float:
    """Seconds that a study takes here, from a short trial of all that it does."""
    from ..progress import silent

    with silent():
        return study.calls(on).seconds() + _BESIDE


def _fitting(on: Any, estimate: float, seconds: float) -> int:
    """So many items of each task fit; PaintersError where that would be too few to tell."""
    fitting = int(on.most * seconds / estimate)
    if fitting < _FEWEST:
        needed = estimate * _FEWEST / on.most
        raise PaintersError(
            f"the budget is too small: {_FEWEST} items of each task take about {_readable(needed)}"
        )
    return fitting


def _readable(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _refuse_others(folder: Path, on: Any, study: "Study", facts: dict[str, Any]) -> None:
    """Raise OutputError where the folder holds the findings of another model or setting."""
    from ..storage import read_provenance
    from ..studies.study import facts_of

    if not (folder / "claims.csv").exists():
        return
    there = read_provenance(folder / "claims")
    here = json.loads(json.dumps(facts_of(on, study, **facts), default=str))
    for fact in ("model", "revision", "dtype", "tasks", "data", "limit", "items", "texts", "seed"):
        if there.get(fact) != here[fact]:
            raise OutputError(
                f"{folder} holds this study of another {fact} ({there.get(fact)}, not "
                f"{here[fact]}); give another --out, or delete it"
            )
