"""How sure a number is, and how numbers of single items become one; no model, no torch."""

from .paired import FLIPS as FLIPS
from .paired import adjusted as adjusted
from .paired import difference as difference
from .paired import flip_p as flip_p
from .paired import mcnemar as mcnemar
from .paired import proportions as proportions
from .paired import signs as signs
from .resampling import FEWEST as FEWEST
from .resampling import LEVEL as LEVEL
from .resampling import RESAMPLES as RESAMPLES
from .resampling import Interval as Interval
from .resampling import draws as draws
from .resampling import of_mean as of_mean
from .resampling import of_ratio as of_ratio
from .resampling import percentiles as percentiles
from .resampling import resampled_ratio as resampled_ratio
from .resampling import resamplings as resamplings
from .resampling import studentised as studentised
