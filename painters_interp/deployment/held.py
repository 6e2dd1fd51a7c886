"""`planned`: a model under a plan for longer than a `with` block."""

from contextlib import ExitStack
from typing import Any
from weakref import finalize

from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError
from ..execution import applied, as_plan
from ..models import Model, StandsForModel, as_model
from ..plans import Plan


class PlannedModel(StandsForModel):
    """A model that runs a plan until it is closed; made by `planned`.

    What it does not define itself is the bridge's: `planned("text")`, `planned.generate`,
    `planned.run_with_cache`, `planned.hooks`, and `planned.original_model` for other libraries.
    """

    def __init__(self, model: TransformerBridge, plan: Plan, cache: str) -> None:
        self.plan, self.cache, self._model = plan, cache, model
        with ExitStack() as stack:
            stack.enter_context(applied(model, plan, cache))
            # Once, by `close` or when nobody holds this any more, as of an open file.
            self._restore = finalize(self, stack.pop_all().close)
        self._restore.atexit = False

    @property
    def bridge(self) -> TransformerBridge:
        """The model itself, under the plan. Raises PlanError once this is closed."""
        if self.closed:
            raise PlanError(
                f"this planned model ({str(self.plan)!r}) is closed; call painters.planned again"
            )
        return self._model

    @property
    def closed(self) -> bool:
        """Whether the model is as it was before."""
        return not self._restore.alive

    def close(self) -> None:
        """Restore the model bit for bit; closing twice does no harm."""
        self._restore()

    def __enter__(self) -> "PlannedModel":
        _ = self.bridge  # refuses what is closed
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.bridge(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and pickling ask before there is anything
            raise AttributeError(f"a planned model has no attribute {name!r}")
        return getattr(self.bridge, name)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"cache={self.cache!r}"
        return f"PlannedModel({self._model.cfg.model_name}, {str(self.plan)!r}, {state})"


def planned(model: Model, plan: Plan | str, cache: str = "exact") -> PlannedModel:
    """Put a model under a plan until it is closed; `applied` says what runs the plan then.

    The model is changed where it stands, and is restored by `.close()`, at the end of a `with`
    block, and when nobody holds what this returns any more. Until then what begins with the intact
    model is refused with the reason, for it would not mean this one: `evaluate`, `generate`,
    `similarity`, patching and other plans. Give those the model and the plan.

    Args:
        model: a bridge, a Hugging Face model, or a name.
        plan: a plan for as many layers as the model has.
        cache: "exact" or "averaged", as for `applied`.

    Returns:
        The model under the plan, to be used as the bridge is.

    Raises:
        PlanError: a plan of another depth, or where a plan is applied already.
        UnsupportedModelError: a model whose layers cannot be exchanged exactly.

    Example:
        >>> skipping = planned(model, "0-2 5")
        >>> skipping("abc").shape  # (batch, pos, vocabulary)
        torch.Size([1, 4, 96])
        >>> skipping.close()
    """
    bridge = as_model(model)
    return PlannedModel(bridge, as_plan(plan, bridge), cache)
