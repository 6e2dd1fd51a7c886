"""Calibration beats search (arXiv 2604.24938): do rankings of layers agree across texts."""

from itertools import combinations

import pandas as pd

from .. import experiments
from ..figures import heatmap, naming
from ..tables import from_matrices
from .claims import Claim, Quantity, Sampled
from .study import Found, Setting, Study
from .work import Work, total


def _plans(n: int) -> pd.DataFrame:
    return experiments.single_layers(n).query("variant in ('intact', 'drop')")


def _calls(on: Setting) -> Work:
    plans = _plans(on.n)
    parts = [on.choosing, on.judging, *on.texts_by_task().values()]
    return total(on.kl_calls(plans, texts) for texts in parts) + on.loss_calls(plans, on.choosing)


def _carry_out(on: Setting) -> Found:
    plans = _plans(on.n)
    first, second = on.kl(plans, on.choosing), on.kl(plans, on.judging)
    by_task = {task: on.kl(plans, texts) for task, texts in on.texts_by_task().items()}
    loss = on.loss(plans, on.choosing)
    rankings = {"KL, first half": first, "KL, second half": second, "loss, first half": loss}
    rankings |= {f"KL, {naming.TASKS.get(task, task)}": found for task, found in by_task.items()}
    halves = agreement(first, second)
    judged = [
        Claim(
            "Two halves of the same texts rank layers alike: rank correlation of what dropping "
            "costs in KL",
            "not reported",
            halves,
            above=0.9,
        ),
        Claim(
            "Another objective changes the ranking more than other texts of the same kind: "
            "agreement of the halves in KL less that of KL and loss on one of them",
            "objective and texts move the ranking more than the search does",
            halves - agreement(first, loss),
            above=0,
        ),
    ]
    if len(by_task) > 1:
        pairs = [agreement(a, b) for a, b in combinations(by_task.values(), 2)]
        judged.append(
            Claim(
                "So do texts of other tasks: agreement of the halves less that between tasks",
                "objective and texts move the ranking more than the search does",
                halves - Sampled.together(pairs).mean(),
                above=0,
            )
        )
    agreements = _matrix(rankings)
    return Found(
        tables={
            "drops": pd.concat(
                [found.rows.assign(ranking=name) for name, found in rankings.items()],
                ignore_index=True,
            ),
            "agreement": from_matrices({"rank correlation": agreements}),
        },
        judged=judged,
        drawings={
            "agreement": lambda: heatmap(
                agreements, label="rank correlation", limits=(-1, 1), meaning="similarity"
            )
        },
    )


def agreement(one: Sampled, other: Sampled) -> Quantity:
    """Rank correlation of what dropping each layer costs, by two readings."""
    a, b = (some.where(variant="drop") for some in (one, other))
    return a.ranked_with(b)


def _matrix(rankings: dict[str, Sampled]) -> pd.DataFrame:
    values = [[agreement(a, b).value for b in rankings.values()] for a in rankings.values()]
    return pd.DataFrame(values, index=[*rankings], columns=[*rankings])


STUDY = Study("2604.24938", "Rankings of layers across texts and aims", _calls, _carry_out)
