"""Workers of a sweep as actors of Ray: on a cluster that runs, or on one for this machine alone.

A model comes into memory once for each actor, one actor after the other, so that a file system is
not asked for all copies at once. What an actor was doing when it died is done again by another.
Actors wait for room in the cluster, which may have lost it for good with a machine: work is given
to those alone that have arrived.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import PaintersError
from ..notices import warn
from .connection import connected
from .executors import answered, surveyed
from .shards import Group, Shard
from .spec import Spec
from .work import Answered, Failed, Survey, Work
from .workers import Worker, why

_LOOK = 0.5  # seconds between two looks for a wish to stop
_TRIES = 3  # how many workers may die over the same work, or on their way to a seat
_PATIENCE = 120  # looks without anybody at work, before that is said


class Hand:
    """What an actor is: a worker whose errors are values, for not all of them can be sent."""

    def __init__(self, spec: Spec, device: str | None, threads: int) -> None:
        self._worker = Worker(spec, device, threads)

    def arrive(self) -> None:
        """Be there."""

    def load(self, group: Group) -> Failed | None:
        """Hold a model."""
        try:
            self._worker.load(group)
        except Exception as error:  # a model: the others go on
            return Failed(why(error))
        return None

    def survey(self, group: Group, shards: Sequence[Shard]) -> Survey | Failed:
        """See `Worker`."""
        return surveyed(self._worker, group, shards)

    def answer(self, work: Work) -> Answered | Failed:
        """See `Worker`."""
        return answered(self._worker, work)


@dataclass(eq=False)
class _Seat:
    """A place for an actor; who sits there may change. `dead` came and went without a word."""

    actor: Any = None
    group: Group | None = None
    dead: int = 0


@dataclass(eq=False)
class _Job:
    """Something to ask an actor that holds the model of `group`."""

    group: Group
    key: Any
    ask: Callable[[Any], Any]
    tries: int = 0


class Cluster:
    """See `Crew`. Raises PaintersError for a cluster that does not answer or has too little."""

    def __init__(
        self, ray: Any, hire: Callable[[], Any], workers: int, leave: Callable[[], None]
    ) -> None:
        self._ray, self._hire, self._leave = ray, hire, leave
        self.workers = workers
        self._seats = [_Seat() for _ in range(workers)]
        self._arriving: dict[Any, _Seat] = {}
        self._why = ""  # nobody can be seated
        for seat in self._seats:
            self._fill(seat)

    @classmethod
    def joined(
        cls,
        spec: Spec,
        address: str | None = None,
        workers: int | None = None,
        gpus: float = 0.0,
        cpus: int | None = None,
        device: str | None = None,
    ) -> "Cluster":
        """Actors on the cluster at an address, or on one that is started here."""
        threads = cpus or 1
        ray, leave = connected(address, (workers or 1) * threads)
        try:
            seats = _seats(ray.cluster_resources(), workers, gpus, threads)
            hand = ray.remote(num_cpus=threads, num_gpus=gpus)(Hand)
            return cls(ray, partial(hand.remote, spec, device, threads), seats, leave)
        except BaseException:
            leave()
            raise

    def surveys(
        self, asked: Mapping[Group, Sequence[Shard]], stopping: Callable[[], bool]
    ) -> Iterator[tuple[Group, Survey | Failed]]:
        """See `Crew`."""
        jobs = [_Job(g, g, partial(_ask_survey, g, shards)) for g, shards in asked.items()]
        yield from self._done(jobs, stopping, _nothing)

    def answers(
        self, works: Sequence[Work], stopping: Callable[[], bool], begun: Callable[[Work], None]
    ) -> Iterator[tuple[Work, Answered | Failed]]:
        """See `Crew`."""
        jobs = [_Job(work.shard.group, work, partial(_ask_answer, work)) for work in works]
        yield from self._done(jobs, stopping, begun)

    def close(self) -> None:
        """See `Crew`."""
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._leave()

    def _fill(self, seat: _Seat) -> None:
        """Hire an actor, who is given nothing before it has arrived."""
        seat.actor, seat.group = self._hire(), None
        self._arriving[seat.actor.arrive.remote()] = seat

    def _arrived(self, reference: Any) -> None:
        """Let an actor that is there be asked, or try another one for as long as that may help."""
        seat = self._arriving.pop(reference)
        try:
            self._ray.get(reference)
            seat.dead = 0
        except self._ray.exceptions.RayError as error:
            seat.dead += 1
            if seat.dead < _TRIES:
                return self._fill(seat)
            self._why = f"a worker cannot be started: {why(error)}"
            self._seats.remove(seat)
            warn(f"{self._why}; {len(self._seats)} are left")

    def _done(
        self, jobs: Sequence[_Job], stopping: Callable[[], bool], begun: Callable[[Any], None]
    ) -> Iterator[tuple[Any, Any]]:
        """What becomes of each job, as it comes."""
        waiting = [*jobs]
        busy: dict[Any, tuple[_Seat, _Job, bool]] = {}
        alone = 0
        while busy or (waiting and not stopping()):
            if not stopping():
                self._hand_out(waiting, busy, begun)
            if not self._seats:
                yield from ((job.key, Failed(self._why)) for job in waiting)
                return
            ready, _ = self._ray.wait([*busy, *self._arriving], timeout=_LOOK)
            alone = 0 if ready or busy else alone + 1
            if alone == _PATIENCE:
                warn(
                    "no worker has arrived; the sweep waits until the Ray cluster has room for one"
                )
            for reference in ready:
                if reference in self._arriving:
                    self._arrived(reference)
                    continue
                seat, job, loading = busy.pop(reference)
                found = self._found(reference, seat, job)
                if found is None and loading and not stopping():
                    seat.group = job.group
                    begun(job.key)
                    busy[job.ask(seat.actor)] = (seat, job, False)
                elif isinstance(found, _Lost | None):
                    waiting.insert(0, job)
                else:
                    yield job.key, found

    def _hand_out(
        self,
        waiting: list[_Job],
        busy: dict[Any, tuple[_Seat, _Job, bool]],
        begun: Callable[[Any], None],
    ) -> None:
        """Give idle actors what they hold the model of; one at a time loads another."""
        taken = {*self._arriving.values(), *(seat for seat, _, _ in busy.values())}
        for seat in self._seats:
            if seat in taken:
                continue
            job = next((job for job in waiting if job.group == seat.group), None)
            if job is not None:
                begun(job.key)
                busy[job.ask(seat.actor)] = (seat, job, False)
            elif waiting and not any(loading for _, _, loading in busy.values()):
                job, seat.group = waiting[0], None
                busy[seat.actor.load.remote(job.group)] = (seat, job, True)
            else:
                continue
            waiting.remove(job)

    def _found(self, reference: Any, seat: _Seat, job: _Job) -> Any:
        """What an actor says; where it died, another one takes its seat."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._fill(seat)
            job.tries += 1
            if job.tries < _TRIES:
                return _Lost()
            return Failed(f"{_TRIES} workers died over it; the last: {why(error)}")
        except self._ray.exceptions.RayError as error:  # what it says cannot be read
            return Failed(why(error))


