"""`sweep`: a spec in, parts and tables out; killed at any moment and run again, nothing is lost."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from ..arguments import counting
from ..errors import OutputError, PaintersError
from ..evaluation.measurements import TASK_METRICS
from ..plans.words import count
from ..progress import progress
from ..storage import making, writable_folder
from ..terminal import say_aside
from .executors import Crew, Here
from .inquiries import Inquiry, counted, inquire, inquiries_of
from .joining import PARTS, Losses, Swept, join, kept, repeated, shelf_of, whole_plans
from .journal import Journal, notes
from .manifests import read_manifest, write_manifest
from .shards import Group, Question, Shard, Slice, cut, groups_of
from .spec import Spec, read_spec
from .work import Answered, Failed, Place, Survey, Work
from .workers import tasks_of

EXECUTORS = ("local", "ray")


@counting(workers=1, cpus_per_worker=1)
def sweep(
    spec: Spec | str | Path | Mapping[str, Any],
    out: str | Path,
    executor: str = "local",
    *,
    shard: str | None = None,
    collect: bool = False,
    address: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    cpus_per_worker: int | None = None,
    device: str | None = None,
) -> Swept:
    """Carry out a sweep: every plan on every task, for every model that a spec names.

    What is done is kept in `out` as it is found, whole or not at all. The same call goes on where
    another one was cut off; a changed spec adds what is new. Models that cannot be loaded, shards
    and items that raise errors are named, and everything else is done.

    Args:
        spec: Of what: a YAML file, or a mapping (see `read_spec`).
        out: The folder of the results; several sweeps and several machines may share one.
        executor: "local", in this process; or "ray", on the actors of a cluster.
        shard: A part such as "3/16", to be run by itself: a job of an array.
        collect: Whether to run nothing, and join what such jobs have found.
        address: Of a Ray cluster that runs, as `ray.init` takes it; RAY_ADDRESS, or a cluster on
            this machine alone, if not given.
        workers: How many actors; as many as the cluster has room for, if not given.
        gpus_per_worker: What of the cluster each of them takes.
        cpus_per_worker: As well; and the threads that it computes with: 1 on Ray, and torch's own
            choice in this process, if not given.
        device: Where to compute; the first GPU that a worker sees if not given.

    Returns:
        What was found. Where a part is run, its tables are empty.

    Raises:
        PaintersError: a spec, a task, a folder or a cluster with which nothing can be done.
        KeyboardInterrupt: after an interruption; the first one lets the shard be finished that is
            being answered, the second one does not.

    Example:
        >>> spec = {"models": str(checkpoint), "tasks": "probe_facts", "plans": "0-2 5"}
        >>> found = painters.sweep(spec | {"limits": 2}, tmp_path / "sweep")
        >>> found.results[["plan", "n"]].drop_duplicates().values.tolist()
        [['0-5', 2], ['0-2 5', 2]]
    """
    asked, part = read_spec(spec), Slice() if shard is None else Slice.read(shard)
    if executor not in EXECUTORS:
        raise PaintersError(f"no executor {executor!r}; there are {', '.join(EXECUTORS)}")
    if collect and shard is not None:
        raise PaintersError(
            "collect (--collect) runs nothing and joins what all jobs have found; leave out shard "
            "(--shard), or leave it out to run that part"
        )
    if collect and not any((Path(out) / name).is_dir() for name in ("journal", PARTS)):
        raise PaintersError(f"there is no sweep in {out}; give the folder that was its --out")
    shards = _shards(asked)
    if collect:
        return _collected(_renaming(writable_folder(out)), asked, shards)
    with making(out) as folder:
        _renaming(folder)
        crew = _crew(asked, executor, address, workers, gpus_per_worker, cpus_per_worker, device)
    # Signals are caught only now: Ray takes them over when it is joined.
    with Journal(folder) as journal, _interruptible(journal) as stop:
        with closing(crew):
            driver = Driver(folder, asked, part, shards, crew, journal, stop)
            found = driver.drive()
        inquire(folder, driver.studies, journal, driver.losses, stop, device)
        driver.say_how_it_went()
        return replace(found, failed=driver.losses.table)


def _crew(
    spec: Spec,
    executor: str,
    address: str | None,
    workers: int | None,
    gpus: float,
    cpus: int | None,
    device: str | None,
) -> Crew:
    if executor == "local":
        if address is not None or workers not in (None, 1) or gpus:
            raise PaintersError(
                "address, workers and gpus_per_worker are of a cluster; add executor='ray'"
            )
        return Here(spec, device, cpus)
    from .cluster import Cluster

    return Cluster.joined(spec, address, workers, gpus, cpus, device)


def _shards(spec: Spec) -> list[Shard]:
    """Every shard of a sweep. Raises TaskError for a task that does not exist."""
    items: dict[Question, list[int]] = {}
    for asked in spec.tasks:
        name = asked.name
        for limit, shots, seed in product(
            asked.limits or spec.limits, asked.shots or spec.shots, spec.seeds
        ):
            found = tasks_of(spec, Question(name, name, limit, shots, seed))
            for question, task in found.items():
                items[question] = [*dict.fromkeys(i.doc_id for i in task.instances)]
    return cut(groups_of(spec), items, [TASK_METRICS, *spec.metrics], spec.items_per_shard)


@dataclass
class Driver:
    """The one that writes: asks a crew, keeps what it says, and notes it."""

    folder: Path
    spec: Spec
    part: Slice
    shards: Sequence[Shard]
    crew: Crew
    journal: Journal
    stop: threading.Event
    losses: Losses = field(default_factory=Losses)
    places: dict[str, Place] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def own(self) -> list[Shard]:
        """The shards that it is to do."""
        return self.part.of_shards(self.shards)

    @property
    def studies(self) -> list[Inquiry]:
        """The studies that it is to carry out."""
        return self.part.of_shards(inquiries_of(self.spec))

    def drive(self) -> Swept:
        """Do what is left to be done, and join it where it is the whole sweep."""
        own = self.own
        self._note_plan()
        surveys = self._surveys(own)
        works = [] if self.stop.is_set() else self._works(own, surveys)
        if own:
            self._say_what_is_left(own, works)
        self._answer(works)
        if self.stop.is_set():
            raise KeyboardInterrupt
        results, items = pd.DataFrame(), pd.DataFrame()
        if self.part.whole:
            results, items = join(self.folder, self.spec, self.shards, surveys, self._miss)
        return Swept(results, items, self.losses.table)

    def _note_plan(self) -> None:
        rows = [[s.id, s.group.called, s.group.dtype, s.question.task, s.measured, len(s.items)]
                for s in self.shards]  # fmt: skip
        studies = inquiries_of(self.spec)
        rows += [[one.id, one.group.called, one.group.dtype, f"study {one.study}", "claims", 0]
                 for one in studies]  # fmt: skip
        own = [*(one.id for one in self.own), *(one.id for one in self.studies)]
        given = {"spec": self.spec.digest, "slice": str(self.part), "workers": self.crew.workers}
        self.journal.note("planned", **given, shards=rows, own=own)

    def _surveys(self, own: Sequence[Shard]) -> dict[Group, Survey]:
        asked: dict[Group, list[Shard]] = {}
        for shard in own:
            asked.setdefault(shard.group, []).append(shard)
        surveys = {}
        for group, found in self.crew.surveys(asked, self.stop.is_set):
            if isinstance(found, Failed):
                self._refuse(group, found.why)
                continue
            surveys[group] = found
            write_manifest(self.folder, self.spec, self.part, found)
            seconds = {shard: place.seconds for shard, place in found.places.items()}
            self.journal.note("surveyed", seconds=seconds)
        in_order = {group: surveys[group] for group in asked if group in surveys}
        for group, why in repeated(in_order).items():
            self._refuse(group, why)
            del in_order[group]
        return in_order

    def _refuse(self, group: Group, why: str) -> None:
        self.journal.note("refused", model=group.called, dtype=group.dtype, why=why)
        self.journal.say(self.losses.add(group, why))

    def _works(self, own: Sequence[Shard], surveys: Mapping[Group, Survey]) -> list[Work]:
        """What is not on disk yet, in the order of the shards."""
        works, done = [], []
        for shard in own:
            if shard.group not in surveys:
                continue
            survey = surveys[shard.group]
            place = survey.places[shard.id]
            items, wrong = kept(self.folder, shard, place)
            for sentence in wrong:
                self.journal.say(sentence)
            there = whole_plans(items, shard)
            plans = [str(plan) for plan in survey.labels["plan"].unique()]
            missing = tuple(plan for plan in plans if plan not in there)
            if not missing:
                done.append(shard.id)
                continue
            share = len(missing) / len(plans)
            calls, seconds = round(place.calls * share), place.seconds * share
            works.append(Work(shard, missing, place.facts, calls, seconds))
            self.places[shard.id] = place
        self.journal.note("kept", shards=done)
        return works

    def _say_what_is_left(self, own: Sequence[Shard], works: Sequence[Work]) -> None:
        seconds = sum(work.seconds for work in works) / self.crew.workers
        plans = len({plan for work in works for plan in work.plans})
        self.journal.say(
            f"{count(len(own), 'shard')}, {len(works)} of them to do: {plans} plans, "
            f"{sum(work.calls for work in works):,} token-layer calls, about {readable(seconds)} "
            f"with {count(self.crew.workers, 'worker')}"
        )

    def _answer(self, works: Sequence[Work]) -> None:
        if not works:
            return
        with progress("sweep", sum(work.calls for work in works)) as advance:
            for work, found in self.crew.answers(works, self.stop.is_set, self._begun):
                self._keep(work, found)
                advance(work.calls)

    def _begun(self, work: Work) -> None:
        self.journal.note("begun", shard=work.shard.id)

    def _keep(self, work: Work, found: Answered | Failed) -> None:
        shard = work.shard
        if isinstance(found, Failed) or found.lost:
            self.failed.add(shard.id)
        if isinstance(found, Failed):
            self.journal.note("failed", shard=shard.id, why=found.why)
            self.journal.say(self.losses.add(shard.group, found.why, shard))
            return
        for item, why in found.lost.items():
            self.journal.say(self.losses.add(shard.group, why, shard, str(item)))
        if found.halved:
            self.journal.say(
                f"{shard.name}: memory ran out; {min(found.batches, default=1)} items go through "
                "the model together from now on"
            )
        if found.items is None:
            self.journal.note("failed", shard=shard.id, why=next(iter(found.lost.values())))
            return
        shelf_of(self.folder, shard, self.places[shard.id]).write(found.items)
        undefined = _not_finite(found.items)
        lost = {str(item): why for item, why in found.lost.items()}
        facts = {"seconds": found.seconds, "estimate": work.seconds, "batches": found.batches}
        event = "partial" if lost else "done"
        self.journal.note(event, shard=shard.id, **facts, lost=lost, undefined=undefined)
        for plan, values in undefined.items():
            self.journal.say(f"{shard.name}: plan {plan!r} has {values} values that are no numbers")

    def _miss(self, shard: Shard, why: str) -> None:
        """What was there, or was written, and is gone when all is joined."""
        if shard.id not in self.failed:
            self.journal.note("failed", shard=shard.id, why=why)
            self.journal.say(self.losses.add(shard.group, why, shard))

    def say_how_it_went(self) -> None:
        """Tell whoever watches what was done, and what was not."""
        failed = len(self.losses.table)
        told = f"{failed} failed, see above and {self.journal.log}" if failed else "nothing failed"
        part = "" if self.part.whole else f"--shard {self.part}: "
        studies = [counted(len(self.studies))] if self.studies else []
        shards = [count(len(self.own), "shard")] if self.own or not studies else []
        self.journal.say(f"{part}{', '.join([*shards, *studies, told])}")


def _not_finite(items: pd.DataFrame) -> dict[str, int]:
    wrong = items[~np.isfinite(items["value"].to_numpy(dtype=float))]
    return {str(plan): int(n) for plan, n in wrong.groupby("plan", observed=True).size().items()}


def _collected(folder: Path, spec: Spec, shards: Sequence[Shard]) -> Swept:
    """What the jobs of an array have found, joined; what they have not is said."""
    groups = dict.fromkeys(shard.group for shard in shards)
    looked = {group: read_manifest(folder, spec, group) for group in groups}
    surveys = {group: survey for group, survey in looked.items() if survey is not None}
    losses, jobs, again = Losses(), _jobs(folder, spec), repeated(surveys)
    for group, why in again.items():
        say_aside(losses.add(group, why))
        del surveys[group]
    asked = inquiries_of(spec)
    left = [
        (jobs.holding(at, len(shards)), shard.group, shard.question.task)
        for at, shard in enumerate(shards)
        if shard.group not in again and not _is_done(folder, shard, surveys)
    ]
    left += [
        (jobs.holding(at, len(asked)), one.group, f"study {one.study}")
        for at, one in enumerate(asked)
        if not one.is_done(folder)
    ]
    for job, group, task in left:
        losses.add(group, f"not done; run --shard {job} again", task=task)
    if left:
        every = ", ".join(dict.fromkeys(str(job) for job, _, _ in left))
        say_aside(
            f"{len(left)} of {count(len(shards) + len(asked), 'shard')} are not done; "
            f"run --shard {every} again"
        )
    results, items = join(folder, spec, shards, surveys, _said)
    return Swept(results, items, losses.table, len(left))


def _said(shard: Shard, why: str) -> None:
    """What is missing was said when it was counted."""


def _is_done(folder: Path, shard: Shard, surveys: Mapping[Group, Survey]) -> bool:
    survey = surveys.get(shard.group)
    if survey is None or shard.id not in survey.places:
        return False
    items, wrong = kept(folder, shard, survey.places[shard.id])
    for sentence in wrong:
        say_aside(sentence)
    return not {*survey.labels["plan"].astype(str)} - whole_plans(items, shard)


def _jobs(folder: Path, spec: Spec) -> Slice:
    """The array of which a job of this sweep ran last."""
    planned = [note.facts for note in notes(folder) if note.event == "planned"]
    slices = [facts["slice"] for facts in planned if facts["spec"] == spec.digest]
    return Slice.read(slices[-1]) if slices else Slice()


@contextmanager
def _interruptible(journal: Journal) -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say_aside(
            "\nStopping when the shards are finished that are being answered, or the study that is "
            "carried out; once more stops at once. Nothing that is written is lost: the same "
            "command goes on from here."
        )

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _renaming(folder: Path) -> Path:
    """The folder, if files in it can be renamed, which is how parts appear whole. OutputError."""
    one, other = (folder / f".{uuid4().hex}.trial" for _ in range(2))
    try:
        one.write_bytes(b"")
        one.replace(other)
    except OSError as error:
        raise OutputError(
            f"{folder}: files cannot be renamed there ({error.strerror or error}), which is how "
            "parts of a sweep appear whole; give a folder on another file system"
        ) from error
    finally:
        for left in (one, other):
            left.unlink(missing_ok=True)
    return folder


def readable(seconds: float) -> str:
    """A time as people say it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
