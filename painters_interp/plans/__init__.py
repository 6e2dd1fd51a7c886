"""Plans as values: what they are, how they are written, said and shared. No model, no torch."""

from .notation import MAX_CALLS as MAX_CALLS
from .notation import Half as Half
from .schedules import Entry as Entry
from .schedules import Schedule as Schedule
from .schedules import schedule as schedule
from .sharing import residuals_alive as residuals_alive
from .sharing import shared_calls as shared_calls
from .turns import Turn as Turn
from .turns import groups as groups
from .turns import turns as turns
from .value import Branch as Branch
from .value import Call as Call
from .value import Layers as Layers
from .value import Plan as Plan
from .value import Series as Series
from .value import Step as Step
from .value import check_n_layers as check_n_layers
