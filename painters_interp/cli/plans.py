"""`painters plan`: a plan in words."""

from ..terminal import say
from .options import Layers, Plan, PlanWord, plan_in


def plan(text: PlanWord = None, plan: Plan = None, n_layers: Layers = 30) -> None:
    """Say a plan in words, and count its layer calls.

    Such as '0-8 (9-20)*3 21-29' or '0-9 [10-13]@0.5*2 14-29'.

    Example: painters plan "0-8 (9-20)*3 21-29"
    """
    from .. import plans

    value = plans.Plan.parse(plan_in(text, plan), n_layers=n_layers)
    print(value)
    say(value.describe(), hang=4)
