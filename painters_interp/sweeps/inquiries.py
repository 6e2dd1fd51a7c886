"""The studies of a sweep: each of one model, in a folder of its own, whole or not there."""

import gc
import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..digests import digest
from ..errors import OutputError, PaintersError
from ..evaluation.harness.included import is_file_of_task
from ..evaluation.harness.requests import definition, requests_digest
from ..evaluation.harness.tasks import load_tasks
from ..models import load_model
from ..report import write_page
from ..storage import replacing, write_whole
from ..studies import run
from .joining import Losses
from .journal import Journal
from .shards import Group, groups_of
from .spec import Spec
from .workers import why

STUDIES = "studies"
_ASKED = "asked.json"


@dataclass(frozen=True)
class Inquiry:
    """A study of one model, with what it is asked."""

    group: Group
    study: str
    tasks: tuple[str, ...] | None
    limit: float | None
    data: str | None
    seed: int

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that tell it from others, the same in every run."""
        return digest(asdict(self))

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.group.name} study {self.study}, seed {self.seed}"

    def place(self, folder: Path) -> Path:
        """Where its findings go: a changed spec goes elsewhere."""
        model = re.sub(r"[^A-Za-z0-9.@-]+", "_", self.group.called).strip("_.")
        return folder / STUDIES / self.study / f"{model[-80:]}-{self.group.dtype}-{self.id[:8]}"

    def is_done(self, folder: Path) -> bool:
        """Whether its findings are there."""
        try:
            there = json.loads((self.place(folder) / _ASKED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(there == self.facts())

    def facts(self) -> dict[str, Any]:
        """What it is, as it is read back.

        Findings of another version of this code are none, nor those of other files than lie now
        where the model, the data and tasks of one's own are said to be.
        """
        tasks = {name: self._requests(name) for name in self.tasks or () if is_file_of_task(name)}
        files = {place: _files(Path(place)) for place in (self.group.model, self.data) if place}
        facts = asdict(self) | {"files": files, "requests": tasks, "painters_interp": __version__}
        found: dict[str, Any] = json.loads(json.dumps(facts))
        return found

    def _requests(self, name: str) -> list[str]:
        """What a task of one's own asks, and how it judges; nothing where it cannot be read."""
        try:
            found = load_tasks([name], self.data, seed=self.seed)
        except PaintersError:
            return []
        return [text for task in found for text in (requests_digest(task), definition(task))]

    def carry_out(self, model: Any, folder: Path, facts: Mapping[str, Any]) -> None:
        """Ask the model, and write all that was found.

        `facts` are its own from before the model was loaded: raises PaintersError where files have
        been changed since.
        """
        tasks = None if self.tasks is None else [*self.tasks]
        found = run(
            self.study, model, tasks, self.data, self.limit, seed=self.seed,
            store=folder / STUDIES / "scores",
        )  # fmt: skip
        if self.facts() != facts:
            raise PaintersError(
                "files of the model, the data or a task were changed while it was carried out; run "
                "the sweep again"
            )
        place = self.place(folder)
        with replacing(place) as part:
            found.save(part)
        write_page(place)
        write_whole(place / _ASKED, json.dumps(facts, indent=1).encode())  # what says done


def _files(place: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of a folder, or of one file; none for what is no path."""
    inside = [place] if place.is_file() else sorted(place.rglob("*"))
    stats = [(file.relative_to(place), file.stat()) for file in inside if file.is_file()]
    return [(str(name), stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def inquiries_of(spec: Spec) -> list[Inquiry]:
    """Every study of every model and seed, those of a model together."""
    data = None if spec.data is None else str(spec.data)
    return [
        Inquiry(group, asked.name, asked.tasks, asked.limit, data, seed)
        for group in groups_of(spec)
        for asked in spec.studies
        for seed in spec.seeds
    ]


def counted(studies: int) -> str:
    """So many studies, in words."""
    return "1 study" if studies == 1 else f"{studies} studies"


def inquire(
    folder: Path,
    inquiries: Sequence[Inquiry],
    journal: Journal,
    losses: Losses,
    stop: threading.Event,
    device: str | None,
) -> None:
    """Carry out what is not done yet, here, one after the other; what fails is noted.

    Raises KeyboardInterrupt where a wish to stop leaves some undone, and OutputError where nothing
    can be written.
    """
    left = [one for one in inquiries if not one.is_done(folder)]
    journal.note("kept", shards=[one.id for one in inquiries if one not in left])
    if inquiries:
        journal.say(f"{counted(len(inquiries))} of a model, {len(left)} of them to do")
    held: tuple[Group, Any] | None = None
    facts: dict[Inquiry, dict[str, Any]] = {}
    for one in left:
        if stop.is_set():
            raise KeyboardInterrupt
        journal.note("begun", shard=one.id)
        start = time.perf_counter()
        try:
            if held is None or held[0] != one.group:
                held = None
                gc.collect()  # before loading: two models may not fit
                facts |= {other: other.facts() for other in left if other.group == one.group}
                place = None if one.group.device_map is not None else device
                held = one.group, load_model(one.group.model, device=place, **one.group.options)
            one.carry_out(held[1], folder, facts[one])
        except Exception as error:  # of a model, a task, a device: the others go on
            if isinstance(error, OutputError):
                raise  # nor could the others be written
            journal.note("failed", shard=one.id, why=why(error))
            journal.say(losses.add(one.group, why(error), task=f"study {one.study}"))
            continue
        journal.note("done", shard=one.id, seconds=time.perf_counter() - start)
        journal.say(f"{one.name}: what was found is in {one.place(folder)}")
