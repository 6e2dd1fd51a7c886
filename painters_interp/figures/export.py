"""Figures to files, byte for byte the same whenever the table is the same."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..errors import OutputError
from ..storage import write_whole
from . import style

FORMATS = ("pdf", "png")
# What each writer would otherwise stamp into the file: the hour and its own version.
_UNSTAMPED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def save(figure: Figure, stem: str | Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `stem`.pdf and `stem`.png (300 dpi), or "svg"; return the paths and close the figure.

    Dots in the stem stay (`smollm2-1.7b`). Missing folders are made. Raises OutputError for an
    unknown format or a folder that cannot be written.
    """
    if unknown := [f for f in formats if f not in _UNSTAMPED]:
        raise OutputError(f"cannot write a figure as {unknown[0]!r}; use pdf, png or svg")
    stem = Path(stem)
    paths = [write_whole(stem.with_name(f"{stem.name}.{f}"), _rendered(figure, f)) for f in formats]
    plt.close(figure)
    return paths


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = BytesIO()
    with style.publication():
        figure.savefig(buffer, format=kind, metadata=_UNSTAMPED[kind])
    return buffer.getvalue()
