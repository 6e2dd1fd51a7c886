"""A sweep in shards: (model, task, range of items) for all plans, fixed by the spec alone."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ..errors import PaintersError


@dataclass(frozen=True)
class Group:
    """What is loaded once: a model in a number format."""

    model: str
    dtype: str

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.model} ({self.dtype})"


@dataclass(frozen=True)
class Question:
    """A task as it is put: `asked` is the name in the spec, a task's or a group's of `task`."""

    asked: str
    task: str
    limit: float | None
    shots: int | None
    seed: int


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
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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

    def of_shards(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that are in it: neighbours, so that a job loads few models."""
        first, last = ((k * len(shards)) // self.of for k in (self.index - 1, self.index))
        return [*shards[first:last]]

    def holding(self, place: int, shards: int) -> "Slice":
        """The slice, of as many, that holds the shard at `place`."""
        parts = (replace(self, index=k) for k in range(1, self.of + 1))
        return next(p for p in parts if place < (p.index * shards) // self.of)
