"""`cost`: what an experiment takes on a model and machines that are not here, from a formula.

A layer call on a token multiplies it by every weight of the layer and by the keys and values that
it sees; a layer call on many tokens reads the layer's weights once. Whichever takes longer counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, nan
from typing import Any

import pandas as pd

from ..arguments import counting
from ..errors import PaintersError
from ..plans import Plan, schedule, shared_calls
from .paper import suite
from .rows import plans as plans_in

# Of the memory, what streams, caches and the libraries take beside the weights.
_ROOM = 0.1
# Tokens that go through a layer together, for which its weights are read once.
_TOKENS_AT_ONCE = 2**14
_CACHED = 2  # bytes of a number in a cache: half precision


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes: a gated MLP of `d_ff`, keys and values `kv_width` wide.

    Raises PaintersError for sizes that are none.
    """

    n_layers: int
    d_model: int
    d_ff: int
    kv_width: int
    vocabulary: int

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if not 1 <= size <= 10**7:
                raise PaintersError(f"{name}={size} is no size of a model; give 1 to ten million")
        if self.n_layers > 1000:
            raise PaintersError(f"{self.n_layers} layers are more than the 1,000 that can be asked")

    @property
    def layer_weights(self) -> int:
        """Query and output, keys and values, and the MLP's three matrices."""
        return self.d_model * (2 * self.d_model + 2 * self.kv_width + 3 * self.d_ff)

    @property
    def weights(self) -> int:
        """All layers, the embedding and the head."""
        return self.n_layers * self.layer_weights + 2 * self.vocabulary * self.d_model

    def call_flops(self, keys: float) -> float:
        """Operations of a layer call on a token that sees so many keys."""
        return 2 * self.layer_weights + 4 * self.d_model * keys

    @property
    def head_flops(self) -> int:
        """Operations of the head on a token."""
        return 2 * self.vocabulary * self.d_model


