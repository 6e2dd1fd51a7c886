"""Affine maps from one residual stream to another, and what a model loses behind them."""

from .fitting import BASELINES as BASELINES
from .fitting import RIDGES as RIDGES
from .fitting import fit_stitch as fit_stitch
from .fitting import stitch as stitch
from .fitting import stitched_logits as stitched_logits
from .maps import METHODS as METHODS
from .maps import Stitch as Stitch
