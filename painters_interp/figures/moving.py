"""Figures that answer to a pointer: drawn once, for paper, and read back off their own axes.

So there is one place where a figure is made, and what moves shows what is printed: the same panels,
lines, colours and names. Everything that a label holds is text, never markup.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ..errors import OutputError
from ..storage import write_whole
from .readback import read_back

_INSTALL = "interactive figures need plotly: pip install 'painters_interp[interactive]'"
_FIGURE = "application/vnd.plotly.v1+json"
KEPT = ".live.json"
_MOVES = {"responsive": True, "displayModeBar": False}


@dataclass(frozen=True, eq=False)
class Interactive:
    """A figure that answers to a pointer, with a picture of it for where no script runs.

    In a notebook it shows itself: as plotly does where plotly is shown, as a picture elsewhere.
    `figure` is what plotly takes (data and layout), `picture` a PNG.
    """

    figure: Mapping[str, Any]
    picture: bytes

    @cached_property
    def plotly(self) -> Any:
        """The figure as plotly's own object, to be changed and composed."""
        return _plotly().Figure(self.figure)

    def html(self, name: str = "figure") -> str:
        """An element of a page: the picture, in whose place `script` puts what moves.

        Args:
            name: What the figure is called where it cannot be seen.

        Returns:
            HTML in which nothing runs.
        """
        content = b64encode(self.picture).decode()
        picture = f'<img alt="{escape(name)}" src="data:image/png;base64,{content}">'
        return element(picture, as_json(self.figure))

    def write(self, path: str | Path) -> Path:
        """Write one page that opens without a network.

        Args:
            path: The file's name.

        Returns:
            The file.

        Example:
            >>> figure = painters.figures.interactive([[1.0, 0.5], [0.5, 1.0]])
            >>> figure.write(tmp_path / "map.html").name
            'map.html'
        """
        page = (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>figure</title>'
            f"<style>{STYLE}</style></head><body>{self.html()}{script()}</body></html>\n"
        )
        return write_whole(Path(path), page.encode())

    def _repr_mimebundle_(self, **kinds: Any) -> dict[str, Any]:
        live = {**self.figure, "config": _MOVES}
        return {_FIGURE: live, "image/png": b64encode(self.picture).decode(),
                "text/plain": repr(self)}  # fmt: skip

    def __repr__(self) -> str:
        return f"Interactive({len(self.figure['data'])} traces)"


STYLE = """
.interactive { overflow-x: auto; background: #fff; color-scheme: light; }
.interactive > div { position: relative; }
.interactive img { display: block; width: 100%; height: auto; }
.interactive .live { position: absolute; inset: 0; }
.interactive.alive img { visibility: hidden; }
@media print {
  .interactive > div { min-width: 0 !important; }
  .interactive.alive img { visibility: visible; }
  .interactive .live { display: none; }
}
"""

# On a narrow screen a figure of several panels keeps the width at which its type can be read.
_START = """
for (const place of document.querySelectorAll(".interactive")) {
  const both = place.firstElementChild, live = document.createElement("div");
  const figure = JSON.parse(both.querySelector('script[type="application/json"]').textContent);
  live.className = "live";
  both.append(live);
  both.style.minWidth = figure.layout.meta.width + "px";
  Plotly.newPlot(live, figure.data, figure.layout, CONFIG).then(() => place.classList.add("alive"));
}
"""


def element(picture: str, figure: str) -> str:
    """A picture (HTML) with what moves in its place (JSON, as `as_json` writes it)."""
    data = f'<script type="application/json">{figure}</script>'
    return f'<div class="interactive"><div>{picture}{data}</div></div>'


def script() -> str:
    """The scripts that make every `Interactive.html` of a page live: plotly's own, once, and ours.

    Raises OutputError without plotly.
    """
    _plotly()
    from plotly.offline import get_plotlyjs

    start = _START.replace("CONFIG", json.dumps(_MOVES))
    return f"<script>{get_plotlyjs()}</script><script>{start}</script>"


def keep(figure: Figure, stem: Path) -> Path:
    """Write what a page needs to let a figure move, beside the figure's own files; needs no plotly.

    Raises OutputError for a folder that cannot be written.
    """
    return write_whole(stem.with_name(f"{stem.name}{KEPT}"), as_json(read_back(figure)).encode())


def interactive(result: Any) -> Interactive:
    """A figure that shows value, plan and 95 % interval of what a pointer stands on.

    Args:
        result: A table of `evaluate`, `kl_to_intact` or a grid, a result of `similarity`, a matrix,
            a plan, or any figure of this package (for what no table tells: which variant, which
            title).

    Returns:
        The figure, with a picture of it.

    Raises:
        TableError: for what cannot be drawn.
        OutputError: without plotly.

    Example:
        >>> from painters_interp import experiments, figures
        >>> moving = figures.interactive(pretend(experiments.single_layers(6)))
        >>> moving.plotly.layout.xaxis.title.text
        'layer i'
    """
    _plotly()
    if isinstance(result, Figure):
        return _read(result)
    figure = _drawn(result)
    try:
        return _read(figure)
    finally:
        plt.close(figure)


def _plotly() -> Any:
    try:
        from plotly import graph_objects
    except ModuleNotFoundError:
        raise OutputError(_INSTALL) from None
    return graph_objects


def _drawn(result: Any) -> Figure:
    """The figure that a result stands for."""
    from . import curves, decoding, depth, differences, grids, heatmaps

    if isinstance(result, pd.DataFrame):
        by_experiment: dict[str, Callable[[pd.DataFrame], Figure]] = {
            "single_layers": curves.single_layer_curves,
            "variants": curves.variant_curves,
            "internal_loops": curves.variant_curves,
            "loops": heatmaps.loop_heatmap,
            "decoding": decoding.decoding_curves,
        }
        kinds = list(result["experiment"].unique()) if "experiment" in result else []
        if len(kinds) == 1 and kinds[0] in by_experiment:
            return by_experiment[kinds[0]](result)
        columns = {*result.columns}
        if {"measure", "row", "column", "value"} <= columns:
            return heatmaps.similarity_panel(result, "similarity")
        if {"measure", "place", "axis", "value"} <= columns:
            return depth.depth_curves(result)
        if {"variant", "layer", "other", "kl"} <= columns and result["other"].notna().any():
            return grids.grid_heatmap(result)
        if "delta" in columns or "kl" in columns:
            return differences.forest(result)
        return heatmaps.heatmap(result)
    if callable(getattr(result, "plot", None)):
        figure: Figure = result.plot()
        return figure
    return heatmaps.heatmap(result)


def _read(figure: Figure) -> Interactive:
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=200)
    return Interactive(read_back(figure), picture.getvalue())


def as_json(figure: Mapping[str, Any]) -> str:
    """What `read_back` gives, as it may stand in a page: nothing in it ends its element."""
    return json.dumps(figure, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
