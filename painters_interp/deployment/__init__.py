"""From a finding to its use: a model that stays under a plan, and what is made of it."""

from .checkpoints import export as export
from .edits import EDITS as EDITS
from .edits import edited as edited
from .held import PlannedModel as PlannedModel
from .held import planned as planned
from .reaching import reached as reached
from .recipes import mergekit as mergekit
from .recipes import recipe as recipe
from .rounds import Rounds as Rounds
from .rounds import explored as explored
from .searching import Search as Search
from .searching import search as search
from .sequences import in_sequence as in_sequence
from .timing import calls_within as calls_within
from .timing import latency as latency
