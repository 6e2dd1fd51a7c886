"""From a finding to its use: a model that stays under a plan, and what is made of it."""

from .held import PlannedModel as PlannedModel
from .held import planned as planned
