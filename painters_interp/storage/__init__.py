"""What is written to disk: whole files, tables, kept results, and what produced them."""

from . import store as store
from .files import making as making
from .files import replacing as replacing
from .files import room_for as room_for
from .files import writable_file as writable_file
from .files import writable_folder as writable_folder
from .files import write_whole as write_whole
from .kept import Kept as Kept
from .provenance import provenance as provenance
from .shelf import Shelf as Shelf
from .store import FORMATS as FORMATS
from .store import read_provenance as read_provenance
from .store import read_table as read_table
from .store import remove_table as remove_table
from .store import writable as writable
from .store import write_table as write_table
