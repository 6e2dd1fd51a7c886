"""Which studies there are, and how one is run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from typing import Any

import pandas as pd

from ..arguments import counting
from ..errors import PaintersError, TableError
from ..models import Model
from ..notices import warn
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
from .outline import Outline
from .study import Found, Setting, Study, asked, facts_of, facts_of_all

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
    """The study of this id; PaintersError, with the nearest or all, for any other."""
    if id not in STUDIES:
        if close := get_close_matches(id, STUDIES, n=1, cutoff=0.8):
            raise PaintersError(
                f"no study {id!r}; did you mean {close[0]!r} ({STUDIES[close[0]].title})?"
            )
        known = "; ".join(f"{study.id} ({study.title})" for study in STUDIES.values())
        raise PaintersError(f"no study {id!r}; there are {known}")
    return STUDIES[id]


@counting(limit=1, seed=0)
def run(
    id: str,
    model: Model | Sequence[Model],
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
        model: A bridge, a Hugging Face model with its tokenizer, or a name; a list of them where
            the study compares models (2407.09298).
        tasks, data, limit: What `evaluate` takes; the built-in probes, 32 items each, if none.
            Studies that learn tasks take those of `classify`; all of GLUE in `data`, or the probe
            of grammar, 400 examples each, if none.
        texts: Documents to read; those of the first task if none. What is chosen on one half of
            them is judged on the other.
        seed: Of everything that is drawn.
        store: A folder that keeps what is found item by item, for `evaluate` and `classify`.

    Returns:
        Its `tables`, `figures` (drawn when asked for), and `claims`: a row each with the published
        number, the one found with its 95 % interval, and a verdict: `holds` where the whole
        interval lies where the claim says (`rule`), `fails` where all of it lies elsewhere,
        else `undecided`. `.save(folder)` writes all of it. Of several models it is what the study
        says of all of them, and `of_models` holds the findings for each, by name.

    Raises:
        PaintersError: for no such study, a model of too few layers, several models where the study
            says nothing of several or two are called the same, and what `evaluate` raises.

    Example:
        >>> found = run("2601.18302", model, "probe_facts", limit=4)
        >>> found.claims[["rule", "tried"]].values.tolist()
        [['above 0', 1], ['above 0', 5]]
    """
    study = named(id)
    rest = (tasks, data, study.limit if limit is None else limit, texts, seed, store)
    if isinstance(model, list | tuple):
        return carried_out_on_all(study, [study.ask(one, *rest) for one in model])
    return carried_out(study, study.ask(model, *rest))


def carried_out(study: Study, on: Any, **asked: Any) -> Found:
    """The findings of a study in a setting, with what produced them."""
    refuse_shallow(study, [on])
    with progress(f"study {study.id}", int(study.calls(on))):
        at_chance(study, [on])  # before all the plans are scored
        found = study.carry_out(on)
    return replace(found, provenance=facts_of(on, study, **asked))


def carried_out_on_all(study: Study, settings: Sequence[Any], **asked: Any) -> Found:
    """The findings of a study about several models, each in a setting, and what it found for each.

    Nothing runs before all that the models themselves forbid has been said.
    """
    models = by_name(study, settings)
    refuse_shallow(study, settings)
    with progress(f"study {study.id}", sum(int(study.calls(on)) for on in settings)):
        ways = dict.fromkeys(models, replace(study, scored=False))
        for name, reason in zip(models, at_chance(study, settings), strict=True):
            if reason is not None:
                warn(f"{name}: {reason}; only its states are compared")
                ways[name] = replace(ways[name], carry_out=_unscored(study))
        each = {name: carried_out(ways[name], on, **asked) for name, on in models.items()}
    assert study.compare is not None  # else `by_name` has raised
    return replace(study.compare(each), provenance=facts_of_all(settings, study, **asked))


def at_chance(study: Study, settings: Sequence[Any]) -> list[TableError | None]:
    """Why no task tells anything of a model, for each; raised where nothing is left of the study.

    That the scores of the intact model say, which are asked for once.
    """
    reasons = [_chance(on) if study.scored else None for on in settings]
    found = [reason for reason in reasons if reason is not None]
    if found and (study.unscored is None or len(found) == len(reasons)):
        raise found[0]
    return reasons


def _chance(on: Any) -> TableError | None:
    try:
        on.refuse_chance()
    except TableError as reason:
        return reason
    return None


def _unscored(study: Study) -> Callable[[Any], Found]:
    assert study.unscored is not None  # else `at_chance` has raised
    return study.unscored


def by_name(study: Study, settings: Sequence[Any]) -> Mapping[str, Any]:
    """The settings by the names of their models.

    Raises PaintersError where the study compares no models, and where two are called the same.
    """
    if study.compare is None:
        able = ", ".join(s.id for s in STUDIES.values() if s.compare is not None)
        raise PaintersError(
            f"study {study.id} says nothing of several models together ({able} does); give one"
        )
    names = [PureWindowsPath(str(on.model.cfg.model_name)).name for on in settings]
    if same := sorted({name for name in names if names.count(name) > 1}):
        raise PaintersError(f"several models are called {', '.join(same)}; rename their folders")
    if not names:
        raise PaintersError("no model is given")
    return dict(zip(names, settings, strict=True))


def refuse_shallow(study: Study, settings: Sequence[Any]) -> None:
    """Raise PaintersError for a model of too few layers."""
    for on in settings:
        if on.n < study.fewest_layers:
            raise PaintersError(
                f"study {study.id} needs {study.fewest_layers} layers or more; "
                f"{on.model.cfg.model_name} has {on.n}"
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
    calls = [_calls_in(s, on) for s in STUDIES.values()]
    return table.assign(calls=pd.array(calls, dtype="Int64"))


def _calls_in(study: Study, on: Setting) -> int | None:
    """Token-layer calls, where the setting serves the study and is deep enough."""
    no_model = isinstance(on, Outline) and study.modelled
    if study.ask is not asked or on.n < study.fewest_layers or no_model:
        return None
    return int(study.calls(on))