class _Lost:
    """That an actor died, and its job is to be done again."""


def _ask_survey(group: Group, shards: Sequence[Shard], actor: Any) -> Any:
    return actor.survey.remote(group, shards)


def _ask_answer(work: Work, actor: Any) -> Any:
    return actor.answer.remote(work)


def _nothing(key: Any) -> None:
    """Nobody wants to know when a survey begins."""


def _seats(there: Mapping[str, float], workers: int | None, gpus: float, cpus: int) -> int:
    """How many workers there are to be. Raises PaintersError where they would wait for ever."""
    room = int(there.get("CPU", 0) // cpus)
    if there.get("GPU") and not gpus:
        warn(
            f"the Ray cluster has {there['GPU']:g} GPUs, of which the workers take none; "
            "--gpus-per-worker 1 (gpus_per_worker=1) gives each of them one"
        )
    if gpus:
        room = min(room, int(there.get("GPU", 0) // gpus))
    if room < (workers or 1):
        has = f"{there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs"
        asked = f"{workers or 1} of {cpus} cores and {gpus:g} GPUs each"
        raise PaintersError(
            f"the Ray cluster has {has}, which is not enough for workers: {asked}; ask for fewer "
            "with --workers, --gpus-per-worker or --cpus-per-worker"
        )
    return workers or room
