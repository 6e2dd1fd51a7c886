"""Moving tensors: streams between runs and models, weights between layers."""

from .crossing import crossing as crossing
from .effects import effects as effects
from .maps import METHODS as METHODS
from .maps import Stitch as Stitch
from .metrics import METRICS as METRICS
from .patchscope import patchscope as patchscope
from .readout import readout as readout
from .residual import patch_residual as patch_residual
from .stitching import BASELINES as BASELINES
from .stitching import RIDGES as RIDGES
from .stitching import fit_stitch as fit_stitch
from .stitching import stitch as stitch
from .stitching import stitched_logits as stitched_logits
from .weights import PARTS as PARTS
from .weights import weight_similarities as weight_similarities
from .weights import weight_similarity as weight_similarity
from .weights import weights_averaged as weights_averaged
from .weights import weights_swapped as weights_swapped
