"""Private names of matplotlib: the dashes of a line, which it takes and does not tell."""

from collections.abc import Sequence

from matplotlib.lines import Line2D

SEEN = "3.11.2"
NAMES = {
    "matplotlib.lines.Line2D": {
        "_unscaled_dash_pattern": "lines that only dashes tell apart do so in a browser, too",
    },
}


def dashes_of(line: Line2D) -> Sequence[float]:
    """Lengths of dashes and gaps in turn, as multiples of the line's width; none of a solid one."""
    _, pattern = line._unscaled_dash_pattern  # type: ignore[attr-defined]
    return tuple(pattern or ())
