"""Small tables for every drawing function."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from painters_interp import Plan, experiments, figures, tables


def scores(plans: pd.DataFrame, tasks: int = 2) -> pd.DataFrame:
    """Scores between chance and the intact model's, by the letters of the plan."""
    damage = [sum(map(ord, plan)) % 89 / 89 for plan in plans["plan"]]
    damage = np.where(plans["variant"] == "intact", 0, damage)
    facts = {"model": "hub/tiny", "metric": "acc", "chance": 0.25, "stderr": 0.02, "seed": 0}
    facts |= {"n": 32, "higher_is_better": True}
    names = [f"task_{place}" for place in range(tasks)]
    parts = [plans.assign(**facts, value=0.75 - damage / 2, task=name) for name in names]
    return pd.concat(parts, ignore_index=True)


def pairs(first: str, second: str, **facts: object) -> pd.DataFrame:
    rows = [{first: i, second: j, "value": abs(i - j) / 3} for i in range(4) for j in range(4)]
    return pd.DataFrame(rows).assign(**facts)


def drawings() -> dict[str, Callable[..., Figure]]:
    """Every drawing function with a small table."""
    variants, layers = scores(experiments.variants(6, seeds=2)), experiments.single_layers(4)
    matrix = pd.DataFrame(np.exp(-abs(np.subtract.outer(range(5), range(5))) / 3))
    curve = pd.DataFrame({"place": range(4), "value": [0.1, 0.3, 0.2, 0.5]})
    curve = curve.assign(low=curve["value"] - 0.05, high=curve["value"] + 0.05, axis="layer")
    curves = pd.concat([curve.assign(measure=m) for m in ("block_influence", "variance")])
    points = pd.DataFrame({"variant": "drop", "value": [0.1, 0.2, 0.9], "kl": [0.01, 0.2, 3.0]})
    rho = pd.DataFrame({"variant": ["drop"], "rho": [0.9], "low": [0.5], "high": [1.0]})
    swaps = experiments.swaps(4)
    stitched = pairs("source_state", "target_state", map="ridge").rename(
        columns={"value": "increase"}
    )
    stitched = stitched.assign(increase_low=stitched["increase"] - 0.1,
                               increase_high=stitched["increase"] + 0.1)  # fmt: skip
    decoded = experiments.decoding(6, firsts=[0, 1]).merge(
        pd.DataFrame({"cache": ["exact", "averaged"], "nats": [3.0, 4.0]}), how="cross"
    )
    decoded = decoded.merge(pd.DataFrame({"item": [0, 1], "tokens": [3, 4]}), how="cross")
    forest = pd.DataFrame({"label": ["skip", "reverse"], "plan": ["0 3", "0 2 1 3"]}).assign(
        task="probe_facts", metric="acc", delta=-0.2, delta_low=-0.3, delta_high=0.1
    )
    divergences = pd.DataFrame({"plan": ["0 3", "0 2 1 3"], "kl": [0.5, 1.0]}).assign(
        kl_low=0.4, kl_high=1.2
    )
    accuracy = tables.from_matrices({"raw": matrix, "standardised": matrix})
    ways = pd.DataFrame({"variant": list("aabbccdd"), "calls": [4, 5] * 4, "measure": "kl"})
    plans = pd.DataFrame({"plan": ["0-3", "0 3", "0 2 1 3"], "n_layers": 4})
    times = plans.assign(token_ratio=[1.0, 0.5, 0.8], token_ratio_low=0.4, token_ratio_high=1.1)
    lens = pairs("position", "state", token=" a", after="b", rank=0).assign(logprob=-0.5)
    made: dict[str, Callable[..., Figure]] = {
        "forest": partial(figures.forest, forest),
        "forest of KL": partial(figures.forest, divergences),
        "logit_lens": partial(figures.logit_lens, lens),
        "reader_heatmap": partial(figures.reader_heatmap, accuracy.assign(chance=0.2)),
        "search_curves": partial(
            figures.search_curves, ways.assign(value=np.arange(8), low=0.0, high=8.0)
        ),
        "latency_frontier": partial(
            figures.latency_frontier, times, plans[["plan"]].assign(kl=[0.0, 0.5, 1.0])
        ),
        "plan_strip": partial(figures.plan_strip, Plan.parse("0 (1|2)*3 3@0.5 4-5", 6)),
        "single_layer_curves": partial(figures.single_layer_curves, scores(layers)),
        "variant_curves": partial(figures.variant_curves, variants),
        "task_curves": partial(figures.task_curves, variants, "skip"),
        "size_curves": partial(figures.size_curves, variants),
        "heatmap": partial(figures.heatmap, matrix.head(3), label="value"),
        "similarity_heatmap": partial(figures.similarity_heatmap, matrix, zones=[2]),
        "similarity_panel": partial(
            figures.similarity_panel, {"cosine": matrix, "angular": 1 - matrix}
        ),
        "loop_heatmap": partial(
            figures.loop_heatmap, scores(experiments.loops(6, max_times=3), tasks=1)
        ),
        "grid_heatmap": partial(
            figures.grid_heatmap, swaps.assign(kl=[0.0, *np.linspace(0.1, 3, len(swaps) - 1)])
        ),
        "depth_curves": partial(figures.depth_curves, curves),
        "damage_scatter": partial(
            figures.damage_scatter, points.assign(measure="cosine"), rho.assign(measure="cosine")
        ),
        "decoding_curves": partial(figures.decoding_curves, decoded.assign(task="gsm8k")),
        "patching_heatmap": partial(
            figures.patching_heatmap,
            pairs("state", "position", token="tok").assign(normalised=lambda t: t["value"] - 0.2),
        ),
        "crossing_heatmap": partial(
            figures.crossing_heatmap, pairs("source_state", "target_state", metric="kl")
        ),
        "effects_heatmap": partial(
            figures.effects_heatmap,
            pairs("dropped", "layer").assign(label="x", changed_at=pd.NA),
        ),
        "stitching_heatmap": partial(figures.stitching_heatmap, stitched),
        "stitching_curves": partial(
            figures.stitching_curves, stitched[stitched["source_state"] == 1]
        ),
    }
    return made
