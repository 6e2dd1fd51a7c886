"""How long an evaluation will take, from a few passes of it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

from transformer_lens.model_bridge import TransformerBridge

from ..plans import Plan, shared_calls
from ..progress import trial
from ..strategies import full
from .questions import Questions
from .scoring import score, time_per_call
from .writing import Prompts

_TRIALS = 3
_SHORTEST = 6  # plans of few layer calls that are scored to see what a plan costs beside them


def seconds_needed(model: TransformerBridge, questions: Questions, plans: Sequence[Plan]) -> float:
    """Seconds that `score` will take here: of layer calls, and of the head after each plan.

    Measured on the middle one of the packs that go through the model together, in some seconds.

    Args:
        model: A model with hooks.
        questions: What `prepare` returned.
        plans: Plans of this model.

    Returns:
        Seconds.

    Example:
        >>> questions = painters.evaluation.prepare(model, "probe_facts", limit=2)
        >>> seconds_needed(model, questions, [painters.Plan.parse("0-2 5", 6)]) > 0
        True
    """
    layers = _pace(model, questions) * questions.calls(plans)
    return layers + (_outside_of_layers(model, questions, plans) if questions.packs else 0.0)


def _pace(model: TransformerBridge, questions: Questions) -> float:
    """Seconds of a token-layer call, the mean of a few trials: what else runs here goes on."""
    return fmean(time_per_call(model, questions) for _ in range(_TRIALS))


def _outside_of_layers(
    model: TransformerBridge, questions: Questions, plans: Sequence[Plan]
) -> float:
    """Recording each pack, and the head for every scored token under every plan."""
    middle = questions.packs[len(questions.packs) // 2]
    one = replace(questions, packs=(middle,), prompts=Prompts())
    intact = full(len(model.blocks))
    short = sorted({*plans} - {intact}, key=lambda plan: len(plan.calls))[:_SHORTEST]
    alone = trial(partial(score, model, [intact], one))
    several = trial(partial(score, model, [intact, *short], one))
    layer = _pace(model, one) * one.tokens
    more = shared_calls([intact, *short]) - len(intact.calls)
    head = max(0.0, several - alone - more * layer) / max(1, len(short))
    recording = max(0.0, alone - len(intact.calls) * layer - head)
    targets = sum(len(request.continuation) for request in questions.requests)
    own = sum(len(r.continuation) for r in questions.requests if r.sequence in middle)
    return recording * len(questions.packs) + head * len(plans) * targets / own
