"""What studies take on a model that is not there: counted over the plans, for texts of one size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..experiments import plans as plans_of
from ..plans import Plan, shared_calls
from .study import LIMIT, Setting
from .work import Work

# As of the built-in probes: how many, and tokens of what stands for a text of the first, which
# studies read, and for an item of any.
TASKS, PASSAGE, ITEM = 5, "passage", "item"
TOKENS = {PASSAGE: 36, ITEM: 14}


@dataclass(frozen=True, eq=False)
class Outline(Setting):
    """A setting without a model: every text has as many tokens, every task as many items."""

    layers: int = 30

    @property
    def n(self) -> int:
        """Number of layers."""
        return self.layers

    def texts_by_task(self) -> dict[str, list[str]]:
        """As many tasks as there are probes, with as many items as the first."""
        return {f"task {k}": [ITEM] * len(self.texts) for k in range(TASKS)}

    def _counted(self, calls: int, texts: Sequence[str] | None) -> Work:
        return Work(calls * sum(TOKENS[text] for text in texts or self.texts), float)

    def kl_calls(self, plans: pd.DataFrame, texts: Sequence[str] | None = None) -> Work:
        """Every distinct beginning of the plans once."""
        return self._counted(shared_calls(plans_of(plans)), texts)

    def loss_calls(self, plans: pd.DataFrame, texts: Sequence[str] | None = None) -> Work:
        """The same."""
        return self.kl_calls(plans, texts)

    def score_calls(self, plans: pd.DataFrame) -> Work:
        """The same, for every task."""
        return TASKS * self.kl_calls(plans, [ITEM] * len(self.texts))

    def similarity_calls(
        self, plan: Plan | None = None, texts: Sequence[str] | None = None
    ) -> Work:
        """One pass."""
        return self._counted(self.n if plan is None else len(plan.calls), texts)

    def lens_calls(self) -> Work:
        """One pass, and the head at every state, which is as much as some layers."""
        return self._counted(9 * self.n, None)

    def effects_calls(self) -> Work:
        """Every layer left out once, from there on."""
        return self._counted(self.n * (self.n + 1) // 2, None)

    def erasure_calls(self) -> Work:
        """Two passes, the layers behind every state, and heads at half of the tokens."""
        return self._counted(6 * self.n + self.n * (self.n + 1) // 2, None)

    def loop_calls(self, first: int, last: int, times: int) -> Work:
        """The loop, and the layers around it."""
        return self._counted(self.n + (last + 1 - first) * (times - 1), None)

    def written_calls(self, plans: pd.DataFrame) -> Work:
        """Eight right texts under every plan, with both caches."""
        calls = sum(len(plan.calls) for plan in plans_of(plans))
        return Work(2 * calls * 8 * TOKENS[ITEM], float)


def outline(layers: int = 30) -> Any:
    """A setting without a model, for `listed`: what studies would take on one of as many layers.

    Args:
        layers: Number of layers.

    Returns:
        The setting, with as many items of as many tasks as studies take by default.

    Example:
        >>> studies = painters.studies
        >>> counted = studies.listed(studies.outline(12)).set_index("id")["calls"]
        >>> bool(counted["2407.09298"] > counted["2601.18302"])
        True
    """
    return Outline(None, None, (PASSAGE,) * LIMIT, layers=layers)  # type: ignore[arg-type]
