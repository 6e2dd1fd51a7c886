"""Tables, and functions from table to table; no model, no torch."""

from . import items as items
from . import scores as scores
from .columns import BOOLEAN as BOOLEAN
from .columns import DIFFERENCE as DIFFERENCE
from .columns import INTEGER as INTEGER
from .columns import MEASURED as MEASURED
from .columns import MODEL as MODEL
from .columns import RESULT as RESULT
from .columns import TASK as TASK
from .columns import TEXT as TEXT
from .columns import require as require
from .columns import typed as typed
from .labels import Plans as Plans
from .labels import labelled as labelled
from .labels import labels_for as labels_for
from .labels import labels_of as labels_of
from .matrices import from_matrices as from_matrices
from .matrices import to_matrices as to_matrices
from .results import above_chance as above_chance
from .results import is_intact as is_intact
from .results import median_over_tasks as median_over_tasks
from .results import normalise as normalise
from .results import primary as primary
from .results import scaled as scaled
from .results import scored as scored
from .results import summarise_seeds as summarise_seeds
