"""How a figure is made: at a venue's sizes, in one style, on new axes or a user's own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ClassVar, ParamSpec, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..errors import OutputError, TableError
from ..notices import warn
from ..tables import typed
from . import layout, naming
from .fonts import fonts, make_legible
from .venues import Venue, venue_of
from .wishes import WISHES, Wishes

P = ParamSpec("P")
_DESIGN = venue_of("nature")  # for which the heights of figures are given
SINGLE, DOUBLE = _DESIGN.one, _DESIGN.two
INK = "0.15"
_LEAST = 12  # lines that a row of several takes
_NARROW = 24.5  # sizes of type
_PAD = 0.1  # inches that a layout leaves beside axes, left and right together
_OWN = ("ax", "axes")  # arguments that name axes of a user's own

_SETTINGS: dict[str, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "legend.handletextpad": 0.6,
    "legend.columnspacing": 1.2,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "savefig.dpi": 300,
    "savefig.bbox": None,  # "tight" would change the width a journal asked for
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType: text stays text, as publishers ask
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "painters_interp",
}


@dataclass(frozen=True)
class Format:
    """Where figures are to stand: a venue, and how many of its columns each takes.

    Without a number of columns a figure takes as many as it is made for.
    """

    venue: Venue
    columns: int | None = None

    def width(self, columns: int) -> float:
        """Width in mm of a figure that is made for so many columns."""
        return self.venue.two if (self.columns or columns) == 2 else self.venue.one

    def height(self, height: float, columns: int) -> float:
        """Height in mm of a figure that is so high at 89 or 183 mm, in type of 7 points.

        Half of a figure grows with its width, half with its type.
        """
        wider = self.width(columns) / _AS_DESIGNED.width(columns)
        larger = (self.venue.label + self.venue.small) / (_DESIGN.label + _DESIGN.small)
        return min(height * (wider + larger) / 2, self.venue.tallest)


_AS_DESIGNED = Format(_DESIGN)
_format: ContextVar[Format] = ContextVar("format", default=_AS_DESIGNED)


@contextmanager
def publication(venue: str | None = None, columns: int | None = None) -> Iterator[None]:
    """A `with` block (or decorator) in which matplotlib draws as this package's figures are drawn.

    Starts from matplotlib's defaults, so that a user's own style does not change a figure. Type is
    Arial, or else Helvetica, Liberation Sans or DejaVu Sans; it stays text in PDF and in SVG.

    Args:
        venue: Whose widths and sizes of type: neurips, icml, iclr, aaai, acl, cvpr, jmlr, nature or
            slide. Nature's, or those of the block around this one, if not given.
        columns: How many columns of the page each figure takes, 1 or 2; where the page has one,
            half of it or all. As many as the figure is made for if not given.

    Yields:
        Nothing.

    Raises:
        OutputError: For an unknown venue, or another number of columns.

    Example:
        >>> from painters_interp import figures
        >>> with figures.publication("icml", columns=1):
        ...     figure = figures.heatmap([[1.0, 0.5], [0.5, 1.0]])
        >>> f"{figure.get_figwidth():.2f} inches"
        '3.25 inches'
    """
    if columns not in (None, 1, 2):
        raise OutputError(f"a figure takes 1 column or 2, not {columns!r}")
    around = _format.get()
    chosen = around.venue if venue is None else venue_of(venue)
    token = _format.set(Format(chosen, around.columns if columns is None else columns))
    family = {"font.family": [*fonts()]}
    try:
        with matplotlib.style.context([_SETTINGS, chosen.type, family], after_reset=True):
            yield
    finally:
        _format.reset(token)


def width(columns: int) -> float:
    """Width in mm, at the venue, of a figure that is made for so many columns."""
    return _format.get().width(columns)


def in_a_row(columns: int, roomy: bool = False) -> int:
    """How many panels stand side by side, of so many; two where the figure takes one column.

    One, of panels that need room (square cells, labels of several lines), where a column is narrow
    for its type.
    """
    if _format.get().columns != 1:
        return columns
    return 1 if roomy and _is_narrow(_format.get().venue.one / 25.4) else min(columns, 2)


class Drawing(Figure):
    """A figure of this package: saved as `save` does, shown once, and drawn anew for a venue."""

    redraw: Callable[[], "Drawing"] | None = None
    _drawn: tuple[Any, ...] = ()
    # What each writer would otherwise stamp into the file: the hour and its own version.
    unstamped: ClassVar[dict[str, dict[str, Any]]] = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
    }

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, in the style that the figure was drawn in."""
        kind = options.get("format") or str(fname).rpartition(".")[2].lower()
        if kind in self.unstamped:
            options["metadata"] = self.unstamped[kind] | (options.get("metadata") or {})
        with publication(), layout.held(self):
            super().savefig(fname, **options)

    def _repr_mimebundle_(self, **kinds: Any) -> dict[str, Any]:
        """Nothing: a notebook has a printer of figures, which shows it now, and not again later."""
        if "inline" in mpl.get_backend():
            plt.close(self)
        return {}

    @property
    def touched(self) -> bool:
        """Whether something was added, moved or renamed since it was drawn."""
        return self._state() != self._drawn

    def made_by(self, redraw: Callable[[], "Drawing"]) -> None:
        """Remember what draws it."""
        self.redraw, self._drawn = redraw, self._state()

    def _state(self) -> tuple[Any, ...]:
        artists = self.findobj()
        texts = [(a.get_text(), a.get_fontsize()) for a in artists if isinstance(a, mpl.text.Text)]
        views = [(ax.get_xlim(), ax.get_ylim()) for ax in self.axes]
        lines = [(a.get_color(), a.get_linewidth()) for a in artists if isinstance(a, Line2D)]
        return tuple(self.get_size_inches()), texts, views, lines, [*map(type, artists)]


