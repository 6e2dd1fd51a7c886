"""Moving a tensor from one run into another: what each place carries, and who can read it."""

from .crossing import crossing as crossing
from .effects import effects as effects
from .metrics import METRICS as METRICS
from .patchscope import patchscope as patchscope
from .readout import readout as readout
from .residual import patch_residual as patch_residual
