"""`painters study`: what a paper did, on a model, with its claims and verdicts."""

import json
import re
from collections.abc import Sequence
from functools import partial
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
    Out,
    Seed,
    Store,
    Tasks,
    Texts,
    Venue,
    computable,
    loaded,
    look_of,
    model_of,
    task_names,
)
from .outputs import folder_for, try_folder, write_report

if TYPE_CHECKING:
    from ..studies import Study

Models = Annotated[
    list[str],
    typer.Option(
        parser=model_of,
        metavar="<model>",
        help="smollm2-135m, minilm-l6, a hub id, a checkpoint directory or a .gguf file; given "
        "again for another, where the study compares models.",
    ),
]
_BESIDE = 2.0  # seconds that statistics and figures take
_FEWEST = 8  # items of a task that a budget leaves
_UNITS = {"": 60, "s": 1, "min": 60, "h": 3600}


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="[study]", help="An id, such as 2407.09298.")
    ] = None,
    model: Models = [DEFAULT_MODEL],  # noqa: B006 (typer copies it)
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
    claims and what produced them to OUT/<study>; of several models, those of
    each to OUT/<study>/<model>.

    Example: painters study 2403.03853 --limit 16
    """
    from .. import studies
    from ..report import PAGE, writable_page
    from ..studies.registry import carried_out, carried_out_on_all, named
    from ..studies.study import facts_of_all

    if name is None:
        width = max(map(len, studies.STUDIES))
        print("\n".join(f"{s.id:{width}}  {s.title}" for s in studies.STUDIES.values()))
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
    bridges = [loaded(one, device, dtype) for one in model]
    asked: dict[str, Any] = {"data": data, "limit": limit or chosen.limit, "texts": lines}
    setting = partial(_settings, chosen, bridges, names, seed=seed, store=store)
    every = setting(**asked)
    estimate = _estimate(every, chosen)
    if seconds is not None and estimate > seconds:
        asked["limit"] = _fitting(every[0], estimate, seconds)
        every = setting(**asked)
        estimate = _estimate(every, chosen)
    print(f"{chosen.title}: {every[0].told}, about {_readable(estimate)}")
    facts = {name: asked[name] for name in ("data", "limit")}
    for place, on in _places(folder, chosen, every):
        _refuse_others(place, facts_of_all(on, chosen, **facts))
    if len(every) == 1:
        found = carried_out(chosen, every[0], **facts)
    else:
        found = carried_out_on_all(chosen, every, **facts)
    for path in [*found.save(folder, **look), *write_report(folder)]:
        print(f"  {path}")
    print(found)


def _seconds(text: str) -> float:
    """How long a budget is; a number alone is of minutes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|)", text.strip())
    if not found or float(found[1]) <= 0:
        raise PaintersError(f"--budget {text!r} is no time; write it as 90s, 30min or 2h")
    return float(found[1]) * _UNITS[found[2]]


def _settings(study: "Study", bridges: Sequence[Any], tasks: Any, **asked: Any) -> list[Any]:
    """What the study is given of each model. Raises PaintersError where it cannot compare them."""
    from ..studies.registry import by_name

    every = [study.ask(bridge, tasks, **asked) for bridge in bridges]
    if len(every) > 1:
        by_name(study, every)
    return every


def _places(folder: Path, study: "Study", every: list[Any]) -> list[tuple[Path, list[Any]]]:
    """Where findings go, and of which models: those of all, then of each."""
    from ..studies.registry import by_name

    if len(every) == 1:
        return [(folder, every)]
    each = [(folder / name, [on]) for name, on in by_name(study, every).items()]
    return [(folder, every), *each]


def _estimate(every: Sequence[Any], study: "Study") -> float:
    """Seconds that a study takes here, from a short trial of all that it does with each model."""
    from ..progress import silent

    with silent():
        return sum(study.calls(on).seconds() + _BESIDE for on in every)


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


def _refuse_others(folder: Path, facts: dict[str, Any]) -> None:
    """Raise OutputError where the folder holds the findings of another model or setting."""
    from ..storage import read_provenance

    if not (folder / "claims.csv").exists():
        return
    there = read_provenance(folder / "claims")
    here = json.loads(json.dumps(facts, default=str))
    for fact in ("model", "revision", "dtype", "tasks", "data", "limit", "items", "texts", "seed"):
        if there.get(fact) != here[fact]:
            raise OutputError(
                f"{folder} holds this study of another {fact} ({there.get(fact)}, not "
                f"{here[fact]}); give another --out, or delete it"
            )
