"""`similarity`: residual streams through measures, one pass for all of them."""

from collections.abc import Sequence

import torch
from transformer_lens.model_bridge import TransformerBridge

from .errors import MeasureError
from .execution import as_plan
from .measures import MEASURES, Matrix
from .plans import Plan
from .progress import progress
from .streams import capture, in_pieces
from .texts import in_order


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
    Padding never counts, and the first token, which carries the massive activations of many
    models, counts only with `skip_first=False`; a text longer than the context has a first token
    in each of its pieces. `cosine_flat` is the exception to both, because it repeats the
    published computation.

    Raises MeasureError for an unknown measure, TextError for texts that cannot be read.
    """
    if isinstance(measures, str) or not measures:
        raise MeasureError(f"measures must be a list of names out of {', '.join(MEASURES)}")
    for name in measures:
        if name not in MEASURES:
            raise MeasureError(f"no measure {name!r}; there are {', '.join(MEASURES)}")
    accumulators = {name: MEASURES[name]() for name in measures}
    total, per_token = calls_needed(model, texts, plan, batch_size), _layer_calls(model, plan)
    with progress("similarity", total) as advance:
        for batch in capture(model, texts, plan, batch_size):
            counted = batch.mask.clone()
            if skip_first:
                counted[:, 0] = 0
            for accumulator in accumulators.values():
                accumulator.update(batch.states, counted, batch.texts)
            advance(batch.tokens.numel() * per_token)
    return {name: accumulator.result() for name, accumulator in accumulators.items()}


def calls_needed(
    model: TransformerBridge,
    texts: Sequence[str],
    plan: Plan | str | None = None,
    batch_size: int = 8,
) -> int:
    """Token-layer calls of one pass of `similarity` over `texts`, padding included."""
    pieces, _ = in_pieces(model, texts)
    batches = in_order(pieces, batch_size, torch.device("cpu"))
    return sum(batch.tokens.numel() for batch in batches) * _layer_calls(model, plan)


def _layer_calls(model: TransformerBridge, plan: Plan | str | None) -> int:
    return len(model.blocks) if plan is None else len(as_plan(plan, model).layer_calls)
