"""Which studies there are, and how one is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import PaintersError, TextError
from ..evaluation import PROBES, Questions, prepare
from ..models import Model, as_model
from ..progress import progress
from ..texts import Texts, as_texts
from . import (
    anatomy,
    damped,
    deep_blocks,
    depth_curse,
    depth_use,
    effective_depth,
    greedy,
    influence,
    interchange,
    last_turn,
    loop_steps,
    painters,
    pairs,
    rankings,
    refining,
    repeats,
    shapley,
    stages,
)
from .study import Found, Setting, Study, facts_of

_ROOMS = (
    painters,
    influence,
    deep_blocks,
    greedy,
    depth_use,
    depth_curse,
    pairs,
    repeats,
    damped,
    interchange,
    anatomy,
    rankings,
    shapley,
    last_turn,
    stages,
    refining,
    loop_steps,
    effective_depth,
)
STUDIES: dict[str, Study] = {room.STUDY.id: room.STUDY for room in _ROOMS}
LIMIT = 32


def named(id: str) -> Study:
    """The study of this id; PaintersError, with those that there are, for any other."""
    if id not in STUDIES:
        known = "; ".join(f"{study.id} ({study.title})" for study in STUDIES.values())
        raise PaintersError(f"no study {id!r}; there are {known}")
    return STUDIES[id]


def setting(
    model: Model,
    tasks: Any = None,
    data: str | Path | None = None,
    limit: int | float | None = LIMIT,
    texts: Texts | None = None,
    seed: int = 0,
    store: str | Path | None = None,
) -> Setting:
    """What studies are given; `run` says what the arguments mean."""
    model = as_model(model)
    asked = tasks if isinstance(tasks, Questions) else None
    if asked is None:
        asked = prepare(model, PROBES if tasks is None else tasks, data, limit, seed=seed)
    read = tuple(asked.texts if texts is None else as_texts(texts))
    if len(read) < 4:
        raise TextError(
            f"a study chooses on half of the texts and judges on the others: {len(read)} are too "
            "few; give 4 or more"
        )
    return Setting(model, asked, read, seed, store)


def run(
    id: str,
    model: Model,
    tasks: Any = None,
    data: str | Path | None = None,
    limit: int | float | None = LIMIT,
    texts: Texts | None = None,
    seed: int = 0,
    store: str | Path | None = None,
) -> Found:
    """Carry out a study on a model.

    Args:
        id: One of `STUDIES`, such as "2407.09298"; `listed` says what they are.
        model: A bridge, a Hugging Face model with its tokenizer, or a name.
        tasks, data, limit: What `evaluate` takes; the built-in probes, 32 items each, if none.
        texts: Documents to read; those of the first task if none. What is chosen on one half of
            them is judged on the other.
        seed: Of everything that is drawn.
        store: A folder that keeps scores, for `evaluate`.

    Returns:
        Its `tables`, `figures` (drawn when asked for), and `claims`: a row each with the published
        number, the one found with its 95 % interval, and a verdict: `holds` where the whole
        interval lies where the claim says (`rule`), `fails` where all of it lies elsewhere,
        else `undecided`. `.save(folder)` writes all of it.

    Raises:
        PaintersError: for no such study, a model of too few layers, and what `evaluate` raises.

    Example:
        >>> found = run("2601.18302", model, "probe_facts", limit=4)
        >>> found.claims[["rule", "tried"]].values.tolist()
        [['above 0', 1], ['above 0', 5]]
    """
    study = named(id)
    on = setting(model, tasks, data, limit, texts, seed, store)
    return carried_out(study, on)


def carried_out(study: Study, on: Setting, **asked: Any) -> Found:
    """The findings of a study in a setting, with what produced them."""
    if on.n < study.fewest_layers:
        raise PaintersError(
            f"study {study.id} needs {study.fewest_layers} layers or more; "
            f"{on.model.cfg.model_name} has {on.n}"
        )
    with progress(f"study {study.id}", study.calls(on)):
        found = study.carry_out(on)
    return Found(
        found.tables, found.judged, found.drawings, found.items, facts_of(on, study, **asked)
    )


def listed(on: Setting | None = None) -> pd.DataFrame:
    """The studies: id, title and, in a setting, the token-layer calls that each takes."""
    rows: Sequence[dict[str, Any]] = [
        {"id": study.id, "title": study.title} | ({} if on is None else {"calls": study.calls(on)})
        for study in STUDIES.values()
    ]
    return pd.DataFrame(rows)
