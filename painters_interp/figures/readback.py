"""A drawn figure read back off its axes, as plotly takes it: panels, marks, names and what is told.

Everything that a label holds is text, never markup.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from ..borrowed.of_matplotlib import dashes_of
from ..errors import TableError
from . import cells
from .layout import is_bar, panels
from .told import told

_LINES = ("-", "--", ":", "-.")  # what is no line at all is another style
_MARKERS = {"o": "circle", "s": "square", "D": "diamond", "v": "triangle-down", "d": "diamond-tall",
            "^": "triangle-up", "P": "cross", "X": "x", "|": "line-ns-open"}  # fmt: skip
_PIXELS = 1.6  # of a page to a point on paper
_COLOURS = 32  # of a map; between them plotly mixes
_EXPLAINED = re.compile(r" \([ijk, ]+: [^)]*\)")  # what the letters of an axis stand for
_MINUS = "\N{MINUS SIGN}"


def read_back(figure: Figure) -> dict[str, Any]:
    """What stands on a figure's axes, as plotly takes it: data and layout.

    Raises TableError for a figure without axes.
    """
    figure.draw_without_rendering()
    if not (shown := panels(figure)):
        raise TableError("a figure without axes shows nothing")
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "font": {"family": "Arial, Helvetica, Liberation Sans, sans-serif", "size": 11,
                 "color": to_hex("0.15")},
        "paper_bgcolor": "white", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0}, "showlegend": False,
        "hoverlabel": {"align": "left", "namelength": 0},
        "annotations": [], "shapes": [], "meta": {"width": round(96 * figure.get_figwidth())},
    }  # fmt: skip
    for number, ax in enumerate(shown, start=1):
        panel = _Panel(ax, "" if number == 1 else str(number))
        layout |= panel.axes()
        layout["shapes"] += panel.shapes()
        layout["annotations"] += panel.texts()
        data += panel.traces()
    for ax in filter(is_bar, figure.axes):
        data += _bar(ax)
    if title := figure.get_suptitle():
        layout["annotations"] += [_head(title)]
    for legend in figure.legends:
        data += _legend(legend)
        box = legend.get_window_extent().transformed(figure.transFigure.inverted())
        layout |= {"showlegend": True, "legend": {
            "orientation": "h", "x": box.x0, "y": box.y1, "xanchor": "left", "yanchor": "top",
            "bgcolor": "rgba(0,0,0,0)", "itemclick": "toggle", "font": {"size": 11},
        }}  # fmt: skip
    return {"data": data, "layout": layout}


@dataclass(frozen=True)
class _Panel:
    """One axes of matplotlib, read as plotly's axes of a number.

    Places are in units of the axes' scales (the logarithm, where that is what is drawn), so that
    any scale becomes a linear one whose ticks are named as they are on paper.
    """

    ax: Axes
    number: str

    def axes(self) -> dict[str, Any]:
        box = self.ax.get_position()
        (left, bottom), (right, top) = self.ax.transScale.transform(
            list(zip(self.ax.get_xlim(), self.ax.get_ylim(), strict=True))
        )
        return {
            f"xaxis{self.number}": _axis(self.ax.xaxis, [left, right], [box.x0, box.x1])
            | {"anchor": f"y{self.number}"},
            f"yaxis{self.number}": _axis(self.ax.yaxis, [bottom, top], [box.y0, box.y1])
            | {"anchor": f"x{self.number}"},
        }

    @property
    def on(self) -> dict[str, str]:
        return {"xaxis": f"x{self.number}", "yaxis": f"y{self.number}"}

    def places(self, artist: Artist, vertices: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Where points of an artist lie, on the scales of these axes."""
        to_scale = artist.get_transform() - (self.ax.transLimits + self.ax.transAxes)
        return np.asarray(to_scale.transform(np.asarray(vertices, dtype=float)), dtype=float)

    def traces(self) -> Iterator[dict[str, Any]]:
        for found in self.ax.collections:
            if isinstance(found, QuadMesh):
                yield self._cells(found)
            elif isinstance(found, PathCollection):
                yield self._points(found)
            elif isinstance(found, LineCollection):
                yield self._segments(found)
            elif isinstance(found, PolyCollection):
                yield from self._areas(found)
        for line in self.ax.get_lines():
            if line.get_transform() == self.ax.transData and len(np.atleast_1d(line.get_xdata())):
                yield self._line(line)

    def _cells(self, mesh: QuadMesh) -> dict[str, Any]:
        values = _filled(mesh.get_array())
        known, (rows, columns) = told(mesh), values.shape
        down, across = known.names or ([str(i) for i in range(rows)], [*map(str, range(columns))])
        bar = "" if mesh.colorbar is None else cells.axis_along(mesh.colorbar).get_label_text()
        of = bar.split("\n")[0] or "value"
        ends = [_EXPLAINED.sub("", _plain(label)) or alone for label, alone in
                ((self.ax.get_ylabel(), "row"), (self.ax.get_xlabel(), "column"))]  # fmt: skip
        said = [
            [
                _text(f"{ends[0]} {down[i]}; {ends[1]} {across[j]}",
                      *known.lines((i, j), values[i, j], of)) if np.isfinite(values[i, j]) else ""
                for j in range(columns)
            ]
            for i in range(rows)
        ]  # fmt: skip
        coloured = _filled(mesh.norm(np.ma.masked_invalid(values)))
        return {
            "type": "heatmap", "z": _numbers(coloured), "zmin": 0, "zmax": 1, "showscale": False,
            "x": [j + 0.5 for j in range(columns)], "y": [i + 0.5 for i in range(rows)],
            "text": said, "hoverinfo": "text", "colorscale": _scale(mesh.cmap), **self.on,
        }  # fmt: skip

    def _line(self, line: Line2D) -> dict[str, Any]:
        x, y = (np.atleast_1d(np.asarray(part, dtype=float)) for part in line.get_data())
        places, name = self.places(line, np.column_stack([x, y])), str(line.get_label())
        named, known = not name.startswith("_"), told(line)
        across, of = _plain(self.ax.get_xlabel()), _plain(self.ax.get_ylabel()) or "value"
        at = x if (rows := known.plan) is None or len(rows) != len(x) else np.round(x, 6)
        said = [
            _text(*([name] if named else []), f"{across} {at[i]:.4g}".strip(),
                  *known.lines(i, y[i], of))
            for i in range(len(x))
        ]  # fmt: skip
        return {
            "type": "scatter", "x": _numbers(places[:, 0]), "y": _numbers(places[:, 1]),
            "text": said, "hoverinfo": "text", "showlegend": False, **self.on, **_look(line),
            **({"legendgroup": _text(name)} if named else {}),
        }  # fmt: skip

    def _points(self, found: PathCollection) -> dict[str, Any]:
        data = _filled(found.get_offsets())
        to_scale = found.get_offset_transform() - (self.ax.transLimits + self.ax.transAxes)
        places, known = to_scale.transform(data), told(found)
        across, of = _plain(self.ax.get_xlabel()), _plain(self.ax.get_ylabel()) or "value"
        said = [
            _text(f"{across}: {x:.4g}", *known.lines(i, y, of)) for i, (x, y) in enumerate(data)
        ]
        return {
            "type": "scatter", "mode": "markers", "text": said, "hoverinfo": "text",
            "x": _numbers(places[:, 0]), "y": _numbers(places[:, 1]), "showlegend": False,
            "marker": {"color": _paint(found.get_facecolor()), "size": 6}, **self.on,
        }  # fmt: skip

    def _segments(self, found: LineCollection) -> dict[str, Any]:
        known = (segment for segment in found.get_segments() if len(segment))
        parts = [self.places(found, segment) for segment in known]
        apart = [np.vstack([part, [np.nan, np.nan]]) for part in parts] or [np.zeros((0, 2))]
        points = np.vstack(apart)
        return {
            "type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False,
            "x": _numbers(points[:, 0]), "y": _numbers(points[:, 1]), **self.on,
            "line": {"color": _paint(found.get_color()), "width": 1.2},
        }  # fmt: skip

    def _areas(self, found: PolyCollection) -> Iterator[dict[str, Any]]:
        for path in found.get_paths():
            points = self.places(found, path.vertices)
            yield {
                "type": "scatter", "mode": "lines", "fill": "toself", "hoverinfo": "skip",
                "x": _numbers(points[:, 0]), "y": _numbers(points[:, 1]), "showlegend": False,
                "line": {"width": 0}, "fillcolor": _paint(found.get_facecolor()), **self.on,
            }  # fmt: skip

    def shapes(self) -> Iterator[dict[str, Any]]:
        """Grounds and bars, lines from edge to edge, and the grey behind missing cells."""
        refs = {"xref": f"x{self.number}", "yref": f"y{self.number}"}
        if any(isinstance(found, QuadMesh) for found in self.ax.collections):
            whole = {"x0": 0, "x1": 1, "y0": 0, "y1": 1, "line": {"width": 0}, "layer": "below"}
            on = {name: f"{axis} domain" for name, axis in refs.items()}
            yield {"type": "rect", **whole, **on, "fillcolor": to_hex(cells.MISSING)}
        for patch in self.ax.patches:
            points = self.places(patch, patch.get_path().vertices)
            (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
            edge = {"color": _paint(patch.get_edgecolor()), "width": patch.get_linewidth()}
            yield {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "layer": "below",
                   "fillcolor": _paint(patch.get_facecolor()), "line": edge, **refs}  # fmt: skip
        for line in self.ax.get_lines():
            if line.get_transform() != self.ax.transData:
                (x0, y0), (x1, y1) = self.places(line, np.column_stack(line.get_data()))[[0, -1]]
                yield {"type": "line", "x0": x0, "x1": x1, "y0": y0, "y1": y1, **refs,
                       "line": _look(line)["line"], "layer": "below"}  # fmt: skip

    def texts(self) -> Iterator[dict[str, Any]]:
        """What is written in the panel, and its title over it."""
        for text in self.ax.texts:
            if text.get_text():
                box = text.get_window_extent().transformed(self.ax.transAxes.inverted())
                yield {"text": _text(text.get_text()), "showarrow": False,
                       "font": {"size": 11, "color": to_hex(text.get_color())},
                       "xref": f"x{self.number} domain", "yref": f"y{self.number} domain",
                       "x": (box.x0 + box.x1) / 2, "y": (box.y0 + box.y1) / 2}  # fmt: skip
        for where in ("center", "left"):
            if words := self.ax.get_title(where):
                place = {"center": 0.5, "left": 0.0}[where]
                bold = f"<b>{_text(words)}</b>" if where == "left" else _text(words)
                yield {"text": bold, "showarrow": False, "x": place, "y": 1, "yanchor": "bottom",
                       "xref": f"x{self.number} domain",
                       "yref": f"y{self.number} domain"}  # fmt: skip


def _axis(axis: Axis, ends: list[float], domain: list[float]) -> dict[str, Any]:
    """One axis: named ticks as on paper, or, where they are plain numbers, plotly's own."""
    places = np.asarray(axis.get_majorticklocs(), dtype=float)
    labels = [text.get_text() for text in axis.get_majorticklabels()]
    within = (min(axis.get_view_interval()) - 1e-9, max(axis.get_view_interval()) + 1e-9)
    shown = [(place, label) for place, label in zip(places, labels, strict=False)
             if within[0] <= place <= within[1]]  # fmt: skip
    placed = isinstance(axis.get_major_locator(), FixedLocator)
    plain = (
        not placed
        and axis.get_scale() == "linear"
        and all(
            label == "" or label.replace(_MINUS, "-") == f"{place:g}" or _is(label, place)
            for place, label in shown
        )
    )
    named = [f"{place:g}" if "$" in label else label for place, label in shown]
    ticks = {} if plain and named else {
        "tickmode": "array", "ticktext": [_text(label) for label in named],
        "tickvals": [float(v) for v in axis.get_transform().transform([p for p, _ in shown])],
    }  # fmt: skip
    return {
        "domain": [max(0.0, domain[0]), min(1.0, domain[1])], "range": [float(e) for e in ends],
        "title": {"text": _text(axis.get_label_text()), "standoff": 4}, "zeroline": False,
        "showgrid": False, "ticks": "outside", "ticklen": 4, "automargin": False,
        "visible": axis.axes.axison,
        "showline": axis.axes.spines["left" if isinstance(axis, YAxis) else "bottom"].get_visible(),
        "linecolor": to_hex("0.15"), **ticks,
    }  # fmt: skip


def _is(label: str, place: float) -> bool:
    """Whether a tick says its own number."""
    try:
        return abs(float(label.replace(_MINUS, "-")) - place) <= 1e-6 * max(1.0, abs(place))
    except ValueError:
        return False


def _look(line: Line2D) -> dict[str, Any]:
    """Colour, dashes and markers of a line."""
    dashes, marker = line.get_linestyle(), str(line.get_marker())
    drawn = dashes in _LINES
    marked = marker in _MARKERS
    modes = "+".join([*(["lines"] if drawn else []), *(["markers"] if marked else [])])
    colour, width = to_hex(line.get_color()), _PIXELS * line.get_linewidth()
    lengths = [f"{width * length:.3g}px" for length in dashes_of(line)]
    edge = to_hex(line.get_markeredgecolor()) if marked else colour
    return {
        "mode": modes or "none",
        "line": {"color": colour, "width": width, "dash": ",".join(lengths) or "solid"},
        "marker": {"color": to_hex(line.get_markerfacecolor()) if marked else colour,
                   "symbol": _MARKERS.get(marker, "circle"),
                   "size": max(3.0, 2 * line.get_markersize()),
                   "line": {"color": edge, "width": 0.8}},
    }  # fmt: skip


def _legend(legend: Any) -> Iterator[dict[str, Any]]:
    """Entries without a point: a click on one hides all lines of that name."""
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        name = _text(text.get_text())
        entry = {"type": "scatter", "x": [None], "y": [None], "name": name, "showlegend": True,
                 "legendgroup": _text(str(handle.get_label())) or name}  # fmt: skip
        if isinstance(handle, Line2D):
            yield entry | _look(handle)
        else:
            square = {"symbol": "square", "size": 10, "color": _paint(handle.get_facecolor())}
            yield entry | {"mode": "markers", "marker": square}


def _bar(ax: Axes) -> Iterator[dict[str, Any]]:
    """A colour bar, where it stands on paper; its ticks are its own."""
    meshes = [
        (mesh, mesh.colorbar)
        for other in ax.figure.axes
        for mesh in other.collections
        if isinstance(mesh, QuadMesh) and mesh.colorbar is not None and mesh.colorbar.ax is ax
    ]
    for mesh, bar in meshes:
        box, norm, axis = ax.get_position(), mesh.norm, cells.axis_along(bar)
        upright = bar.orientation == "vertical"
        where = {"orientation": "v", "xanchor": "left", "y": box.y0, "yanchor": "bottom",
                 "len": box.height} if upright else {
                 "orientation": "h", "xanchor": "left", "y": box.y1, "yanchor": "top",
                 "len": box.width}  # fmt: skip
        low, high = (float(np.asarray(end or 0.0)) for end in (norm.vmin, norm.vmax))
        known = [(place, text.get_text()) for place, text in
                 zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
                 if low - 1e-9 <= place <= high + 1e-9]  # fmt: skip
        named = [_text(f"{place:g}" if "$" in text else text) for place, text in known]
        yield {
            "type": "scatter", "x": [None], "y": [None], "mode": "markers", "showlegend": False,
            "hoverinfo": "skip", "marker": {
                "color": [0], "cmin": 0, "cmax": 1, "colorscale": _scale(mesh.cmap),
                "showscale": True, "colorbar": {
                    "x": box.x0, **where, "xpad": 0, "ypad": 0, "lenmode": "fraction",
                    "thickness": 12, "outlinewidth": 0, "tickmode": "array", "ticktext": named,
                    "tickvals": _numbers(_filled(norm(np.array([place for place, _ in known])))),
                    "title": {"text": _text(axis.get_label_text()),
                              "side": "right" if upright else "bottom"},
                },
            },
        }  # fmt: skip


def _head(title: str) -> dict[str, Any]:
    return {"text": _text(title), "showarrow": False, "xref": "paper", "yref": "paper",
            "x": 0.5, "y": 1.0, "yanchor": "top", "font": {"size": 14}}  # fmt: skip


def _scale(colours: Any) -> list[list[Any]]:
    places = np.linspace(0, 1, _COLOURS)
    return [[float(place), to_hex(colours(place))] for place in places]


def _paint(colour: Any) -> str:
    """A colour, of the first of several, as plotly writes it."""
    several = np.atleast_2d(np.asarray(colour)) if not isinstance(colour, str) else [colour]
    if not len(several):
        return "rgba(0,0,0,0)"
    red, green, blue, alpha = to_rgba(several[0])
    return f"rgba({red * 255:.0f},{green * 255:.0f},{blue * 255:.0f},{alpha:.3g})"


def _numbers(values: Any) -> list[Any]:
    """Numbers as JSON has them: none in the place of what is not finite."""
    rows = np.asarray(values, dtype=float)
    if rows.ndim == 2:
        return [_numbers(row) for row in rows]
    return [float(value) if np.isfinite(value) else None for value in rows]


def _filled(values: Any) -> Any:
    """An array of numbers in which what is masked is missing."""
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)


def _plain(label: str) -> str:
    return " ".join(label.split())


def _text(*lines: str) -> str:
    """Lines in which nothing is markup."""
    return "<br>".join(escape(line, quote=False) for text in lines for line in text.split("\n"))
