"""The paper's BERT half (arXiv 2407.09298): six variants on GLUE, frozen (A.9) and fine-tuned."""

import pandas as pd

from .. import experiments
from .. import strategies as s
from ..figures import variant_curves
from ..learning import Tuning
from ..notices import warn
from ..tables import primary
from .claims import Claim, Sampled
from .learnt import LIMIT, Learnt, alike, learnt, means
from .painters import ORDER, smaller_half
from .study import Found, Study
from .views import with_ends
from .work import Work

_SHARES = (1 / 3, 2 / 3)  # of the layers: windows under which models are fine-tuned
_TUNING = Tuning(epochs=2, rate=1e-4, batch=16)


def _plans(n: int) -> pd.DataFrame:
    return experiments.variants(n, experiments.every_window(n))


def _frozen_calls(on: Learnt) -> Work:
    return on.calls(_plans(on.n))


def _frozen(on: Learnt) -> Found:
    plans = _plans(on.n)
    items = on.items(plans)
    table = on.scores(plans, items)
    found = means(table, items, on.seed)
    lines = with_ends(found, "score")
    return Found(
        tables={"variants": table, "means": lines},
        judged=_judged(found, on.n),
        drawings={"means": lambda: variant_curves(lines)},
        items={"variants": items},
    )


def _judged(found: Sampled, n: int) -> list[Claim]:
    sizes = smaller_half(found.rows, n)
    some = found.where(affected=sizes)
    windows = " to ".join(dict.fromkeys([str(sizes[0]), str(sizes[-1])]))
    mean = {name: some.where(variant=name).mean() for name in ORDER}
    others = Sampled.together([one for name, one in mean.items() if name != "repeat"])
    return [
        Claim(
            f"Not all layers are needed: mean score with the {sizes[0]} middle layers skipped",
            "graceful loss on GLUE",
            found.where(variant="skip", affected=sizes[0]).mean(),
            above=0.5,
        ),
        Claim(
            "Repeating the centre layer is worst: the least of the other variants' mean scores, "
            f"windows of {windows} layers, less its own",
            "the worst on GLUE, too",
            others.of(lambda scores: scores.min(axis=-1)) - mean["repeat"],
            above=0,
        ),
        Claim(
            "Parallel layers cost less than skipped ones: difference of mean scores",
            "parallel better than skipping",
            mean["parallel"] - mean["skip"],
            above=0,
        ),
        Claim(
            "Looping parallel layers costs less than one pass: difference of mean scores",
            "looping helps",
            mean["looped"] - mean["parallel"],
            above=0,
        ),
    ]


def _few(n: int) -> pd.DataFrame:
    """Windows of about a third and two thirds of the layers, one random order of each."""
    windows = experiments.every_window(n)
    firsts = dict.fromkeys(
        min(windows, key=lambda first: abs(len(s.middle(n, first)) - share * n))
        for share in _SHARES
    )
    return experiments.variants(n, [*firsts], seeds=1)


def _tuned_calls(on: Learnt) -> Work:
    return on.calls(_few(on.n)) + on.calls(_few(on.n), _TUNING)


def _tuned(on: Learnt) -> Found:
    plans = _few(on.n)
    items = {"frozen": on.items(plans), "tuned": on.items(plans, _TUNING)}
    tables = {name: on.scores(plans, own) for name, own in items.items()}
    told = alike(tables)
    _say_untaught(**told)
    found = {name: means(told[name], own, on.seed) for name, own in items.items()}
    lines = with_ends(found["tuned"], "score")
    altered = {
        name: one.where(variant=ORDER, affected=range(2, on.n + 1)).mean()
        for name, one in found.items()
    }
    return Found(
        tables={**tables, "means": lines},
        judged=[
            Claim(
                "Trained with the altered execution in place, models keep most of the score: mean "
                "over variants and windows",
                "fine-tuned BERT keeps most of GLUE",
                altered["tuned"],
                above=0.5,
            ),
            Claim(
                "They keep more of it than heads on frozen states do: difference",
                "fine-tuning regains",
                altered["tuned"] - altered["frozen"],
                above=0,
            ),
        ],
        drawings={"means": lambda: variant_curves(lines)},
        items=items,
    )


def _say_untaught(frozen: pd.DataFrame, tuned: pd.DataFrame) -> None:
    """Warn of tasks that the intact model, fine-tuned, does clearly worse than a head alone."""
    both = pd.concat([frozen, tuned], keys=["head", "tuned"], names=["by", None])
    intact = primary(both[both["variant"].eq("intact")]).reset_index("by")
    for task, rows in intact.groupby("task", observed=True, sort=False):
        value, stderr = (rows.set_index("by")[column] for column in ("value", "stderr"))
        if value["tuned"] + stderr["tuned"] < value["head"] - stderr["head"]:
            warn(
                f"task {task!r}: the intact model reaches {value['tuned']:.2f} fine-tuned, and "
                f"{value['head']:.2f} with a head on its frozen states: trained on so few examples "
                "it learnt little, so what plans keep of that tells little; give a larger limit"
            )


FROZEN = Study(
    "2407.09298-A9", "Painters on GLUE: heads on frozen states", _frozen_calls, _frozen,
    ask=learnt, limit=LIMIT,
)  # fmt: skip
TUNED = Study(
    "2407.09298-glue", "Painters on GLUE: fine-tuned under plans", _tuned_calls, _tuned,
    ask=learnt, limit=LIMIT,
)  # fmt: skip
