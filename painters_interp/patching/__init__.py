"""Moving tensors: streams between runs, weights between layers; and what states would say."""

from .across_layers import crossing as crossing
from .corpus_lens import LENS as LENS
from .corpus_lens import corpus_lens as corpus_lens
from .corpus_lens import lens_calls as lens_calls
from .erasing import erasure as erasure
from .erasing import erasure_calls as erasure_calls
from .layer_effects import effects as effects
from .layer_effects import effects_calls as effects_calls
from .layer_effects import resampled_effects as resampled_effects
from .logit_lens import readout as readout
from .loop_turns import loop_calls as loop_calls
from .loop_turns import loop_turns as loop_turns
from .metrics import METRICS as METRICS
from .patchscope import patchscope as patchscope
from .residual import patch_residual as patch_residual
from .weights import PARTS as PARTS
from .weights import weight_similarities as weight_similarities
from .weights import weight_similarity as weight_similarity
from .weights import weights_averaged as weights_averaged
from .weights import weights_swapped as weights_swapped