@dataclass(frozen=True)
class Hardware:
    """An accelerator, by what it reaches: operations and bytes a second, and bytes of memory.

    Raises PaintersError for what is none.
    """

    name: str
    rate: float
    bandwidth: float
    memory: float

    def __post_init__(self) -> None:
        for name in ("rate", "bandwidth", "memory"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise PaintersError(f"{name}={value} of {self.name} is not above 0")


# Its makers' peak in bfloat16, of which forward passes of whole batches reach about two fifths.
UTILISATION = 0.4
H100 = Hardware("H100", UTILISATION * 989e12, 3.35e12, 80e9)


@dataclass(frozen=True)
class Work:
    """A task in tokens: of each item, those that are read, scored and written; `shots` before all.

    What the items of a task share, and what an item's choices share, is read once.
    """

    task: str
    items: int
    read: float
    scored: float
    shots: float = 0
    written: float = 0


# The paper's tasks, in full. Tokens are estimates: the mean of some hundred items
# by the default model's tokenizer; HellaSwag's
# are guessed from its texts. GSM8K is asked with five examples and written up to lm-eval's limit.
PAPER = (
    Work("lambada_openai", 5153, read=81, scored=1.3),
    Work("hellaswag", 10042, read=170, scored=100),
    Work("arc_challenge", 1172, read=51, scored=25),
    Work("winogrande", 1267, read=23, scored=11.4),
    Work("gsm8k", 1319, read=66, scored=0, shots=981, written=256),
)


@dataclass(frozen=True)
class _Calls:
    """Plans, counted: layer calls one by one, shared, and entries of the schedule of all."""

    plans: int
    single: int
    shared: int
    entries: int

    @classmethod
    def of(cls, plans: Sequence[Plan], written: bool) -> "_Calls":
        distinct = [*dict.fromkeys(plans)]
        single = sum(len(plan.calls) for plan in distinct)
        entries = len(schedule(distinct)) if written else 0
        return cls(len(distinct), single, shared_calls(distinct), entries)


@counting(gpus=1, limit=1)
def cost(
    shape: Shape,
    hardware: Hardware = H100,
    gpus: int | Iterable[int] = (1, 8, 64),
    *,
    plans: Sequence[Plan] | None = None,
    tasks: Sequence[Work] = PAPER,
    weight_bytes: float = 2,
    limit: float | None = None,
) -> pd.DataFrame:
    """Reckon what scoring and writing under many plans takes, on machines that are not here.

    Beginnings that plans share are computed once, and written tokens by one schedule, as this
    package does both; the counts are those of the plans themselves. A model that is larger than a
    GPU is spread over as few as hold it, which take turns, and the rest holds further copies, which
    share the items. Starting, loading and waiting for each other are not in it.

    Args:
        shape: the model's sizes.
        hardware: what one GPU reaches: `deployment.reached` measures it on a model that is here.
        gpus: how many, one number or several.
        plans: the paper's whole suite for so many layers if none are given.
        tasks: their tokens; the paper's tasks by default.
        weight_bytes: of each weight: 2 in half precision, 0.5 in four bits.
        limit: items of each task, at most, or below 1 a share of them.

    Returns:
        A row for each number of GPUs: gpus, per_copy (GPUs that hold the model once), copies,
        parameters, weight_gb, plans, calls (layer calls of all plans, one by one), shared (the
        same, equal beginnings once), flops, reading, writing, hours, gpu_hours, and one_by_one
        (hours without any sharing). Hours are NaN where the model does not fit.

    Raises:
        PaintersError: for numbers that are none.
        PlanError: plans of another number of layers.

    Example:
        >>> tiny = Shape(n_layers=4, d_model=64, d_ff=128, kv_width=64, vocabulary=96)
        >>> cost(tiny, gpus=[1, 8])[["gpus", "copies", "plans", "calls", "shared"]].values.tolist()
        [[1, 1, 42, 1297, 111], [8, 8, 42, 1297, 111]]
    """
    counts = [gpus] if isinstance(gpus, int) else [*gpus]
    _refuse(shape, counts, plans, weight_bytes)
    chosen = plans_in(suite(shape.n_layers)) if plans is None else plans
    some = [_limited(task, limit) for task in tasks]
    calls = _Calls.of(chosen, any(task.written for task in some))
    size = shape.weights * weight_bytes
    per_copy = ceil(size * (1 + _ROOM) / hardware.memory)
    free = per_copy * hardware.memory - size
    alone = _Calls(calls.plans, calls.single, calls.single, calls.single)
    asked = shape, hardware, weight_bytes
    read = [_reading(*asked, calls, task) for task in some]
    write = [_writing(*asked, calls, task, free) for task in some]
    apart = [_reading(*asked, alone, task).seconds for task in some]
    apart += [_writing(*asked, alone, task, free).seconds for task in some]
    rows = []
    for count in counts:
        copies = count // per_copy
        share = 1 / 3600 / copies if copies else nan
        reading, writing = (share * sum(w.seconds for w in found) for found in (read, write))
        rows.append(
            {
                "gpus": count,
                "per_copy": per_copy,
                "copies": copies,
                "parameters": shape.weights,
                "weight_gb": size / 1e9,
                "plans": calls.plans,
                "calls": calls.single,
                "shared": calls.shared,
                "flops": sum(w.flops for w in (*read, *write)),
                "reading": reading,
                "writing": writing,
                "hours": reading + writing,
                "gpu_hours": (reading + writing) * copies * per_copy,
                "one_by_one": share * sum(apart),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Spent:
    """Operations, and seconds on one GPU: of those, or of what has to be read, if that is more."""

    flops: float
    seconds: float

    @classmethod
    def of(cls, flops: float, read: float, hardware: Hardware) -> "_Spent":
        return cls(flops, max(flops / hardware.rate, read / hardware.bandwidth))


def _reading(
    shape: Shape, hardware: Hardware, weight_bytes: float, calls: _Calls, task: Work
) -> _Spent:
    """Texts that are scored, and prompts: a token sees half of its text, and all shots."""
    tokens = task.items * task.read + task.shots
    flops = task.items * task.read * shape.call_flops(task.shots + task.read / 2)
    flops += task.shots * shape.call_flops(task.shots / 2)
    heads = calls.plans * task.items * task.scored * shape.head_flops
    batches = ceil(tokens / _TOKENS_AT_ONCE)
    weights = batches * calls.shared * shape.layer_weights * weight_bytes
    return _Spent.of(calls.shared * flops + heads, weights, hardware)


def _writing(
    shape: Shape, hardware: Hardware, weight_bytes: float, calls: _Calls, task: Work, free: float
) -> _Spent:
    """Tokens one after another, all plans together; a row is an item under a plan."""
    if not task.written:
        return _Spent(0, 0)
    rows, calls_of_a_row = task.items * calls.plans, calls.single / calls.plans
    seen = task.shots + task.read + task.written / 2
    cached = 2 * shape.kv_width * seen * _CACHED  # of a row at a layer call
    at_once = max(1.0, min(rows, free / (calls_of_a_row * cached)))
    flops = rows * (calls_of_a_row * shape.call_flops(seen) + shape.head_flops)
    entries = min(calls.entries, at_once * calls_of_a_row)
    weights = ceil(rows / at_once) * entries * shape.layer_weights * weight_bytes
    read = weights + rows * calls_of_a_row * cached
    return _Spent.of(task.written * flops, task.written * read, hardware)


def _limited(task: Work, limit: float | None) -> Work:
    if limit is None or limit >= task.items:
        return task
    items = ceil(limit * task.items) if limit < 1 else int(limit)
    return Work(task.task, items, task.read, task.scored, task.shots, task.written)


def _refuse(
    shape: Shape,
    gpus: Sequence[Any],
    plans: Sequence[Plan] | None,
    weight_bytes: float,
) -> None:
    if not gpus:
        raise PaintersError(f"gpus={gpus} are no numbers of GPUs; give 1 or more")
    if not 0 < weight_bytes < inf:
        raise PaintersError(f"weight_bytes={weight_bytes} is not above 0; 2 are half precision")
    if plans is None and shape.n_layers < 2:
        raise PaintersError("the paper's suite needs two layers or more")
    if plans is not None and not plans:
        raise PaintersError("no plans; give some, or none at all for the paper's suite")
    if plans and (other := {plan.n_layers for plan in plans} - {shape.n_layers}):
        raise PaintersError(f"plans of {min(other)} layers are for another model than this one")
