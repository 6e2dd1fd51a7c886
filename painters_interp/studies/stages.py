"""Stages of inference (arXiv 2406.19384): what is kept without a layer, and what the lens says."""

from ..experiments import single_layers
from ..figures import depth_curves
from .claims import Claim, Sampled
from .study import Found, Setting, Study, medians, of_measure
from .views import as_curves
from .work import Work

_SHOWN = ("lens_entropy", "lens_agreement", "lens_overlap", "lens_kl")


def _calls(on: Setting) -> Work:
    return on.score_calls(single_layers(on.n)) + on.lens_calls()


def _carry_out(on: Setting) -> Found:
    plans = single_layers(on.n)
    items = on.items(plans)
    scores = on.scores(plans, items)
    kept = medians(scores, items, on.seed)
    found = on.lens()
    lens = {name: found[name] for name in _SHOWN}
    curves = as_curves(lens.values(), on.seed)
    entropy, agreement = (
        of_measure(lens[name], on.seed) for name in ("lens_entropy", "lens_agreement")
    )
    return Found(
        tables={"single_layers": scores, "kept": kept.rows, "lens": curves},
        judged=[*_robust(on.n, kept), *_staged(on.n, entropy, agreement)],
        drawings={"lens": lambda: depth_curves(curves, columns=2)},
        items={"single_layers": items},
    )


def _robust(n: int, kept: Sampled) -> list[Claim]:
    """What is kept of the score, where 1 is the intact model and 0 chance."""
    middle = range(n // 4, n - n // 4)
    dropped, swapped = (kept.where(variant=name, layer=middle).mean() for name in ("drop", "swap"))
    first = kept.where(variant="drop", layer=[0]).mean()
    return [
        Claim(
            "Without a layer of the middle half most of the score is kept: mean over its layers",
            "72 to 95 % of accuracy",
            dropped,
            above=0.72,
        ),
        Claim(
            "So it is with two neighbours of the middle half exchanged",
            "72 to 95 % of accuracy",
            swapped,
            above=0.72,
        ),
        Claim(
            "Exchanging neighbours costs less than dropping one: score kept above that",
            "swaps harm less",
            swapped - dropped,
            above=0,
        ),
        Claim(
            "The first layer is another matter: score kept in the middle above that without it",
            "the first layer turns tokens into features",
            dropped - first,
            above=0,
        ),
    ]


def _staged(n: int, entropy: Sampled, agreement: Sampled) -> list[Claim]:
    half, late = n // 2, n - n // 4
    gains = [agreement.where(place=[k]).mean() for k in (0, half, n)]
    return [
        Claim(
            f"Predictions gather late: agreement of the lens with the answer, gained from state "
            f"{half} on, above that gained before",
            "prediction ensembling in the second half",
            (gains[2] - gains[1]) - (gains[1] - gains[0]),
            above=0,
        ),
        Claim(
            f"The last layers sharpen: entropy of the lens at state {late} above that at the last",
            "residual sharpening",
            entropy.where(place=[late]).mean() - entropy.where(place=[n]).mean(),
            above=0,
        ),
    ]


STUDY = Study("2406.19384", "Stages of inference", _calls, _carry_out, scored=True)
