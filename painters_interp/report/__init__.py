"""From a folder of tables to its figures, to sentences about what they show, and to a page.

Everything here is read back from disk, so a saved run can be redrawn and summed up without a model.
"""

from .drawing import DRAWINGS as DRAWINGS
from .drawing import draw as draw
from .drawing import loops as loops
from .findings import summary as summary
from .page import PAGE as PAGE
from .page import page as page
from .page import writable_page as writable_page
from .page import write_page as write_page
from .run import Run as Run
from .run import read_run as read_run
from .saved import Saved as Saved
from .saved import items_beside as items_beside
from .saved import read as read
