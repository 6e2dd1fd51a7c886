"""From a folder of tables to its figures, and to a few sentences about what they show.

Everything here is read back from disk, so a saved run can be redrawn and summed up without a model.
"""

from .drawing import DRAWINGS as DRAWINGS
from .drawing import draw as draw
from .findings import summary as summary
from .saved import Saved as Saved
from .saved import items_beside as items_beside
from .saved import read as read
from .saved import read_run as read_run
