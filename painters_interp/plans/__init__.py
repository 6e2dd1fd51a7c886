"""Plans as values: what they are, how they are written, said and shared. No model, no torch."""

from .notation import MAX_CALLS as MAX_CALLS
from .notation import Half as Half
from .schedules import Entry as Entry
from .schedules import Schedule as Schedule
from .schedules import schedule as schedule
from .sharing import shared_calls as shared_calls
from .value import Call as Call
from .value import Layers as Layers
from .value import Plan as Plan
from .value import Step as Step
from .value import check_n_layers as check_n_layers
