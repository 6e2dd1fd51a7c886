"""`planned`: a model under a plan for longer than a `with` block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import finalize

from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError
from ..execution import applied, as_plan, user_hooks
from ..models import Model, StandsForModel, as_model
from ..plans import Plan


class PlannedModel(StandsForModel):
    """A model that runs a plan until it is closed; made by `planned`.

    What it does not define itself is the bridge's: `planned("text")`, `planned.generate`,
    `planned.run_with_cache`, `planned.hooks`, and `planned.original_model` for other libraries.
    """

    def __init__(self, model: TransformerBridge, plan: Plan, cache: str) -> None:
        self.plan, self.cache, self._model = plan, cache, model
        self._restore = self._held()

    def _held(self) -> "finalize[..., PlannedModel]":
        """Apply the plan; what is returned restores the model, once.

        By `close`, or when nobody holds this any more, as of an open file.
        """
        with ExitStack() as stack:
            stack.enter_context(applied(self._model, self.plan, self.cache))
            restore = finalize(self, stack.pop_all().close)
        restore.atexit = False
        return restore

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

    @contextmanager
    def lifted(self) -> Iterator[TransformerBridge]:
        """The intact model for the length of a block, for what applies the plan itself.

        Raises PlanError where hooks hang at its steps, which would be gone.
        """
        model = self.bridge
        if hooks := [name for name in user_hooks(model) if name.startswith("steps.")]:
            raise PlanError(
                f"hooks hang at {', '.join(hooks)} of this planned model, and what runs the plan "
                "anew would not see them; remove them first"
            )
        self._restore()
        try:
            yield model
        finally:
            self._restore = self._held()

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
    block, and when nobody holds what this returns any more. Until then `evaluate`, `generate`,
    `similarity`, patching and the like take what this returns as the model under its plan, which
    need not be named: `painters.similarity(held, texts)`. Another plan on top is refused, and so
    is what begins with the intact model.

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
