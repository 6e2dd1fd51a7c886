"""Running a plan: where a model keeps its layers, slots, shared prefixes, and the proof."""

from .context import applied as applied
from .context import as_plan as as_plan
from .context import ready as ready
from .divergence import divergences as divergences
from .families import Family as Family
from .families import family_of as family_of
from .labels import Plans as Plans
from .labels import labels_for as labels_for
from .packing import ROWS as ROWS
from .packing import Layout as Layout
from .packing import layout_for as layout_for
from .packing import pack as pack
from .packing import packable as packable
from .packing import pad as pad
from .proof import CheckReport as CheckReport
from .proof import check as check
from .proof import specimens as specimens
from .runner import Recording as Recording
from .runner import Scores as Scores
from .runner import head as head
from .runner import read_out as read_out
from .runner import record as record
from .runner import residuals_alive as residuals_alive
from .runner import score_targets as score_targets
from .runner import token_logprobs as token_logprobs
from .runner import walk as walk
