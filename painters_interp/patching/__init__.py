"""Moving tensors: weights between layers, and streams between models."""

from .weights import PARTS as PARTS
from .weights import weight_similarities as weight_similarities
from .weights import weight_similarity as weight_similarity
from .weights import weights_averaged as weights_averaged
from .weights import weights_swapped as weights_swapped
