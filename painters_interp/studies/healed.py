"""Healing (arXiv 2407.09298, A.2): a model is fine-tuned under a plan, and what that regains."""

import gc
from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from .. import strategies as s
from ..digests import text_digest
from ..execution import Archive
from ..figures import forest
from ..learning import Tuning, heal
from ..learning.losses import Losses
from ..plans import Plan
from ..progress import trial
from ..storage import Kept
from ..texts import in_pieces
from .claims import NATS, Claim, Quantity, Sampled
from .study import Found, Setting, Study
from .work import Work

_TUNING = Tuning(epochs=3, rate=5e-5, batch=4)
# The rooms of this package whose code losses depend on.
_DECISIVE = ("learning", "damage", "execution", "models", "plans")
_BACK = 3  # a pass forward and one back


def _plans(n: int) -> dict[str, Plan]:
    """The intact model, which is trained alike, and two ways to alter a sixth in the middle."""
    size = max(2, round(n / 6))
    start = (n - size) // 2
    window = range(start, start + size)
    return {"intact": s.full(n), "skip": s.skip(n, window), "parallel": s.parallel(n, window)}


def _calls(on: Setting) -> Work:
    calls = _number(on, on.choosing, on.judging)
    return Work(calls, partial(_seconds, on, calls))


def _number(on: Setting, *texts: Sequence[str]) -> int:
    """Token-layer calls of learning from some texts and being judged by others."""
    learnt, judged = (sum(map(len, in_pieces(on.model, part)[0])) for part in texts)
    calls = sum(len(plan.calls) for plan in _plans(on.n).values())
    return calls * (_BACK * _TUNING.epochs * learnt + 2 * judged) + 3 * on.n * judged


def _seconds(on: Setting, calls: int) -> float:
    """What a copy of the model takes, and what a few texts take beyond that, for all of them."""
    few = on.choosing[: _TUNING.batch]
    plan = s.full(on.n)
    once = Tuning(epochs=1, batch=_TUNING.batch)
    judged = on.judging[:1]
    alone = trial(partial(heal, on.model, plan, few[:1], judged, tuning=once))
    more = trial(partial(heal, on.model, plan, few, judged, tuning=once))
    tokens = sum(map(len, in_pieces(on.model, few[1:])[0]))
    pace = max(0.0, more - alone) / (_BACK * on.n * tokens)
    return len(_plans(on.n)) * alone + pace * calls


def _carry_out(on: Setting) -> Found:
    archive = None if on.store is None else Archive.of(on.model, on.store, _DECISIVE)
    healed = {name: _healed(on, plan, archive) for name, plan in _plans(on.n).items()}
    table = pd.concat(
        [one.table(seed=on.seed).assign(variant=name) for name, one in healed.items()],
        ignore_index=True,
    )
    losses = {name: _losses(one, on.seed) for name, one in healed.items()}
    gains = {name: _gain(one) for name, one in losses.items()}
    return Found(
        tables={"healed": table},
        judged=[
            claim
            for name in ("skip", "parallel")
            for claim in _judged(name, losses[name], gains[name], gains["intact"])
        ],
        drawings={"healed": partial(_drawn, table)},
    )


def _healed(on: Setting, plan: Plan, archive: Archive | None) -> Losses:
    """What healing regains under one plan, kept in the store; the model that has it is not."""
    texts = text_digest(repr((on.choosing, on.judging)))
    asked = {"healed_under": str(plan), "texts": texts, "tuning": _TUNING.recipe(), "seed": on.seed}
    folder, facts = (None, {}) if archive is None else (archive.folder, archive.facts)
    kept = Kept(folder, "healed", {**facts, **asked})
    if (known := kept.read()) is not None:
        return Losses(plan, known)
    found = _losses_of(on, plan)
    kept.write(found.documents)
    return found


def _losses_of(on: Setting, plan: Plan) -> Losses:
    found = heal(on.model, plan, on.choosing, on.judging, tuning=_TUNING, seed=on.seed).documents
    gc.collect()  # a model with hooks is held in circles, and several would fill the memory
    return Losses(plan, found)


def _drawn(table: pd.DataFrame) -> Figure:
    """How far each loss lies above that of the intact model."""
    rows = table[table["state"].ne("intact")]
    label = rows["variant"] + ", " + rows["state"]
    ends = {f"delta{end}": rows[f"above{end or '_intact'}"] for end in ("", "_low", "_high")}
    told = pd.DataFrame({"label": label, "plan": label, **ends})
    return forest(told.assign(task="texts unseen", metric="loss (nats per token)"))


def _losses(healed: Losses, seed: int) -> Sampled:
    values, samples = healed.resampled(seed=seed)
    rows = pd.DataFrame({"state": ["intact", "before", "after"]})
    return Sampled(rows, values, samples, NATS)


def _gain(losses: Sampled) -> Quantity:
    return losses.where(state="before").mean() - losses.where(state="after").mean()


def _judged(name: str, losses: Sampled, gain: Quantity, control: Quantity) -> list[Claim]:
    intact, before = (losses.where(state=state).mean() for state in ("intact", "before"))
    return [
        Claim(
            f"{name}: healing lowers the loss on texts unseen",
            "fine-tuning under the plan helps",
            gain,
            above=0,
        ),
        Claim(
            f"{name}: by more than the same training lowers that of the intact model",
            "not tested",
            gain - control,
            above=0,
        ),
        Claim(
            f"{name}: most of the damage is healed: share of it",
            "most of it",
            gain.over(before - intact, "of the damage"),
            above=0.5,
        ),
    ]


STUDY = Study("2407.09298-A2", "Painters: healing under a plan", _calls, _carry_out, modelled=True)
