"""A plan that shows itself: in a notebook as a strip of its steps, on request as a figure."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 200  # steps; of longer plans the beginning is shown
_TALLEST = 24  # branches of a group; of more, the middle ones are left out
_CELL = "display:inline-block;min-width:1.5em;margin:1px;padding:0 2px;text-align:center;"
_GROUP = "display:inline-block;vertical-align:top;border:1px solid;margin:1px;text-align:center"


class Shown:
    """What a plan can do beside being one: draw itself, and be seen in a notebook."""

    steps: Sequence[Any]
    n_layers: int

    def plot(self, title: str | None = None, ax: "Axes | None" = None) -> "Figure":
        """Draw it as a strip of its steps (`figures.plan_strip`)."""
        from ..figures import plan_strip

        return plan_strip(self, title, ax=ax)  # type: ignore[arg-type]

    def _repr_html_(self) -> str:
        """A strip of its steps: groups one above the other in a frame, with how often they run."""
        steps = [self._step(step, len([*equal])) for step, equal in groupby(self.steps)]
        more = " ..." if len(steps) > _MOST else ""
        return f"<div>{''.join(steps[:_MOST])}{more}<br><code>{escape(str(self))}</code></div>"

    def _step(self, step: Any, times: int) -> str:
        cells = [self._branch(branch) for branch in step.branches]
        if len(cells) > _TALLEST:
            half = _TALLEST // 2
            cells = [*cells[:half], "\N{VERTICAL ELLIPSIS}", *cells[-half:]]
        told = escape(f"{step.scale_text}{f' x{times}' if times > 1 else ''}".strip())
        if len(cells) == 1 and not told:
            return cells[0]
        return f'<span style="{_GROUP}">{"<br>".join(cells)}<br><small>{told}</small></span>'

    def _branch(self, branch: Any) -> str:
        """One layer; of a series its text, which has brackets."""
        depth = branch.calls[0].layer if hasattr(branch, "steps") else branch.layer
        light = 30 + 60 * depth / max(1, self.n_layers - 1)
        colours = f"background:hsl(215,40%,{light:.0f}%);color:{'#000' if light > 60 else '#fff'}"
        return f'<span style="{_CELL}{colours}">{escape(str(branch))}</span>'
