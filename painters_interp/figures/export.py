"""Figures to files, byte for byte the same whenever the table is the same."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..errors import OutputError
from ..storage import write_whole
from . import layout, style

FORMATS = ("pdf", "png", "svg")


def save(
    figure: Figure,
    stem: str | Path,
    formats: str | Sequence[str] | None = None,
    venue: str | None = None,
    columns: int | None = None,
    dpi: int | float | None = None,
) -> list[Path]:
    """Write a figure as PDF, PNG and SVG; return the paths and close the figure.

    Args:
        figure: One of this package's, or any other.
        stem: The path without an ending, or with one (`fig.pdf`) that is the format. Other dots
            stay (`smollm2-1.7b`). Missing folders are made.
        formats: Out of pdf, png, svg; all three if not given.
        venue: Draw it anew at the widths and sizes of type of a venue (see `publication`).
        columns: Draw it anew over so many columns of the page.
        dpi: Dots per inch of PNG, and of heatmaps in the others; 300 if not given.

    Returns:
        The files that were written.

    Raises:
        OutputError: For an unknown format, venue or resolution, a folder that cannot be written,
            and a venue for a figure that nothing here drew, or that was changed since.

    Example:
        >>> from painters_interp import figures
        >>> figure = figures.heatmap([[1.0, 0.5], [0.5, 1.0]])
        >>> [path.name for path in figures.save(figure, tmp_path / "map", venue="cvpr")]
        ['map.pdf', 'map.png', 'map.svg']
    """
    stem, kinds = _named(Path(stem), formats)
    if unknown := [kind for kind in kinds if kind not in FORMATS]:
        raise OutputError(f"cannot write a figure as {unknown[0]!r}; use {', '.join(FORMATS)}")
    if dpi is not None and not 1 <= dpi <= 5000:
        raise OutputError(f"{dpi!r} dots per inch cannot be drawn; 300 is what journals ask for")
    drawn = figure if venue is None and columns is None else _redrawn(figure, venue, columns)
    with style.publication(), layout.held(drawn):
        rendered = {kind: _rendered(drawn, kind, dpi) for kind in kinds}
    paths = [write_whole(stem.with_name(f"{stem.name}.{kind}"), rendered[kind]) for kind in kinds]
    plt.close(figure)
    plt.close(drawn)
    return paths


def _named(stem: Path, formats: str | Sequence[str] | None) -> tuple[Path, list[str]]:
    """The path without its ending, and the formats; an ending that is one says which."""
    ending = stem.suffix[1:].lower()
    if ending in FORMATS:
        stem = stem.with_name(stem.name[: -len(ending) - 1])
    if formats is None:
        return stem, [ending] if ending in FORMATS else [*FORMATS]
    return stem, [formats] if isinstance(formats, str) else [*dict.fromkeys(formats)]


def _redrawn(figure: Figure, venue: str | None, columns: int | None) -> Figure:
    within = "draw it inside `with figures.publication(venue)`"
    if not isinstance(figure, style.Drawing) or figure.redraw is None:
        raise OutputError(f"a figure made elsewhere cannot be drawn anew for a venue; {within}")
    if figure.touched:
        raise OutputError(f"the figure was changed since it was drawn; for a venue, {within}")
    with style.publication(venue, columns):
        return figure.redraw()


def _rendered(figure: Figure, kind: str, dpi: int | float | None) -> bytes:
    buffer = BytesIO()
    options: dict[str, Any] = {"format": kind, "metadata": style.Drawing.unstamped[kind]}
    with style.publication():
        figure.savefig(buffer, **options | ({} if dpi is None else {"dpi": dpi}))
    return buffer.getvalue()
