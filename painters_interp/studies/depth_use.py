"""Do language models use their depth efficiently (arXiv 2505.13898)."""

import numpy as np

from ..figures import depth_curves, effects_heatmap
from ..patching import erasure, resampled_effects
from ..texts import in_pieces
from .claims import Claim, Quantity, Sampled
from .study import Found, Setting, Study, along, of_measure
from .views import as_curves
from .work import Work


def _calls(on: Setting) -> Work:
    return on.similarity_calls() + 2 * on.effects_calls() + on.lens_calls() + on.erasure_calls()


def _carry_out(on: Setting) -> Found:
    found = on.similarity(["update_ratio", "update_cosine"])
    everywhere = _effects(on)
    later = _effects(on, _place(on))
    erased = erasure(on.model, on.texts)
    erasures = as_curves([erased], on.seed)
    lens = on.lens()
    read = as_curves([lens[name] for name in ("lens_kl", "lens_overlap")], on.seed)
    overlap = of_measure(lens["lens_overlap"], on.seed)
    first, half, last = (overlap.where(place=[k]).mean() for k in (0, on.n // 2, on.n))
    ratio = of_measure(along(found, "update_ratio"), on.seed)
    return Found(
        tables={
            "depth": found.curves(),
            "effects": everywhere.rows,
            "effects_on_later_tokens": later.rows,
            "erasure": erasures,
            "lens": read,
        },
        judged=[
            Claim(
                "Updates shrink against the stream: ratio of the median layer in the first half "
                "less that in the second",
                "smaller in the second half",
                _halves_apart(on.n, ratio, "place"),
                above=0,
            ),
            Claim(
                "Skipping a layer of the first half changes later layers more than skipping one "
                "of the second (median of the relative changes of their updates)",
                "little effect of the second half",
                _halves_apart(on.n, everywhere, "dropped"),
                above=0,
            ),
            Claim(
                "The same of later tokens, where one token alone misses the layer",
                "nearly none of the second half",
                _halves_apart(on.n, later, "dropped"),
                above=0,
            ),
            Claim(
                "Later tokens need an earlier one in the first half: KL to the intact model where "
                "its state is exchanged for a mean there, less that in the second (median states)",
                "answers hardly depend on it in the second half",
                _halves_apart(on.n, of_measure(erased, on.seed), "place"),
                above=0,
            ),
            Claim(
                "The second half makes the prediction: overlap of the five likeliest of "
                f"lens and model, gained from state {on.n // 2} on above that gained before",
                "the second half refines",
                (last - half) - (half - first),
                above=0,
            ),
        ],
        drawings={
            "depth": lambda: depth_curves(found.curves()),
            "effects": lambda: effects_heatmap(everywhere.rows),
            "effects_on_later_tokens": lambda: effects_heatmap(later.rows),
            "erasure": lambda: depth_curves(erasures, log=True),
            "lens": lambda: depth_curves(read, columns=2),
        },
    )


def _effects(on: Setting, at: int | None = None) -> Sampled:
    rows, samples = resampled_effects(on.model, on.texts, at=at, seed=on.seed)
    return Sampled(rows, rows["value"].to_numpy(dtype=float), samples, "of the update")


def _place(on: Setting) -> int:
    """The token that misses a layer: in the middle of the shortest text."""
    pieces, _ = in_pieces(on.model, on.texts)
    return max(0, min(map(len, pieces)) // 2 - 1)


def _halves_apart(n: int, found: Sampled, along: str) -> Quantity:
    """The median where `along` lies in the first half of depth, less that in the second."""
    first, second = ({along: places} for places in (range(n // 2), range(n // 2, n)))
    return _median(found.where(**first)) - _median(found.where(**second))


def _median(found: Sampled) -> Quantity:
    """Which one layer, such as the first, does not decide."""
    return found.of(lambda values: np.median(values, axis=-1))


STUDY = Study("2505.13898", "Do models use their depth", _calls, _carry_out, figures=5)
