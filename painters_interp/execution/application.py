"""`applied`: a frozen model runs a plan for the length of a `with` block."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_transformer_lens import forget_hook_points
from ..errors import PlanError, UnsupportedModelError
from ..models import Model, StandsForModel, as_model, under_plan
from ..plans import Plan, Series, Step
from .anatomy import Family, family_of
from .entrances import guarded
from .guards import alone_with
from .slots import CACHES, StepPoints, plan_slots
from .sublayers import refuse_halves


@contextmanager
def applied(model: Model, plan: Plan | str, cache: str = "exact") -> Iterator[TransformerBridge]:
    """Run `plan` in everything that is done with `model` inside the `with` block.

    Forward passes, cached decoding, `original_model.generate`, `bridge.generate` (give it an
    `attention_mask`), hooks and lm-eval's HFLM all see the plan. TransformerLens hooks of layer i
    fire at every call of layer i; `steps.{s}.hook_resid_pre` and `hook_resid_post` address the
    steps of the plan. The model is restored bit for bit on exit, also after an exception.

    A text given to `model(...)` gets a beginning-of-text token from TransformerLens unless told
    otherwise (`prepend_bos=False`); what this package reads itself is read as the tokenizer does.
    A cache that was filled under a plan goes on under that plan alone.

    `cache="averaged"` decodes as the paper's code does: the members of a parallel group remember
    the mean of their keys and values, so that decoding differs from one pass over the same text.

    Args:
        model: a bridge, a Hugging Face model, or a name; in the mode it is in.
        plan: a plan for as many layers as the model has.
        cache: "exact" or "averaged".

    Yields:
        The model as a bridge, under the plan.

    Raises:
        PlanError: a plan of another depth, or a second plan inside the first.
        UnsupportedModelError: a model whose layers cannot be exchanged exactly.

    Example:
        >>> with applied(model, "0-2 5") as skipping:
        ...     skipping("abc").shape  # (batch, pos, vocabulary)
        torch.Size([1, 4, 96])
    """
    model = as_model(model)
    if cache not in CACHES:
        raise PlanError(f"cache={cache!r} is not one of {', '.join(CACHES)}")
    plan = as_plan(plan, model)
    family = ready(model)
    if cache == "averaged":
        refuse_average(plan, family)
    refuse_halves(model, plan)
    with _uncollected():
        points = StepPoints(plan.depth)
        slots = plan_slots(plan, model, points, cache, family.causal)
    with ExitStack() as standing:
        with alone_with(model):
            for change in (
                family.exchanged(slots, plan.layer_calls),
                _registered(model, points),
                guarded(model),
            ):
                standing.enter_context(change)
        yield model


def refuse_unable(model: TransformerBridge, plans: Iterable[Plan], cache: str) -> None:
    """Raise what `applied` raises for the first of these plans that the model cannot run."""
    with alone_with(model):
        for plan in plans:
            with applied(model, plan, cache=cache):
                pass


def refuse_average(plan: Plan, family: Family) -> None:
    """Raise UnsupportedModelError for groups whose keys and values have no mean.

    Only caches of one kind have one, and only keys and values, which linear layers lack; series
    side by side have no members that stand for each other.
    """
    for step in _nested(plan.steps):
        several, calls = len(step.branches) > 1, step.calls
        if several and step.nesting:
            raise UnsupportedModelError(
                f"plan {str(plan)!r}: step {step} joins series of layers, and the published "
                'decoding averages the caches of single layers; use cache="exact"'
            )
        kinds = {family.layer_types[call.layer] for call in calls}
        recur = any(family.recurs[call.layer] for call in calls)
        if several and (len(kinds) > 1 or recur):
            raise UnsupportedModelError(
                f"plan {str(plan)!r}: step {step} joins layers of {' and '.join(sorted(kinds))}, "
                'whose caches cannot be averaged; use cache="exact"'
            )


def _nested(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, and those inside of them."""
    for step in steps:
        yield step
        for branch in step.branches:
            if isinstance(branch, Series):
                yield from _nested(branch.steps)


def as_plan(plan: Plan | str, model: TransformerBridge | StandsForModel) -> Plan:
    """`plan` as a value, checked against the number of layers of `model`."""
    if isinstance(model, StandsForModel):
        model = model.bridge
    family_of(model)  # refuses what has no single list of layers
    n_layers = len(model.blocks)
    if not isinstance(plan, Plan):
        return Plan.of(plan, n_layers)
    if plan.n_layers != n_layers:
        raise PlanError(
            f"plan {str(plan)!r} is for {plan.n_layers} layers; "
            f"{model.cfg.model_name} has {n_layers}"
        )
    return plan


def ready(model: TransformerBridge) -> Family:
    """The family of `model`, refused while a plan is applied: plans do not nest."""
    with alone_with(model):  # another thread may be measuring it under a plan
        applied_already = under_plan(model)
    if applied_already:
        raise PlanError(
            f"a plan is already applied to {model.cfg.model_name}, and what runs plans of its own "
            "begins with the intact model; leave that `with applied(...)` block, or close() the "
            "planned model, and give it the plan"
        )
    return family_of(model)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which among thousands of new modules finds nothing, often."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _registered(model: TransformerBridge, points: StepPoints) -> Iterator[None]:
    """Register `points` as `model.steps`, so that the bridge's hook calls find them by name."""
    own = {name: value for name, value in vars(model).items() if name == "steps"}
    model.steps = points
    try:
        yield
    finally:
        del model.steps
        vars(model).update(own)
        # The bridge enters a component's hooks in its registry but never takes them out.
        forget_hook_points(model, (f"steps.{name}" for name in points.get_hooks()))
