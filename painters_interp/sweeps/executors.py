"""Who does the work of a sweep: this process, or the actors of a Ray cluster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from .shards import Group, Shard
from .spec import Spec
from .work import Answered, Failed, Survey, Work
from .workers import Worker, why


class Crew(Protocol):
    """Workers. Both methods yield as results come, and begin nothing more once `stopping`.

    What cannot be done is a `Failed`, and the rest goes on. `begun` is told of each work.
    """

    workers: int

    def surveys(
        self, asked: Mapping[Group, Sequence[Shard]], stopping: Callable[[], bool]
    ) -> Iterator[tuple[Group, Survey | Failed]]:
        """What there is to do for each model."""
        ...

    def answers(
        self, works: Sequence[Work], stopping: Callable[[], bool], begun: Callable[[Work], None]
    ) -> Iterator[tuple[Work, Answered | Failed]]:
        """The answers to each work."""
        ...

    def close(self) -> None:
        """Let all workers go."""
        ...


class Here:
    """This process, one shard after the other."""

    workers = 1

    def __init__(self, spec: Spec, device: str | None, threads: int | None) -> None:
        self._worker = Worker(spec, device, threads)

    def surveys(
        self, asked: Mapping[Group, Sequence[Shard]], stopping: Callable[[], bool]
    ) -> Iterator[tuple[Group, Survey | Failed]]:
        """See `Crew`."""
        for group, shards in asked.items():
            if stopping():
                return
            yield group, surveyed(self._worker, group, shards)

    def answers(
        self, works: Sequence[Work], stopping: Callable[[], bool], begun: Callable[[Work], None]
    ) -> Iterator[tuple[Work, Answered | Failed]]:
        """See `Crew`."""
        held = self._worker.group
        for work in sorted(works, key=lambda work: work.shard.group != held):
            if stopping():
                return
            begun(work)
            yield work, answered(self._worker, work)

    def close(self) -> None:
        """See `Crew`."""
        self._worker.let_go()


def surveyed(worker: Worker, group: Group, shards: Sequence[Shard]) -> Survey | Failed:
    """What there is to do for a model, or why it cannot be done."""
    try:
        return worker.survey(group, shards)
    except Exception as error:  # a model, a plan: the others go on
        return Failed(why(error))


def answered(worker: Worker, work: Work) -> Answered | Failed:
    """The answers to a work, or why there are none."""
    try:
        return worker.answer(work.shard, work.plans, work.facts)
    except Exception as error:  # a model that is gone, say
        return Failed(why(error))
