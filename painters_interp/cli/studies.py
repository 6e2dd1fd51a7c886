"""`painters study`: what a paper did, on a model, with its claims and verdicts."""

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import OutputError, PaintersError
from ..terminal import duration, room, say
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
_FITS = 3  # times that limits are cut to fit a budget
_FEWEST = 8  # items of a task that a budget leaves
_SURELY = 0.5  # of what calls take at the pace of one layer: less than that nothing takes
_TELLING = ("model", "revision", "dtype", "tasks", "data", "limit", "items", "texts", "seed")
_UNITS = {"": 60, "s": 1, "min": 60, "h": 3600}


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="[study]", help="An id, such as 2407.09298.")
    ] = None,
    model: Models = [],  # noqa: B006 (typer copies it)
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

    Without a study, lists those that there are and what each takes: token-layer
    calls, and minutes on the --model that is given. Writes tables, figures,
    claims and what produced them to OUT/<study>; of several models, those of
    each to OUT/<study>/<model>.

    Example: painters study 2403.03853 --limit 16
    """
    from ..report import PAGE, writable_page
    from ..studies.claims import as_lines
    from ..studies.registry import carried_out, carried_out_on_all, named, refuse_shallow

    begun = time.perf_counter()
    if name is None:
        _list(model, tasks, data, limit, seed, dtype, device)
        return
    model = model or [DEFAULT_MODEL]
    chosen, look = named(name), look_of(venue, formats)
    seconds = None if budget is None else _seconds(budget)
    folder = folder_for(model, out) / chosen.id
    try_folder(folder)
    writable_page(folder / PAGE)
    try_folder(store)
    lines = None if texts is None else lines_of(texts)
    names = None if tasks is None else task_names(tasks)
    facts: dict[str, Any] = {"data": data, "limit": limit or chosen.limit, "budget": seconds}
    if seconds is not None and (there := _facts_there(folder)).get("budget") == seconds:
        facts["limit"], seconds = there["limit"], None  # what this budget was found to allow
    bridges = [loaded(one, device, dtype) for one in model]
    asked: dict[str, Any] = {"data": data, "texts": lines, "seed": seed, "store": store}
    setting = partial(_settings, chosen, bridges, names, **asked)
    every = setting(limit=facts["limit"])
    refuse_shallow(chosen, every)
    if seconds is None:
        _refuse_others(folder, chosen, every, facts)
    every, facts["limit"], told = _fitted(chosen, every, setting, facts["limit"], seconds, begun,
                                          look)  # fmt: skip
    say(f"{chosen.title}: {every[0].told}, {told}", hang=4)
    _refuse_others(folder, chosen, every, facts)
    if len(every) == 1:
        found = carried_out(chosen, every[0], **facts)
    else:
        found = carried_out_on_all(chosen, every, **facts)
    for path in [*found.save(folder, **look), *write_report(folder)]:
        print(f"  {path}")
    print(as_lines(found.claims, room()))


def _fitted(
    study: "Study",
    every: list[Any],
    setting: Callable[..., list[Any]],
    limit: float,
    seconds: float | None,
    begun: float,
    look: dict[str, Any],
) -> tuple[list[Any], float, str]:
    """What the study is given of each model and its limit, cut to fit the seconds; what it takes.

    What forbids it is said as soon as it is known: by a trial of one layer, by the scores of the
    intact model, and at last by a trial of all that the study does.
    """
    from ..progress import silent
    from ..studies.registry import at_chance

    if seconds is not None:
        least = _SURELY * sum(on.pace() * int(study.calls(on)) for on in every)
        _fitting(every[0], least, time.perf_counter() - begun, seconds, "more than")
    with silent():
        at_chance(study, every)
        work = sum(study.calls(on).seconds() for on in every)
    beside = time.perf_counter() - begun + _drawing(study, look) * (len(every) + (len(every) > 1))
    for _ in range(_FITS):
        if seconds is None or beside + work <= seconds:
            break
        before = _calls(every, study)
        limit = _fitting(every[0], work, beside, seconds)
        every = setting(limit=limit)
        work *= _calls(every, study) / before
    told = f"about {duration(beside + work)}, {duration(beside)} of it to load, try and draw"
    return every, limit, told


def _list(
    models: Sequence[str],
    tasks: str | None,
    data: Path | None,
    limit: float | None,
    seed: int,
    dtype: str | None,
    device: str | None,
) -> None:
    """Print the studies and what each takes: calls, and minutes of them on a model that is given.

    Minutes are counted, not tried: all calls at the pace of one short timing of the model's layers.
    """
    from .. import studies
    from ..execution import ready
    from ..studies.study import asked

    if len(models) > 1:
        raise PaintersError("what studies take is told of one --model at a time")
    if not models:
        _outline()
        return
    width = max(map(len, studies.STUDIES))
    bridge = loaded(models[0], device, dtype)
    names = None if tasks is None else task_names(tasks)
    pace = 0.0
    for study in studies.STUDIES.values():
        if len(bridge.blocks) < study.fewest_layers:
            _line(f"{study.id:{width}}  needs {study.fewest_layers} layers  ", study.title)
            continue
        if study.ask is asked and not ready(bridge).causal:
            _line(f"{study.id:{width}}  needs a model that predicts next tokens  ", study.title)
            continue
        own = names if study.ask is asked else None
        on = study.ask(bridge, own, data if own or names is None else None,
                       limit or study.limit, seed=seed)  # fmt: skip
        if not pace:
            pace = on.pace()
            print(f"Token-layer calls, and minutes at {1 / pace:,.0f} of them a second")
        calls = int(study.calls(on))
        minutes = f"{calls * pace / 60:6.1f} min"
        _line(f"{study.id:{width}}  {_millions(calls)}  {minutes}  ", study.title)


def _outline() -> None:
    """Print the studies and the calls that each takes of a model of a common size."""
    from .. import studies

    width = max(map(len, studies.STUDIES))
    sketch = studies.outline()
    counted = studies.listed(sketch).set_index("id")["calls"].fillna(0).astype(int).to_dict()
    told = f"a model of {sketch.n} layers, {len(sketch.texts)} items a task"
    print(f"Token-layer calls of {told}; minutes: --model")
    for study in studies.STUDIES.values():
        _line(f"{study.id:{width}}  {_millions(counted[study.id])}  ", study.title)


def _line(columns: str, title: str) -> None:
    say(columns + title, hang=len(columns))


def _millions(calls: int) -> str:
    return f"{calls / 1e6:7.2f} M" if calls else "        ?"


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


def _calls(every: Sequence[Any], study: "Study") -> int:
    return sum(int(study.calls(on)) for on in every)


def _drawing(study: "Study", look: dict[str, Any]) -> float:
    """Seconds of a study's figures and page, from one figure that is drawn and thrown away."""
    from tempfile import TemporaryDirectory

    import numpy as np

    from .. import figures
    from ..progress import trial

    def draw() -> None:
        with TemporaryDirectory() as folder, figures.publication(look["venue"]):
            figure = figures.heatmap(np.eye(20), label="a measure")
            figures.save(figure, Path(folder) / "sample", look["formats"])

    return trial(draw) * (study.figures + 1)


