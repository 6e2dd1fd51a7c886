"""The anatomy of SmolLM2-135M (arXiv 2603.19348): critical layers, and layers that do harm."""

import pandas as pd

from .. import experiments
from ..figures import depth_curves
from ..plans import Plan, Step
from ..tables import typed
from .claims import Claim, Sampled
from .repeats import gains
from .study import Found, Setting, Study
from .views import LOSS
from .work import Work

_OF = 30  # layers of the model that was published
CRITICAL, HARMFUL, DAMPED = (8, 9, 10, 11), (14, 17), 0.9


def _plans(n: int) -> pd.DataFrame:
    drops = experiments.single_layers(n).query("variant in ('intact', 'drop')")
    rows = []
    for layer in range(n):
        steps = (Step.of(i, scale=DAMPED) if i == layer else Step.of(i) for i in range(n))
        rows.append({"variant": "damped", "layer": layer, "plan": str(Plan(steps, n))})
    damped = pd.DataFrame(rows).assign(experiment="single_layers", n_layers=n)
    return typed(pd.concat([drops, damped], ignore_index=True))


def _calls(on: Setting) -> Work:
    plans = _plans(on.n)
    return on.loss_calls(plans, on.choosing) + on.loss_calls(plans, on.judging)


def _carry_out(on: Setting) -> Found:
    plans = _plans(on.n)
    scan, fresh = (gains(on.loss(plans, texts)) for texts in (on.choosing, on.judging))
    best = scan.where(variant="drop").largest
    judged = fresh.where(variant="drop")
    claims = [
        Claim(
            "Some layer does harm: loss that dropping the best candidate, layer "
            f"{int(judged.rows['layer'].iloc[best])}, saves on fresh texts",
            "layers 14 and 17 (SmolLM2-135M)",
            judged.at([best]).mean(),
            above=0,
            tried=on.n,
        ),
        Claim(
            f"A layer's update times {DAMPED} does no harm: mean loss that it adds",
            "harmless",
            fresh.where(variant="damped").of(lambda saved: -saved.mean(axis=-1)),
            below=0.01,
        ),
    ]
    if on.n == _OF:
        claims += _named(judged)
    return Found(
        tables={"layers": fresh.rows, "scan": scan.rows},
        judged=claims,
        drawings={"layers": lambda: depth_curves(_curves(fresh.rows), "variant", log=True)},
    )


def _named(drops: Sampled) -> list[Claim]:
    """What was published of single layers, which another model of as many need not share."""
    others = [i for i in range(_OF) if i not in CRITICAL]
    return [
        Claim(
            "Layers 8 to 11 are the critical ones: loss that dropping one adds beyond what "
            "dropping another adds, on average",
            "up to +63,419 % perplexity (SmolLM2-135M)",
            drops.where(layer=others).mean() - drops.where(layer=CRITICAL).mean(),
            above=0,
        ),
        *(
            Claim(
                f"Dropping layer {layer} helps: loss that it saves",
                "helps (SmolLM2-135M)",
                drops.where(layer=layer).mean(),
                above=0,
            )
            for layer in HARMFUL
        ),
    ]


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """The loss that is added to the intact model's, over layers."""
    return table.assign(
        measure=f"{LOSS.replace('loss', 'loss added')}", axis="layer", place=table["layer"],
        value=table["delta"], low=table["delta_low"], high=table["delta_high"],
    )  # fmt: skip


STUDY = Study("2603.19348", "The anatomy of SmolLM2-135M", _calls, _carry_out)
