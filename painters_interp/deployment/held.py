"""`planned`: a model under a plan for longer than a `with` block."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from weakref import finalize

from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError
from ..execution import applied, as_plan, user_hooks
from ..models import Model, StandsForModel, as_model
from ..notices import warn
from ..plans import Plan
from ..terminal import folded


class PlannedModel(StandsForModel):
    """A model that runs a plan until it is closed; made by `planned`.

    What it does not define itself is the bridge's: `planned("text")`, `planned.generate`,
    `planned.run_with_cache`, `planned.hooks`, and `planned.original_model` for other libraries.
    """

    def __init__(self, model: TransformerBridge, plan: Plan, cache: str) -> None:
        self._model, self._plan, self._cache = model, plan, cache
        self._closed = self._off = False
        self._hold()

    def _hold(self) -> None:
        """Apply the plan, until `close` or until nobody holds this any more, as an open file."""
        with ExitStack() as stack:
            stack.enter_context(applied(self._model, self._plan, self._cache))
            self._applied = finalize(self, stack.pop_all().close)
        name = f"{self._model.cfg.model_name} ({str(self._plan)!r})"
        self._unheld = finalize(self, _say_unheld, name)
        self._unheld.atexit = False

    def _restore(self) -> None:
        self._unheld.detach()
        self._applied()

    @property
    def plan(self) -> Plan:
        """What runs."""
        return self._plan

    @property
    def cache(self) -> str:
        """How it decodes: "exact" or "averaged"."""
        return self._cache

    @property
    def bridge(self) -> TransformerBridge:
        """The model itself, under the plan. Raises PlanError once this is closed."""
        if self.closed:
            raise PlanError(
                f"this planned model ({str(self.plan)!r}) is closed; call painters.planned again"
            )
        if self._off:
            raise PlanError(
                f"this planned model ({str(self.plan)!r}) is in use by a function that applies its "
                "plan anew; give it to that function once, or another model beside it"
            )
        return self._model

    @property
    def closed(self) -> bool:
        """Whether the model is as it was before, for good."""
        return self._closed

    def close(self) -> None:
        """Restore the model bit for bit; closing twice does no harm."""
        self._closed = True
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
        self._off = True
        try:
            yield model
        finally:
            self._off = False
            if not self.closed:
                self._hold()

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
        value = getattr(model := self.bridge, name)
        return self._chained(value) if getattr(value, "__self__", None) is model else value

    def _chained(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of the bridge that returns this where it returns the bridge, as `eval` does.

        Whoever kept the bridge alone would hold the intact model.
        """

        @wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self if result is self._model else result

        return called

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or hasattr(type(self), name):  # a property refuses
            super().__setattr__(name, value)
        else:
            setattr(self.bridge, name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise PlanError(
            "a planned model is not copied or pickled, for nothing would take the plan off the "
            "copy; write it down with painters.recipe, or plan a copy of the model"
        )

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"cache={self.cache!r}"
        name = self._model.cfg.model_name
        return folded(f"PlannedModel({name}, {str(self.plan)!r}, {state})", hang=4)


def _say_unheld(name: str) -> None:
    """Whoever kept the bridge, or the model in it, would go on with the intact model unawares."""
    warn(
        f"the planned model of {name} is held by nobody any more, so that the model is intact "
        "again; keep what painters.planned returns, and close() it"
    )


def planned(model: Model, plan: Plan | str, cache: str = "exact") -> PlannedModel:
    """Put a model under a plan until it is closed; `applied` says what runs the plan then.

    The model is changed where it stands, and is restored by `.close()`, at the end of a `with`
    block, and, with a warning, when nobody holds what this returns any more. Until then `evaluate`,
    `generate`, `similarity`, `classify`, `heal`, patching and the like take what this returns as
    the model under its plan, which need not be named: `painters.similarity(held, texts)`. Another
    plan on top is refused, and so is what begins with the intact model.

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