def _fitting(on: Any, work: float, beside: float, seconds: float, about: str = "about") -> int:
    """So many items of each task fit; PaintersError where that would be too few to tell."""
    fitting, fewest = int(on.most * (seconds - beside) / work), min(_FEWEST, on.most)
    if fitting < fewest:
        needed = beside + work * fewest / on.most
        raise PaintersError(
            f"the budget is too small: {fewest} items of each task take {about} {duration(needed)}"
        )
    return fitting


def _facts_there(folder: Path) -> dict[str, Any]:
    """What produced the findings that lie in a folder; nothing where there are none."""
    from ..storage import read_provenance

    return read_provenance(folder / "claims") if (folder / "claims.csv").exists() else {}


def _refuse_others(folder: Path, study: "Study", every: list[Any], facts: dict[str, Any]) -> None:
    """Raise OutputError where the findings of another model or setting lie where these go."""
    from ..studies.study import facts_of_all

    for place, on in _places(folder, study, every):
        there = _facts_there(place)
        here = json.loads(json.dumps(facts_of_all(on, study, **facts), default=str))
        for fact in _TELLING if there else ():
            if there.get(fact) != here[fact]:
                raise OutputError(
                    f"{place} holds this study of another {fact} ({there.get(fact)}, not "
                    f"{here[fact]}); give another --out, or delete it"
                )
