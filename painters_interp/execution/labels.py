"""The forms in which plans are given, as one table of labelled plans."""

from collections.abc import Mapping, Sequence

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError
from ..plans import Plan
from ..tables import labels_of
from .context import as_plan

Plans = Sequence[Plan | str] | Mapping[str, Plan | str] | pd.DataFrame


def labels_for(model: TransformerBridge, plans: Plans) -> pd.DataFrame:
    """A table with a canonical plan per row, and whatever labels came with it.

    `plans` is a list, a dict from label to plan, or a table with a column `plan`. What an earlier
    evaluation measured is no label, so its table can be evaluated again. Raises PlanError for no
    plans or one that the model cannot run.
    """
    if isinstance(plans, pd.DataFrame):
        table = labels_of(plans)
    elif isinstance(plans, Mapping):
        table = pd.DataFrame({"label": list(plans), "plan": list(plans.values())})
    else:
        table = pd.DataFrame({"plan": list(plans)}, dtype=object)
    if table.empty:
        raise PlanError("no plans; give at least one, such as the intact model's")
    return table.assign(plan=[str(as_plan(plan, model)) for plan in table["plan"]])
