"""Transformer Layers as Painters (arXiv 2407.09298): its figures and its findings."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import experiments, report
from .. import strategies as s
from ..comparison import SHUFFLED, similarity
from ..figures import (
    decoding_curves,
    depth_curves,
    similarity_panel,
    single_layer_curves,
    task_curves,
    variant_curves,
)
from ..plans import Plan
from ..statistics import resamplings
from ..tables import above_chance, primary
from ..tables.scores import median_intervals
from . import matched, memories
from .best_loops import TIMES, as_curve, best_loops, drawn, grows
from .claims import Claim, Quantity, Sampled, correlation
from .sizes import GRACEFUL, SHARED, compared
from .study import Found, Setting, Study, between, medians, of_measure
from .work import Work

# Of what the paper calls semantic, and of what it says needs order (section 3.4).
SEMANTIC = {
    *("probe_facts", "probe_cloze", "probe_grammar", "hellaswag", "lambada_openai"),
    *("lambada_standard", "winogrande", "piqa"),
}
ORDERED = {"probe_arithmetic", "probe_order", "arc_challenge", "arc_easy", "gsm8k"}
# From harmless to harmful, for Llama2-7B (fig. 11).
ORDER = ("looped", "random", "reverse", "parallel", "skip", "repeat")
_FEW = 12  # layers
_OTHERS = 1  # seed of samples of orders; those of items have another
_MEASURES = ("cosine", "cosine_flat")


def _tables(n: int, repeats: pd.DataFrame) -> dict[str, pd.DataFrame]:
    firsts = experiments.every_window(n)
    return {
        "single_layers": experiments.single_layers(n),
        "variants": experiments.variants(n),
        "loops": experiments.loops(n, _looped(n), max_times=TIMES),
        "internal_loops": experiments.internal_loops(n, firsts[::2]),
        "controls": pd.concat([experiments.controls(n), repeats], ignore_index=True),
    }


def _looped(n: int) -> list[int]:
    """Where the windows that are looped begin: every other one, or of few layers each but one."""
    firsts = [*experiments.every_window(n)]
    return firsts[:-1:2] if n > _FEW else [f for f in firsts if len(s.middle(n, f)) > 1]


def _calls(on: Setting) -> Work:
    every = pd.concat(_tables(on.n, matched.unscaled(on.n)).values(), ignore_index=True)
    streams = 2 * on.similarity_calls() + sum(map(on.similarity_calls, _explained(on.n).values()))
    return streams + matched.calls(on) + on.score_calls(every) + memories.calls(on)


def _explained(n: int) -> dict[str, Plan]:
    """Fig. 15: why repeating is bad, at the window of about a sixth of the layers."""
    window = s.middle(n, _first_near(n, n / 6))
    return {"skip": s.skip(n, window), "repeat": s.repeat_center(n, window)}


def _first_near(n: int, size: float) -> int:
    return min(experiments.every_window(n), key=lambda f: abs(len(s.middle(n, f)) - size))


def _canvas(on: Setting) -> Found:
    """What the states alone tell: fig. 3, beside its null."""
    canvas = on.similarity(_MEASURES)
    null = similarity(on.model, on.texts, _MEASURES, other=SHUFFLED, seed=on.seed).table()
    panels = {name: between(canvas, name).matrix for name in _MEASURES}
    return Found(
        tables={"similarity": canvas.table(), "similarity_shuffled": null},
        judged=_shared(of_measure(between(canvas, "cosine"), on.seed), on.n),
        drawings={
            "similarity": lambda: similarity_panel(panels, label="similarity"),
            "similarity_shuffled": lambda: similarity_panel(null, label="similarity"),
        },
    )


def _carry_out(on: Setting) -> Found:
    canvas = _canvas(on)
    under = {
        name: on.similarity(["cosine", "variance"], plan) for name, plan in _explained(on.n).items()
    }
    plans = _tables(on.n, matched.matched_repeats(on))
    items = on.items(pd.concat(plans.values(), ignore_index=True))
    scores = {name: on.scores(table, items) for name, table in plans.items()}
    of = {name: medians(table, items, on.seed) for name, table in scores.items()}
    curves = pd.concat([r.curves().assign(plan=name) for name, r in under.items()])
    clear = {name: above_chance(primary(table)) for name, table in scores.items()}
    lines = {name: median_intervals(rows, items, on.seed) for name, rows in clear.items()}
    best = best_loops(of["loops"])
    curve_of_best = as_curve(best)
    items_of = {name: items[items["plan"].isin(t["plan"])] for name, t in scores.items()}
    written = memories.decoded(on)
    return Found(
        tables={
            **canvas.tables,
            "repeat_explained": curves.query("measure == 'variance'"),
            "best_loops": curve_of_best,
            "medians": lines["variants"],
            **scores,
            **written,
        },
        items=items_of,
        judged=[
            *canvas.judged,
            *_layers(of["single_layers"], on.n),
            *_variants(of["variants"], on.n),
            *_order(scores["variants"], items, on),
            *_distance(of["variants"]),
            *grows(best),
            *_loops(of, on.n),
            *(c for table in written.values() for c in memories.judged(table, on.seed)),
        ],
        drawings={
            **canvas.drawings,
            "repeat_explained_cosine": lambda: similarity_panel(
                {name: between(r, "cosine").matrix for name, r in under.items()}
            ),
            "repeat_explained": lambda: depth_curves(curves.query("measure == 'variance'"), "plan"),
            "single_layers": lambda: single_layer_curves(scores["single_layers"]),
            "variants": lambda: variant_curves(lines["variants"]),
            **_of_one_variant(clear["variants"], lines["variants"]),
            "loops": lambda: report.loops(clear["loops"], items_of["loops"]),
            "best_loops": lambda: drawn(curve_of_best),
            "internal_loops": lambda: variant_curves(lines["internal_loops"]),
            "controls": lambda: variant_curves(
                pd.concat(
                    [
                        lines["controls"],
                        lines["variants"].query("variant in ('parallel', 'looped')"),
                    ]
                )
            ),
            **{name: partial(decoding_curves, table) for name, table in written.items()},
        },
    )


def _of_one_variant(clear: pd.DataFrame, lines: pd.DataFrame) -> dict[str, Callable[[], Figure]]:
    """Figs. 4 to 9."""
    return {f"variant_{name}": partial(task_curves, clear, name, medians=lines) for name in ORDER}


def _shared(cosine: Sampled, n: int) -> list[Claim]:
    middle = range(n // 4, n - n // 4 + 1)
    inner = cosine.where(row=middle, column=middle)
    apart = np.flatnonzero(inner.rows["row"].ne(inner.rows["column"]))
    ends = cosine.where(row=[0, n], column=middle)
    return [
        Claim(
            SHARED,
            "flattened: 0.98 in the middle, -0.02 to 0.14 with the last state (Llama2-7B)",
            inner.at(apart).mean() - ends.mean(),
            above=0,
        )
    ]


def _layers(single: Sampled, n: int) -> list[Claim]:
    drops = single.where(variant="drop")
    few = max(1, n // 15)
    middle = drops.where(layer=range(n // 4, n - n // 4)).mean()
    return [
        Claim(
            f"The first layers matter most: score without a middle layer less that without one of "
            f"the first {few}",
            "first and last few layers matter most",
            middle - drops.where(layer=range(few)).mean(),
            above=0,
        ),
        Claim(
            f"So do the last: score without a middle layer less that without one of the last {few}",
            "first and last few layers matter most",
            middle - drops.where(layer=range(n - few, n)).mean(),
            above=0,
        ),
        Claim(
            "Neighbours can be swapped: median score over all swaps",
            "middle layers can be swapped with little loss",
            single.where(variant="swap").of(lambda scores: np.median(scores, axis=-1)),
            above=0.5,
        ),
    ]


def smaller_half(table: pd.DataFrame, n: int) -> list[int]:
    """The windows of two layers up to half of them; the smallest where there is none."""
    sizes = sorted({int(size) for size in table["affected"].dropna() if size >= 2})
    return [size for size in sizes if size <= n // 2] or sizes[:1]


def _variants(found: Sampled, n: int) -> list[Claim]:
    """The six variants on windows of up to half of the layers."""
    half = smaller_half(found.rows, n)
    some = found.where(affected=half)
    windows = " to ".join(dict.fromkeys([str(half[0]), str(half[-1])]))
    mean = {name: some.where(variant=name).mean() for name in ORDER}
    sizes = found.where(variant="skip").rows["affected"].astype(int)
    sixth = min(sizes, key=lambda size: abs(size - n / 6))
    means = Sampled.together(mean.values())
    others = means.at(range(len(ORDER) - 1))  # the last is to be the worst

    def more(one: str, other: str, published: str) -> Claim:
        return Claim(
            f"{one} costs less than {other}: difference of mean scores over windows of {windows} "
            "layers",
            published,
            mean[one] - mean[other],
            above=0,
        )

    return [
        Claim(
            GRACEFUL,
            "graceful loss",
            found.where(variant="skip", affected=sixth).mean(),
            above=0.5,
        ),
        Claim(
            "Repeating the centre layer is worst: the least of the other variants' mean scores "
            "less its own",
            "by far the worst",
            others.of(lambda scores: scores.min(axis=-1)) - mean["repeat"],
            above=0,
        ),
        Claim(
            "The variants rank as published, looped > random > reverse > parallel > skip > "
            "repeat: rank correlation",
            "1 (Llama2-7B)",
            means.ranked_with(range(len(ORDER), 0, -1)),
            above=0.5,
        ),
        more("looped", "parallel", "looping helps"),
        more("random", "reverse", "random order better than reversed"),
        more("parallel", "skip", "parallel better than skipping"),
    ]


def _order(table: pd.DataFrame, items: pd.DataFrame, on: Setting) -> list[Claim]:
    """Mathematics and reasoning need order more than semantic tasks; said if both kinds tell."""
    clear = above_chance(primary(table))
    kinds = {
        kind: clear[clear["task"].isin(names)]
        for kind, names in (("semantic", SEMANTIC), ("ordered", ORDERED))
    }
    if any(rows.empty for rows in kinds.values()):
        return []
    score = {
        kind: medians(rows, items, on.seed)
        .where(affected=smaller_half(rows, on.n), variant=["reverse", "random"])
        .mean()
        for kind, rows in kinds.items()
    }
    told = {kind: ", ".join(sorted(set(rows["task"]))) for kind, rows in kinds.items()}
    return [
        Claim(
            f"Order matters less to semantic tasks ({told['semantic']}) than to mathematics and "
            f"reasoning ({told['ordered']}): difference of scores, reversed and shuffled",
            "GSM8K and ARC lose most",
            score["semantic"] - score["ordered"],
            above=0,
        )
    ]


def _distance(found: Sampled) -> list[Claim]:
    """How far random orders are from the layers' own, among those of one window.

    Samples are of items and of orders.
    """
    orders = found.where(variant="random")
    sizes = orders.rows["affected"].to_numpy(dtype=int)
    same = sizes[:, None] == sizes
    rest = np.eye(len(sizes)) - same / same.sum(axis=0)  # what the window itself does not explain
    far = orders.rows["distance"].to_numpy(dtype=float) @ rest
    if np.allclose(far, 0):
        return []
    value = correlation(orders.values @ rest, far)
    others = resamplings(len(far), len(orders.samples), seed=_OTHERS)
    samples = correlation(orders.samples @ rest, far, others)
    return [
        Claim(
            "The further a random order is from the layers' own, the more it costs: correlation "
            "of distance (share of pairs exchanged) and score, within windows",
            "not reported: means over ten seeds",
            Quantity(float(value), samples, "correlation"),
            below=0,
        )
    ]


def _loops(of: Mapping[str, Sampled], n: int) -> list[Claim]:
    some = {"affected": smaller_half(of["variants"].rows, n)}
    return [
        Claim(
            "Looping is more than size: mean score of three loops less that of one pass whose "
            "update is three averages",
            "not tested",
            of["variants"].where(variant="looped", **some).mean()
            - of["controls"].where(variant="at once", **some).mean(),
            above=0,
        ),
        Claim(
            "Part of what repeating costs is size: mean score of the centre layer at 1/M, M times, "
            "less that of it repeated in full",
            "not tested",
            of["controls"].where(variant="damped repeat", **some).mean()
            - of["variants"].where(variant="repeat", **some).mean(),
            above=0,
        ),
        Claim(
            "The rest is direction: mean score without the window less that of the centre layer "
            "repeated at the length of the window's own update",
            "not tested",
            of["variants"].where(variant="skip", **some).mean()
            - of["controls"].where(variant="matched repeat", **some).mean(),
            above=0,
        ),
    ]


STUDY = Study(
    "2407.09298", "Transformer Layers as Painters", _calls, _carry_out, compare=compared,
    scored=True, unscored=_canvas, figures=17,
)  # fmt: skip
