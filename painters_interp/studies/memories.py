"""Exact against averaged decoding: what fails in parallel, the layers or the published cache."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from ..errors import UnsupportedModelError
from ..evaluation import WRITTEN_PROBES, Questions, decoding, prepare
from ..execution import applied
from ..experiments import decoding as windows
from ..experiments import plans as plans_of
from ..notices import warn
from ..plans import Plan
from ..progress import trial
from ..statistics import resamplings
from .claims import NATS, Claim, Sampled
from .outline import Outline
from .study import Setting
from .work import Work

_MOST = 8  # texts: each is decoded token by token under every plan
_FEWEST = 3  # plans: the intact model, and the smallest window both ways
_WRITES = "generate_until"


def plans(on: Setting) -> pd.DataFrame:
    """Windows in parallel and looped whose caches can be averaged, up to a third of the layers."""
    table = windows(on.n)
    return table[[_averages(on, plan) for plan in plans_of(table)]].reset_index(drop=True)


def _averages(on: Setting, plan: Plan) -> bool:
    try:
        with applied(on.model, plan, cache="averaged"):
            return True
    except UnsupportedModelError:  # layers of several kinds, or with a state
        return False


def texts(on: Setting) -> Questions:
    """The tasks of the setting that write, if there are any; else the built-in ones."""
    own = tuple(task for task in on.questions.tasks if task.OUTPUT_TYPE == _WRITES)
    if own:
        return replace(on.questions, tasks=own)
    return prepare(on.model, WRITTEN_PROBES, limit=min(_MOST, on.most), seed=on.seed)


def calls(on: Setting) -> Work:
    """What decoding the right texts under every plan with both caches takes."""
    if isinstance(on, Outline):
        return on.written_calls(windows(on.n))
    table = plans(on)
    if len(table) < _FEWEST:
        return Work(0, float)
    asked = texts(on)
    total = decoding.forced_calls(on.model, plans_of(table), asked)
    return Work(total, partial(_seconds, on, table.head(_FEWEST), asked, total))


def _seconds(on: Setting, few: pd.DataFrame, asked: Questions, total: int) -> float:
    """By the smallest window, and all the texts: it is steps that cost, more than tokens."""
    one = decoding.forced_calls(on.model, plans_of(few), asked)
    return trial(partial(decoding.teacher_forced, on.model, few, asked)) * total / one


def decoded(on: Setting) -> dict[str, pd.DataFrame]:
    """Surprisal of the right texts, a row per plan, cache and item; none where none is averaged."""
    table = plans(on)
    if len(table) < _FEWEST:
        reason = "the caches of this model's layers have no mean, or there are too few layers"
        warn(f"averaged decoding is left out: {reason}")
        return {}
    return {"decoding": decoding.teacher_forced(on.model, table, texts(on))}


def judged(table: pd.DataFrame, seed: int) -> list[Claim]:
    """What averaging adds, and what is lost without it."""
    added, lost = _differences(table, seed)
    return [
        Claim(
            "Part of what fails in parallel is the published cache, which averages keys and "
            f"values: surprisal that it adds to right texts, mean over {len(added.rows)} plans",
            "not told apart: only averaged decoding was run",
            added.mean(),
            above=0,
        ),
        Claim(
            "Most of it is the layers: share of all that is lost that exact decoding loses, too",
            "not told apart",
            lost.mean().over(lost.mean() + added.mean(), "of all that is lost"),
            above=0.5,
        ),
    ]


def _differences(table: pd.DataFrame, seed: int) -> tuple[Sampled, Sampled]:
    """Nats a token that averaging adds, and that exact decoding loses to the intact model."""
    table = table.assign(spent=table["nats"] / table["tokens"])
    wide = table.pivot_table(values="spent", index=["task", "item"], columns=["plan", "cache"])
    altered = [*dict.fromkeys(table.loc[table["variant"] != "intact", "plan"])]
    intact = table.loc[table["variant"] == "intact", "plan"].iloc[0]
    exact, averaged = (
        np.stack([wide[plan, cache] for plan in altered], axis=1) for cache in ("exact", "averaged")
    )
    weights = resamplings(len(wide), seed=seed)
    rows = pd.DataFrame({"plan": altered})
    whole = wide[intact, "exact"].to_numpy(dtype=float)[:, None]
    added, lost = (
        Sampled(rows, values.mean(axis=0), weights @ values, NATS)
        for values in (averaged - exact, exact - whole)
    )
    return added, lost
