"""How alike residual streams are: streams through measures, one pass for all of them."""

from .passes import SHUFFLED as SHUFFLED
from .passes import WITHOUT as WITHOUT
from .request import calls_needed as calls_needed
from .request import similarity as similarity
from .results import Similarity as Similarity
