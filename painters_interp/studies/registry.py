"""Which studies there are, and how one is run."""

from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import PaintersError
from ..models import Model
from ..progress import progress
from ..texts import Texts
from . import (
    anatomy,
    damped,
    deep_blocks,
    depth_curse,
    depth_use,
    effective_depth,
    glue,
    greedy,
    healed,
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
from .study import Found, Setting, Study, asked, facts_of

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
_FOUND = [*(room.STUDY for room in _ROOMS), glue.FROZEN, glue.TUNED, healed.STUDY]
STUDIES: dict[str, Study] = {study.id: study for study in _FOUND}


def named(id: str) -> Study:
    """The study of this id; PaintersError, with those that there are, for any other."""
    if id not in STUDIES:
        known = "; ".join(f"{study.id} ({study.title})" for study in STUDIES.values())
        raise PaintersError(f"no study {id!r}; there are {known}")
    return STUDIES[id]


def run(
    id: str,
    model: Model,
    tasks: Any = None,
    data: str | Path | None = None,
    limit: int | float | None = None,
    texts: Texts | None = None,
    seed: int = 0,
    store: str | Path | None = None,
) -> Found:
    """Carry out a study on a model.

    Args:
        id: One of `STUDIES`, such as "2407.09298"; `listed` says what they are.
        model: A bridge, a Hugging Face model with its tokenizer, or a name.
        tasks, data, limit: What `evaluate` takes; the built-in probes, 32 items each, if none.
            Studies that learn tasks take those of `classify`; all of GLUE in `data`, or the probe
            of grammar, 400 examples each, if none.
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
    on = study.ask(model, tasks, data, limit or study.limit, texts, seed, store)
    return carried_out(study, on)


def carried_out(study: Study, on: Any, **asked: Any) -> Found:
    """The findings of a study in a setting, with what produced them."""
    if on.n < study.fewest_layers:
        raise PaintersError(
            f"study {study.id} needs {study.fewest_layers} layers or more; "
            f"{on.model.cfg.model_name} has {on.n}"
        )
    with progress(f"study {study.id}", int(study.calls(on))):
        found = study.carry_out(on)
    return Found(
        found.tables, found.judged, found.drawings, found.items, facts_of(on, study, **asked)
    )


def listed(on: Setting | None = None) -> pd.DataFrame:
    """The studies: id, title and, in a setting, the token-layer calls of each that it serves.

    Args:
        on: The setting, where what each takes is asked, too.

    Returns:
        A row per study.

    Example:
        >>> listed().columns.tolist()
        ['id', 'title']
    """
    table = pd.DataFrame([(s.id, s.title) for s in STUDIES.values()], columns=["id", "title"])
    if on is None:
        return table
    calls = [s.calls(on) if s.ask is asked else None for s in STUDIES.values()]
    return table.assign(calls=pd.array(calls, dtype="Int64"))
