"""What is asked of a worker, and what it says: plain values, which travel between machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from .shards import Group, Shard


@dataclass(frozen=True, eq=False)
class Place:
    """Where the answers to a shard are kept: all that they depend on but the plan.

    `requests` is the digest of the whole task, of which the shard is a part, and `seconds` and
    `calls` what the shard may take for all plans.
    """

    facts: Mapping[str, Any]
    requests: str
    seconds: float
    calls: int


@dataclass(frozen=True, eq=False)
class Survey:
    """What a worker that has loaded a model says of it: its plans, and the places of its shards.

    `labels` is the table of labelled plans; `model` are the facts of `models.identity`; `places`
    are by the id of the shard.
    """

    group: Group
    labels: pd.DataFrame
    model: Mapping[str, Any]
    places: Mapping[str, Place]


@dataclass(frozen=True)
class Work:
    """A shard, and those plans of which there are no answers to it yet.

    `facts` are those of its place, which have to hold of whoever answers.
    """

    shard: Shard
    plans: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Answered:
    """The items of a shard under the plans of a work: None where no item could be answered.

    `lost` says of each item that raised an error which one; `batches` how many items went through
    the model together, one after the other; `halved` that memory ran out on the way.
    """

    items: pd.DataFrame | None
    batches: tuple[int, ...]
    seconds: float
    lost: Mapping[int, str] = field(default_factory=dict)
    halved: bool = False


@dataclass(frozen=True)
class Failed:
    """A shard or a model that could not be done, and why."""

    why: str
