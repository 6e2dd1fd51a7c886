"""How many layer calls a share of the intact model's time buys, measured."""

from pathlib import Path
from typing import Any

import pandas as pd

from ..arguments import counting
from ..errors import PlanError
from ..execution import ready
from ..models import Model, as_model, identity
from ..plans import Plan, Step
from ..storage import Kept
from .requests import refuse_budget
from .timing import latency, machine


@counting(batch=1, length=1, new=0, repeats=2, seed=0)
def calls_within(
    model: Model,
    time: float,
    batch: int = 1,
    length: int = 128,
    *,
    new: int = 16,
    repeats: int = 10,
    seed: int = 0,
    store: str | Path | None = None,
) -> int:
    """How many layer calls fit into a share of the intact model's measured time.

    Calls take alike long wherever they stand, so the middle layers are left out, more and fewer of
    them by halves, and the time per token is measured (of a prompt, where nothing is written).

    Args:
        model: a bridge, a Hugging Face model, or a name.
        time: the share, above 0 and up to 1.
        batch: rows.
        length: tokens of a prompt.
        new: tokens to write.
        repeats: how often each is measured.
        seed: as for `latency`.
        store: a folder that keeps what was found for this model on this machine.

    Returns:
        The largest number of calls whose median ratio was no larger.

    Raises:
        PlanError: a share that is none, or in which not even one call fits.

    Example:
        >>> calls_within(model, 1.0, length=8, new=2, repeats=2)
        6
    """
    model = as_model(model)
    ready(model)
    refuse_budget(None, time)
    n = len(model.blocks)
    if time == 1:
        return n
    asked: dict[str, Any] = {"new": new, "repeats": repeats, "seed": seed}
    facts = {**identity(model), **machine(model), "time": time, "batch": batch, "length": length}
    kept = Kept(store, "budget", facts | asked)
    if (known := kept.read()) is not None:
        return int(known["calls"].item())
    fits, exceeds = 0, n
    while exceeds - fits > 1:
        calls = (fits + exceeds) // 2
        middle = [Step.of(i) for i in range(n) if not (calls + 1) // 2 <= i < n - calls // 2]
        row = latency(model, Plan(middle, n), batch, length, **asked).iloc[-1]
        ratio = row["token_ratio"] if row["new"] else row["prefill_ratio"]
        fits, exceeds = (calls, exceeds) if ratio <= time else (fits, calls)
    if not fits:
        raise PlanError(f"not even one layer call fits into {time} of the intact model's time")
    kept.write(pd.DataFrame({"calls": [fits]}))
    return fits
