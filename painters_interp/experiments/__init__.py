"""The paper's experiments as tables of labelled plans; nothing here runs them.

One row per (label, plan). `plan` is the canonical text over `n_layers` layers; the other columns
are labels, and empty where they do not apply:

    experiment    single_layers, variants, loops, decoding, internal_loops, or a grid: swaps,
                  replacements, moves, block_repeats, dropped_windows; removals, damages,
                  controls
    variant       intact, drop, swap, skip, repeat, reverse, random, parallel, looped, ...
    layer         the layer dropped, moved or replaced; the lower one of a swap; the first of a
                  block
    other         of a grid: the other one of a swap, the layer that is run instead, the step that
                  a layer is moved to, the last layer of a block
    first         the paper's N: the window is `strategies.middle(n_layers, first)`
    affected      the paper's M: how many layers the window holds
    shuffle_seed  of a random order (a result table's `seed` is another one: the evaluation's)
    times         how often a loop runs
    distance      of a reordered window from the identity, 0 to 1: the share of layer pairs that
                  changed their order (normalised Kendall tau). A shuffle may be the identity.

`n_layers` is the number of layers of a model, or the model itself.

The same plan may stand in several rows (a window of one layer reversed is the intact model):
whoever evaluates a table computes each distinct plan once and joins.
"""

from .costs import H100 as H100
from .costs import PAPER as PAPER
from .costs import UTILISATION as UTILISATION
from .costs import Hardware as Hardware
from .costs import Shape as Shape
from .costs import Work as Work
from .costs import cost as cost
from .grids import GRIDS as GRIDS
from .grids import block_repeats as block_repeats
from .grids import dropped_windows as dropped_windows
from .grids import moves as moves
from .grids import replacements as replacements
from .grids import swaps as swaps
from .paper import controls as controls
from .paper import damages as damages
from .paper import decoding as decoding
from .paper import every_window as every_window
from .paper import internal_loops as internal_loops
from .paper import loops as loops
from .paper import removals as removals
from .paper import single_layers as single_layers
from .paper import suite as suite
from .paper import variants as variants
from .rows import intact as intact
from .rows import plans as plans
