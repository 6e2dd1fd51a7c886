"""What can be learnt from a model's states: classifiers under plans, healing, readers."""

from .adapters import Lora as Lora
from .classification import POOLS as POOLS
from .classification import classify as classify
from .classification import classify_items as classify_items
from .examples import Examples as Examples
from .examples import Split as Split
from .examples import examples as examples
from .healing import Healed as Healed
from .healing import heal as heal
from .named import TASKS as TASKS
from .named import named as named
from .training import Tuning as Tuning
from .transfer import READINGS as READINGS
from .transfer import Readers as Readers
from .transfer import readers as readers
