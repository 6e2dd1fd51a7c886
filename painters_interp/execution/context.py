"""`applied`: a frozen model runs a plan for the length of a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError, UnsupportedModelError
from ..plans import Plan
from .families import Family, family_of
from .slots import StepPoints, plan_slots


@contextmanager
def applied(model: TransformerBridge, plan: Plan | str) -> Iterator[TransformerBridge]:
    """Run `plan` in everything that is done with `model` inside the `with` block.

    Forward passes, cached decoding, `original_model.generate`, `bridge.generate` (give it an
    `attention_mask`), hooks and lm-eval's HFLM all see the plan. TransformerLens hooks of layer i
    fire at every call of layer i; `steps.{s}.hook_resid_pre` and `hook_resid_post` address the
    steps of the plan. The model is restored bit for bit on exit, also after an exception.

    Raises PlanError for a plan of another depth or a second plan inside the first, and
    UnsupportedModelError for a model whose layers cannot be exchanged exactly.
    """
    plan = as_plan(plan, model)
    family = ready(model)
    refuse_halves(plan)
    points = StepPoints(plan.depth)
    slots = plan_slots(plan, list(model.blocks), points)
    with family.exchanged(slots, plan.layer_calls), _registered(model, points):
        yield model


def as_plan(plan: Plan | str, model: TransformerBridge) -> Plan:
    """`plan` as a value, checked against the number of layers of `model`."""
    n_layers = len(model.blocks)
    if isinstance(plan, str):
        return Plan.parse(plan, n_layers=n_layers)
    if plan.n_layers != n_layers:
        raise PlanError(
            f"plan {str(plan)!r} is for {plan.n_layers} layers; "
            f"{model.cfg.model_name} has {n_layers}"
        )
    return plan


def ready(model: TransformerBridge) -> Family:
    """The family of `model`, refused while a plan is applied: plans do not nest."""
    if "steps" in model._modules:
        raise PlanError(
            f"a plan is already applied to {model.cfg.model_name}; "
            "leave that `with applied(...)` block first"
        )
    return family_of(model)


def refuse_halves(plan: Plan) -> None:
    """Refuse attention-only and MLP-only calls, which no model here can run yet."""
    for step in plan.steps:
        for call in step.calls:
            if call.half is not None:
                raise UnsupportedModelError(
                    f"plan {str(plan)!r}: calls of half a layer ({call.layer}.{call.half}) can be "
                    "written and counted, but not run"
                )


@contextmanager
def _registered(model: TransformerBridge, points: StepPoints) -> Iterator[None]:
    """Register `points` as `model.steps`, so that the bridge's hook calls find them by name."""
    model.steps = points
    try:
        yield
    finally:
        del model.steps
        for name in points.get_hooks():
            # The bridge enters a component's hooks in its registry but never takes them out.
            model._hook_registry.pop(f"steps.{name}", None)
