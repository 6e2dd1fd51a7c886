"""How alike residual streams are: streams through measures, one pass for all of them."""

from .asking import calls_needed as calls_needed
from .asking import similarity as similarity
from .results import Similarity as Similarity
from .survey import SHUFFLED as SHUFFLED
from .survey import WITHOUT as WITHOUT
