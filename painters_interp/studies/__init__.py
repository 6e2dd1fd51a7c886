"""What papers did, for any model: tables, figures, and claims with verdicts."""

from .claims import FAILS as FAILS
from .claims import HOLDS as HOLDS
from .claims import UNDECIDED as UNDECIDED
from .claims import Claim as Claim
from .claims import Quantity as Quantity
from .claims import Sampled as Sampled
from .outline import outline as outline
from .registry import STUDIES as STUDIES
from .registry import listed as listed
from .registry import run as run
from .study import Found as Found
from .study import Setting as Setting
from .study import Study as Study
