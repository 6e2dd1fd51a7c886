"""Moving tensors: weights between layers, and streams between models."""

from .maps import METHODS as METHODS
from .maps import Stitch as Stitch
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
