"""Many plans on many tasks for many models, over hours and machines, without losing work."""

from .joining import Swept as Swept
from .running import sweep as sweep
from .spec import Spec as Spec
from .spec import read_spec as read_spec
from .watching import status as status
