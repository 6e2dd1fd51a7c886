from . import comparison as comparison
from . import damage as damage
from . import errors as errors
from . import evaluation as evaluation
from . import execution as execution
from . import experiments as experiments
from . import figures as figures
from . import generation as generation
from . import measures as measures
from . import models as models
from . import patching as patching
from . import plans as plans
from . import report as report
from . import statistics as statistics
from . import stitching as stitching
from . import storage as storage
from . import strategies as strategies
from . import streams as streams
from . import tables as tables
from . import texts as texts
from .comparison import similarity as similarity
from .damage import kl_to_intact as kl_to_intact
from .damage import predict_damage as predict_damage
from .evaluation import evaluate as evaluate
from .evaluation import task as task
from .execution import applied as applied
from .execution import check as check
from .execution import token_logprobs as token_logprobs
from .generation import generate as generate
from .models import load_model as load_model
from .plans import Plan as Plan
from .storage import store as store
from .streams import capture as capture
from .tables import items as items
from .tables import scores as scores

__version__: str
__all__: list[str]
