"""What a user gives to a drawing function beside its table: axes, names, colours."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes

# What drawing functions take beside their tables: axes of the user's own, one for each panel;
# what things are called; colours of lines, by name, in order, or out of seaborn's of that name.
Panels = Sequence[Axes] | np.ndarray | None
Names = Mapping[str, str] | None
Palette = Mapping[str, str] | Sequence[str] | str | None


@dataclass(frozen=True)
class Wishes:
    """What a user gives to a drawing function beside its table."""

    axes: tuple[Axes, ...] | None = None  # of the user's own, to draw into
    names: Mapping[str, str] = field(default_factory=dict)
    palette: Mapping[str, str] | Sequence[str] | str | None = None


_NONE = Wishes()
# Those of the drawing function that is at work.
WISHES: ContextVar[Wishes] = ContextVar("wishes", default=_NONE)
