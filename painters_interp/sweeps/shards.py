"""A sweep in shards: (model, task, range of items) for all plans, fixed by spec and tasks alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from ..digests import digest
from ..errors import PaintersError
from .spec import Spec

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """What is loaded once: a model in a number format.

    `device_map` is a way to spread it, or pairs of module and device.
    """

    model: str
    dtype: str
    revision: str | None = None
    trust: bool = False
    device_map: str | tuple[tuple[str, str | int], ...] | None = None

    @property
    def called(self) -> str:
        """The model, with its revision where one is asked for."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.called} ({self.dtype})"

    @property
    def options(self) -> dict[str, Any]:
        """What `load_model` is told."""
        spread = dict(self.device_map) if isinstance(self.device_map, tuple) else self.device_map
        told = {"dtype": self.dtype, "revision": self.revision, "device_map": spread}
        return {**told, "trust_remote_code": self.trust}


def groups_of(spec: Spec) -> list[Group]:
    """All that is loaded for a sweep, one after the other."""
    return [
        Group(asked.name, dtype, asked.revision, asked.trust, _pairs(asked.device_map))
        for asked in spec.models
        for dtype in spec.dtypes
    ]


def _pairs(
    spread: str | Mapping[str, str | int] | None,
) -> str | tuple[tuple[str, str | int], ...] | None:
    return tuple(spread.items()) if isinstance(spread, Mapping) else spread


@dataclass(frozen=True)
class Question:
    """A task as it is put: `asked` is the name in the spec, a task's or a group's of `task`.

    `requests` is the digest of what it asks, without the turns of a chat: where its items are
    changed, or others lie on another machine, it is another question.
    """

    asked: str
    task: str
    limit: float | None
    shots: int | None
    seed: int
    requests: str = ""


@dataclass(frozen=True)
class Shard:
    """Items of a task, by lm-eval's doc_id, and what is measured of them for one model.

    `measured` is a name in `evaluation.measurements.MEASUREMENTS`.
    """

    group: Group
    question: Question
    measured: str
    items: tuple[int, ...]

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that tell it from others, the same in every run."""
        return digest(asdict(self))

    @property
    def name(self) -> str:
        """What people call it."""
        of = self.question
        given = "" if of.shots is None else f", {of.shots} shots"
        kind = "" if self.measured == "task metrics" else f" ({self.measured})"
        return (
            f"{self.group.name} {of.task}{kind}{given}, seed {of.seed}, "
            f"items {self.items[0]}-{self.items[-1]}"
        )


def cut(
    groups: Sequence[Group],
    items: Mapping[Question, Sequence[int]],
    measured: Sequence[str],
    per_shard: int,
) -> list[Shard]:
    """Every shard of a sweep, those of a model together.

    `items` are those of each question, in the order in which the task has them.
    """
    return [
        Shard(group, question, name, tuple(own[start : start + per_shard]))
        for group in groups
        for question, own in items.items()
        for name in measured
        for start in range(0, len(own), per_shard)
    ]


@dataclass(frozen=True)
class Slice:
    """The `index`-th of `of` parts of a sweep, counted from 1: a job of an array."""

    index: int = 1
    of: int = 1

    @classmethod
    def read(cls, text: str) -> "Slice":
        """A slice from "3/16". Raises PaintersError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise PaintersError(
                f"--shard {text!r} is no part of a sweep; write it as 3/16, the third of sixteen"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @property
    def whole(self) -> bool:
        """Whether it is all there is."""
        return self.of == 1

    def of_shards(self, shards: Sequence[T]) -> list[T]:
        """The shards that are in it: neighbours, so that a job loads few models."""
        first, last = ((k * len(shards)) // self.of for k in (self.index - 1, self.index))
        return [*shards[first:last]]

    def holding(self, place: int, shards: int) -> "Slice":
        """The slice, of as many, that holds the shard at `place`."""
        parts = (replace(self, index=k) for k in range(1, self.of + 1))
        return next(p for p in parts if place < (p.index * shards) // self.of)