def drawing(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorates a function that draws: in this package's style, from tables that may have been
    through programs that know no counts.

    Reads four arguments for every function that takes them. Into `ax` or `axes`, of a user's own
    figure, it draws in the style that holds where it is called; either word is understood for one
    panel and for several. `names` are what models, tasks, variants or measures are called in the
    figure, `palette` the colours of lines.
    """

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> Figure:
        given = {name: _typed(option) for name, option in options.items()}
        tables = [_typed(argument) for argument in args]
        wishes = _wishes_of(given)
        given = {name: option for name, option in given.items() if name not in _OWN}
        token, before = WISHES.set(wishes), plt.get_fignums()
        try:
            with publication() if wishes.axes is None else nullcontext():
                figure = draw(*tables, **given)  # type: ignore[arg-type]
        except BaseException:
            for number in {*plt.get_fignums()} - {*before}:  # half drawn, nobody wants to see it
                plt.close(number)
            raise
        finally:
            WISHES.reset(token)
        if wishes.axes is None:
            redraw = partial(cast(Callable[..., Drawing], drawn), *args, **options)
            cast(Drawing, figure).made_by(redraw)
        return figure

    return drawn


def _wishes_of(options: Mapping[str, Any]) -> Wishes:
    """Those among a function's options, or else of the function that called it."""
    around = WISHES.get()
    axes = [options[name] for name in _OWN if options.get(name) is not None]
    if len(axes) > 1:
        raise TableError("ax= and axes= say the same; give one of them")
    given = tuple(np.asarray(axes[0], dtype=object).ravel()) if axes else around.axes
    if given is not None and not all(isinstance(ax, Axes) for ax in given):
        raise TableError("ax and axes are axes of matplotlib, as `plt.subplots` makes them")
    names, palette = options.get("names"), options.get("palette")
    if not isinstance(names, Mapping | None):
        raise TableError(f"names={names!r}: a dict is needed, from names in the table to yours")
    if not isinstance(palette, Mapping | Sequence | str | None):
        raise TableError(f"palette={palette!r}: give colours, or a palette's name")
    return Wishes(given, around.names if names is None else names,
                  around.palette if palette is None else palette)  # fmt: skip


def _typed(value: object) -> object:
    return typed(value) if isinstance(value, pd.DataFrame) else value


def canvas(
    page: int, height: float, rows: int = 1, columns: int = 1, panels: int | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure with rows x columns axes, in reading order; or the user's own axes, one a panel.

    It is made for so many columns of a page; so high, in mm, at the width of Nature's. Raises
    TableError where a user gave another number of axes than there are panels.
    """
    needed = rows * columns if panels is None else panels
    if (own := WISHES.get().axes) is not None:
        if len(own) != needed:
            takes = "one panel: ax= takes one axes" if needed == 1 else (
                f"{needed} panels: axes= takes {needed} axes, one for each"
            )  # fmt: skip
            raise TableError(
                f"this figure has {takes}; {len(own)} {'was' if len(own) == 1 else 'were'} given"
            )
        figure: Any = own[0].figure
        return figure.figure, [*own]
    form = _format.get()
    least = rows * _LEAST * naming.points("axes.labelsize") / 72  # though it were no slide's
    high = form.height(height, page) / 25.4
    size = (form.width(page) / 25.4, high if rows == 1 else max(high, least))
    with mpl.rc_context({"figure.max_open_warning": 0}):  # many in a run; closed when saved
        made, axes = plt.subplots(
            rows, columns, figsize=size, layout="constrained", squeeze=False, FigureClass=Drawing
        )
    for ax in axes.flat[needed:]:
        ax.set_visible(False)
    return made, [*axes.flat[:needed]]


def column(ax: Axes) -> int:
    """In which column of panels axes stand, from 0."""
    spec = ax.get_subplotspec()
    return 0 if spec is None else spec.colspan.start


def narrow(ax: Axes) -> bool:
    """Whether axes of ours are only a few lines wide, so that nothing should stand beside them."""
    spec = ax.get_subplotspec()
    columns = 1 if spec is None else spec.get_gridspec().ncols
    return not borrowed() and _is_narrow(cast(Figure, ax.figure).get_figwidth() / columns)


def _is_narrow(inches: float) -> bool:
    return 72 * inches / naming.points("axes.labelsize") < _NARROW


def lay_out(ax: Axes) -> None:
    """Let axes of ours have their place, so that what is drawn next can be measured in them."""
    if not borrowed():
        layout.settle(cast(Figure, ax.figure))


def room(ax: Axes) -> float:
    """How wide axes can be, in mm: a user's own as they are, ours as the figure is."""
    if borrowed():
        return 25.4 * ax.get_window_extent().width / ax.figure.dpi
    return 25.4 * (cast(Figure, ax.figure).get_figwidth() - _PAD)


def panel_letters(figure: Figure, first: str = "a") -> Figure:
    """Letter the panels of a figure in bold: a, b, c, ... in reading order; the same figure.

    Args:
        figure: Any figure; colour bars and panels that are not seen get no letter.
        first: The letter of the first panel, "A" for capitals.

    Returns:
        The figure that was given.

    Example:
        >>> from painters_interp import figures
        >>> figure = figures.similarity_panel({"one": [[1.0]], "other": [[0.5]]})
        >>> [ax.get_title("left") for ax in figures.panel_letters(figure).axes[:2]]
        ['a', 'b']
    """
    for place, ax in enumerate(layout.panels(figure)):
        ax.set_title(chr(ord(first) + place), loc="left", fontweight="bold")
    return figure


def borrowed() -> bool:
    """Whether the axes that are drawn into are a user's own."""
    return WISHES.get().axes is not None


def share_heights(axes: Sequence[Axes]) -> None:
    """One y axis for all panels, so that they can be compared."""
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(low), max(high))


def head(figure: Figure, axes: Sequence[Axes], title: str | None, page: int) -> None:
    """A title over all panels; over the first of a user's own, and over that of a single one."""
    if title and (borrowed() or len(axes) == 1):
        room = 25.4 * axes[0].get_window_extent().width / figure.dpi
        lines = [naming.wrapped(title, room if borrowed() else width(page)), axes[0].get_title()]
        axes[0].set_title("\n".join(filter(None, lines)))
    elif title:
        figure.suptitle(naming.wrapped(title, width(page)))


def finished(figure: Figure, axes: Sequence[Axes]) -> Figure:
    """Lay out the figure while the style holds: ticks made later would have another size.

    A panel without a finite value says so, and a warning how many points of lines have none.
    Raises TableError where no panel has one, and for a label that no font here can show.
    """
    holding = {ax: values for ax in axes if (values := _values(ax)) is not None}
    empty = [ax for ax, values in holding.items() if not np.isfinite(values).any()]
    if empty and len(empty) == len(holding):
        raise TableError("the table holds no finite value to draw")
    gaps = [~np.isfinite(_heights(line)) for ax in axes for line in _lines(ax)]
    say_left_out(sum(int(gap.sum()) for gap in gaps), "a value", "point")
    for ax in empty:
        ax.text(0.5, 0.5, "no value", transform=ax.transAxes, ha="center", va="center")
        if not ax.collections:  # of an axis without a value, ticks are made up
            ax.set(xticks=[], yticks=[])
    make_legible(figure)
    if borrowed():
        for ax in axes:
            layout.separate_ticks(ax)
    else:
        layout.fit(figure)
    return figure


def _values(ax: Axes) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """What lines or cells show, reference lines aside; None where there are neither."""
    meshes = [mesh.get_array() for mesh in ax.collections if isinstance(mesh, QuadMesh)]
    cells = [np.ma.filled(values, np.nan).ravel() for values in meshes if values is not None]
    lines = [_heights(line) for line in _lines(ax)]
    shown = cells or lines  # over cells, lines are marks
    return np.concatenate(shown) if shown else None


def _heights(line: Line2D) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.asarray(line.get_ydata(), dtype=float)


def say_left_out(many: int, lacking: str, kind: str = "row") -> None:
    """Warn that so many rows of a table, or points of lines, lack what would be drawn."""
    if many:
        warn(f"left out: {many} {kind}{'' if many == 1 else 's'} without {lacking}")


def _lines(ax: Axes) -> list[Line2D]:
    return [line for line in ax.get_lines() if line.get_transform() == ax.transData]


def whole_numbers(ax: Axes) -> None:
    """Ticks of an x axis that counts layers, states or steps; also of a single one."""
    places = {float(x) for line in _lines(ax) for x in np.asarray(line.get_xdata(), dtype=float)}
    if len(places) == 1:
        [place] = places
        ax.set_xlim(place - 1, place + 1)
        ax.set_xticks([place], [f"{place:.3g}"])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))


def tick_values(values: Iterable[int], most: int = 8) -> list[int]:
    """Round numbers among `values` to put ticks at: multiples of 1, 2, 5, 10, ..., at most so many.

    If the values share no such grid (odd numbers, say), every so-manyth of them.
    """
    known = sorted(values)
    for step in (1, 2, 5, 10, 20, 50, 100):
        chosen = [v for v in known if v % step == 0]
        if len(chosen) <= most:
            break
    spaced = np.unique(np.diff(chosen))
    return chosen if len(spaced) == 1 else known[:: -(-len(known) // most)]
