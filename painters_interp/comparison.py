"""`similarity`: residual streams through measures, one pass for all of them."""

from collections.abc import Sequence

from transformer_lens.model_bridge import TransformerBridge

from .errors import MeasureError
from .measures import MEASURES, Matrix
from .plans import Plan
from .progress import progress
from .streams import capture


def similarity(
    model: TransformerBridge,
    texts: Sequence[str],
    measures: Sequence[str] = ("cosine", "cosine_flat"),
    plan: Plan | str | None = None,
    skip_first: bool = True,
    batch_size: int = 8,
) -> dict[str, Matrix]:
    """How alike the residual streams of different depths are, for every pair of states.

    Every batch is read once for all measures. `result["cosine"].matrix` is a DataFrame over
    states: 0 is the embedding output, k the stream after layer k-1 (after step k-1 of `plan`).
    Padding never counts, and the first token of a text, which carries the massive activations of
    many models, counts only with `skip_first=False`; `cosine_flat` is the exception to both,
    because it repeats the published computation.

    Raises MeasureError for an unknown measure, TextError for texts that cannot be read.
    """
    if isinstance(measures, str) or not measures:
        raise MeasureError(f"measures must be a list of names out of {', '.join(MEASURES)}")
    for name in measures:
        if name not in MEASURES:
            raise MeasureError(f"no measure {name!r}; there are {', '.join(MEASURES)}")
    accumulators = {name: MEASURES[name]() for name in measures}
    seen: set[int] = set()
    with progress("similarity", len(texts)) as advance:
        for batch in capture(model, texts, plan, batch_size):
            counted = batch.mask.clone()
            if skip_first:
                fresh = [i for i, text in enumerate(batch.texts) if text not in seen]
                counted[fresh, 0] = 0
            seen |= set(batch.texts)
            for accumulator in accumulators.values():
                accumulator.update(batch.states, counted, batch.texts)
            advance(len(batch.texts))
    return {name: accumulator.result() for name, accumulator in accumulators.items()}
