"""How a figure looks: a venue's sizes, and one look per variant in all figures."""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, partial, wraps
from itertools import cycle
from typing import Any, ClassVar, ParamSpec, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import MaxNLocator

from ..errors import OutputError, TableError
from ..tables import typed
from .venues import Venue, venue_of

P = ParamSpec("P")
# What drawing functions take beside their tables: axes of the user's own, one for each panel;
# what things are called; colours of lines, by name, in order, or out of seaborn's of that name.
Panels = Sequence[Axes] | np.ndarray | None
Names = Mapping[str, str] | None
Palette = Mapping[str, str] | Sequence[str] | str | None
# What journals ask for, in their order; the last ships with matplotlib.
_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
_DESIGN = venue_of("nature")  # for which the heights of figures are given
SINGLE, DOUBLE = _DESIGN.one, _DESIGN.two
INK = "0.15"

Dashes = str | tuple[int, tuple[float | int, ...]]
REFERENCE = "0.4"  # the grey of the lines of the intact model and of chance
INTACT: Dashes = (0, (5, 2))
CHANCE: Dashes = (0, (1, 1.5))

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
class Look:
    """Colour, marker and dashes of one line, and its name in a legend."""

    colour: str
    marker: str
    dashes: Dashes
    label: str

    def line(self, points: int) -> dict[str, Any]:
        """Arguments for `Axes.plot` of a line with so many points; marks of many are small."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "markersize": mpl.rcParams["lines.markersize"]
            * min(1.0, max(0.6, 12 / max(points, 1))),
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }


# Hues after Okabe and Ito, told apart with any colour vision; lightness moved apart so that the
# six variants of one figure also form a ladder in greyscale (L* 10, 34, 47, 58, 70, 78). Listed
# in the paper's order from harmless to harmful, which is the order in legends.
_DASHED: Dashes = (0, (4, 1.5))
_DOTTED: Dashes = (0, (1, 1.2))
_DASHDOT: Dashes = (0, (5, 1.2, 1, 1.2))
_LONG: Dashes = (0, (8, 2))
_DENSE: Dashes = (0, (2.5, 1))
VARIANTS = {
    "looped": Look("#0B4F9C", "o", "solid", "looped parallel"),
    "random": Look("#F0B820", "^", _DENSE, "random order"),
    "reverse": Look("#009E73", "v", _DASHDOT, "reversed order"),
    "parallel": Look("#56B4E9", "D", _LONG, "parallel"),
    "skip": Look("#C8461E", "s", _DASHED, "skip"),
    "repeat": Look("#1A1A1A", "X", _DOTTED, "repeat middle layer"),
    "drop": Look("#C8461E", "s", "solid", "drop layer i"),
    "swap": Look("#56B4E9", "o", _DENSE, "swap layers i, i+1"),
    "drop_window": Look("#F0B820", "^", _DOTTED, "drop layers i to j"),
    "double": Look("#0B4F9C", "P", "solid", "each layer twice"),
    "triple": Look("#CC79A7", "d", _DASHED, "each layer three times"),
}
# For tasks, models and variants of one's own. Lengths without a common divisor: 210 looks.
_COLOURS = ("#0B4F9C", "#C8461E", "#56B4E9", "#009E73", "#F0B820", "#CC79A7", "#7A4B00")
_MARKERS = ("o", "s", "D", "v", "^", "P")
_LINES: tuple[Dashes, ...] = ("solid", _DASHED, _LONG, _DASHDOT, _DENSE)
TASKS = {
    "probe_arithmetic": "arithmetic (probe)",
    "probe_cloze": "cloze (probe)",
    "probe_facts": "facts (probe)",
    "probe_grammar": "grammar (probe)",
    "probe_order": "order (probe)",
    "arc_challenge": "ARC (challenge)",
    "arc_easy": "ARC (easy)",
    "gsm8k": "GSM8K",
    "hellaswag": "HellaSwag",
    "lambada_openai": "LAMBADA",
    "lambada_standard": "LAMBADA (standard)",
    "piqa": "PIQA",
    "winogrande": "WinoGrande",
}
METRICS = {
    "acc": "accuracy",
    "acc_norm": "accuracy (length-normalised)",
    "exact_match": "exact match",
    "f1": "F1",
    "mcc": "Matthews correlation",
}
MEASURES = {
    "cosine": "cosine, per token",
    "cosine_centered": "cosine, centred",
    "cosine_flat": "cosine, flattened (as published)",
    "angular": "angular distance",
    "cka": "CKA, debiased",
    "rsa": "RSA",
    "knn": "mutual nearest neighbours",
    "procrustes": "Procrustes",
    "block_influence": "block influence",
    "residual_norm": "norm of the stream",
    "update_ratio": "update / stream norm",
    "update_cosine": "cosine of update and stream",
    "variance": "variance",
    "effective_rank": "effective rank",
    "linearity": "linearity",
    "depth": "distance from mid-depth",
}
_WITHOUT = "_without_massive"


def measure_label(measure: str) -> str:
    """A similarity measure in words."""
    if measure in _wishes.get().names:
        return _wishes.get().names[measure]
    name = measure.removesuffix(_WITHOUT)
    label = MEASURES.get(name, plain(name))
    return label if name == measure else f"{label}, massive left out"


def heading(title: str) -> str:
    """A title; in words where it is the name of a measure, or one that the user named."""
    known = title.removesuffix(_WITHOUT) in MEASURES or title in _wishes.get().names
    return measure_label(title) if known else title


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name: a variant has the same one in every figure, others take spare ones.

    Called as the user's `names` say, in the colours of the user's `palette`.
    """
    wishes, known = _wishes.get(), [*dict.fromkeys(names)]
    spare = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES), strict=False)
    found = {
        name: VARIANTS[name] if name in VARIANTS else Look(*next(spare), task_label(name))
        for name in known
    }
    colours = _colours(wishes.palette, known)
    for name, look in found.items():
        label = wishes.names.get(name, look.label)
        found[name] = replace(look, label=label, colour=colours.get(name, look.colour))
    return found


def _colours(
    palette: Mapping[str, str] | Sequence[str] | str | None, names: Sequence[str]
) -> dict[str, str]:
    """The colour of each name: as it says, in its order, or of seaborn's palette of that name."""
    if palette is None:
        return {}
    try:
        if isinstance(palette, Mapping):
            return {name: to_hex(colour) for name, colour in palette.items()}
        return dict(zip(names, map(to_hex, sns.color_palette(palette, len(names))), strict=False))
    except ValueError as error:
        raise TableError(
            f"palette={palette!r}: {error}; give colours, or a palette's name"
        ) from None


def task_label(name: str) -> str:
    """The usual spelling of the name of a task or a model, without its owner, or the user's own."""
    if name in (own := _wishes.get().names):
        return own[name]
    return TASKS.get(name, plain(shortened(name.rstrip("/").rpartition("/")[2] or name)))


def plain(text: str) -> str:
    """A name that is read as it stands: with dollars no formula, seen also if it begins with _."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def shortened(text: str, most: int = 48) -> str:
    """A text of more characters without its middle, so that beginning and end can be told."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def wrapped(text: str, width: float, lines: int = 4) -> str:
    """A text in lines that fit so many millimetres; without the middle of a longer one."""
    size = font_manager.FontProperties(size=mpl.rcParams["axes.titlesize"]).get_size_in_points()
    fit = max(8, int(width / (0.257 * size)))
    if text.count("$") < 2:
        return textwrap.fill(shortened(text, lines * fit).replace("$", r"\$"), fit)
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return textwrap.fill(shortened(text, lines * fit).replace("$", r"\$"), fit)
    whole = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", _BLANK), text)
    return textwrap.fill(whole, fit, break_long_words=False).replace(_BLANK, " ")


_BLANK = "\x00"  # in place of a blank in a formula, which is no place to break a line


def metric_label(metric: str) -> str:
    """A metric in words; the name of lm-eval's filter, after a comma, is left out."""
    name = metric.split(",")[0]
    return METRICS.get(name, plain(shortened(name, 30)))


def make_legible(figure: Figure) -> None:
    """Give labels in other scripts a font that has them. TableError where none here does."""
    covered = {code for name in _fonts() for code in _glyphs(_file_of(name))}
    for text in figure.findobj(mpl.text.Text):
        words = text.get_text()
        if lacking := {ord(sign) for sign in words if not sign.isspace()} - covered:
            other = _font_with(frozenset(lacking))
            if other is None:
                raise TableError(
                    f"no font here can show the label {shortened(words, 40)!r}; install one, such "
                    "as Noto Sans, or give another label (names=)"
                )
            text.set_fontfamily([*_fonts(), other])


def _file_of(name: str) -> str:
    return next(font.fname for font in font_manager.fontManager.ttflist if font.name == name)


@cache
def _glyphs(path: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(path).get_charmap())


@cache
def _font_with(codes: frozenset[int]) -> str | None:
    """The first font here that has all these characters."""
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name):
        if codes <= _glyphs(font.fname):
            return font.name
    return None


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
        larger = self.venue.small / _DESIGN.small
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
    family = {"font.family": [*_fonts()]}
    try:
        with matplotlib.style.context([_SETTINGS, chosen.type, family], after_reset=True):
            yield
    finally:
        _format.reset(token)


@cache
def _fonts() -> tuple[str, ...]:
    """Those of the chain that are here: the first is used, the others for glyphs it lacks."""
    here = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _FONTS if name in here)


def width(columns: int) -> float:
    """Width in mm, at the venue, of a figure that is made for so many columns."""
    return _format.get().width(columns)


def in_a_row(columns: int) -> int:
    """How many panels stand side by side, of so many; two where the figure takes one column."""
    return min(columns, 2) if _format.get().columns == 1 else columns


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
        with publication():
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
        texts = [(text.get_text(), text.get_fontsize()) for text in self.findobj(mpl.text.Text)]
        views = [(ax.get_xlim(), ax.get_ylim()) for ax in self.axes]
        lines = [(line.get_color(), line.get_linewidth()) for line in self.findobj(Line2D)]
        artists = [type(artist) for artist in self.findobj()]
        return tuple(self.get_size_inches()), texts, views, lines, artists


@dataclass(frozen=True)
class Wishes:
    """What a user gives to a drawing function beside its table."""

    axes: tuple[Axes, ...] | None = None  # of the user's own, to draw into
    names: Mapping[str, str] = field(default_factory=dict)
    palette: Mapping[str, str] | Sequence[str] | str | None = None


_AS_EVER = Wishes()
_wishes: ContextVar[Wishes] = ContextVar("wishes", default=_AS_EVER)


def drawing(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorates a function that draws: in this package's style, from tables that may have been
    through programs that know no counts.

    Reads four arguments for every function that takes them. Into `ax` or `axes`, of a user's own
    figure, it draws in the style that holds where it is called. `names` are what models, tasks,
    variants or measures are called in the figure, `palette` the colours of lines.
    """

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> Figure:
        given = {name: _typed(option) for name, option in options.items()}
        tables = [_typed(argument) for argument in args]
        wishes = _wishes_of(given)
        token = _wishes.set(wishes)
        try:
            with publication() if wishes.axes is None else nullcontext():
                figure = draw(*tables, **given)  # type: ignore[arg-type]
        finally:
            _wishes.reset(token)
        if wishes.axes is None:
            redraw = partial(cast(Callable[..., Drawing], drawn), *args, **options)
            cast(Drawing, figure).made_by(redraw)
        return figure

    return drawn


def _wishes_of(options: Mapping[str, Any]) -> Wishes:
    """Those among a function's options, or else of the function that called it."""
    around = _wishes.get()
    axes = [options[name] for name in ("ax", "axes") if options.get(name) is not None]
    given = tuple(np.asarray(axes[0], dtype=object).ravel()) if axes else around.axes
    if given is not None and not all(isinstance(ax, Axes) for ax in given):
        raise TableError("ax and axes are axes of matplotlib, as `plt.subplots` makes them")
    names, palette = options.get("names"), options.get("palette")
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
    if (own := _wishes.get().axes) is not None:
        if len(own) != needed:
            raise TableError(f"{needed} axes are needed, one for each panel; {len(own)} were given")
        figure: Any = own[0].figure
        return figure.figure, [*own]
    form = _format.get()
    size = (form.width(page) / 25.4, form.height(height, page) / 25.4)
    with mpl.rc_context({"figure.max_open_warning": 0}):  # many in a run; closed when saved
        made, axes = plt.subplots(
            rows, columns, figsize=size, layout="constrained", squeeze=False, FigureClass=Drawing
        )
    for ax in axes.flat[needed:]:
        ax.set_visible(False)
    return made, [*axes.flat[:needed]]


def panel_letters(figure: Figure, first: str = "a") -> Figure:
    """Letter the panels of a figure in bold: a, b, c, ... in reading order; the same figure.

    Args:
        figure: Any figure; colour bars and panels that are not seen get no letter.
        first: The letter of the first panel, "A" for capitals.

    Example:
        >>> from painters_interp import figures
        >>> figure = figures.similarity_panel({"one": [[1.0]], "other": [[0.5]]})
        >>> [ax.get_title("left") for ax in figures.panel_letters(figure).axes[:2]]
        ['a', 'b']
    """
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    for place, ax in enumerate(panels):
        ax.set_title(chr(ord(first) + place), loc="left", fontweight="bold")
    return figure


def borrowed() -> bool:
    """Whether the axes that are drawn into are a user's own."""
    return _wishes.get().axes is not None


def head(figure: Figure, axes: Sequence[Axes], title: str | None, page: int) -> None:
    """A title over all panels; of a user's own axes, over the first."""
    if title and borrowed():
        axes[0].set_title(wrapped(title, 25.4 * axes[0].get_window_extent().width / figure.dpi))
    elif title:
        figure.suptitle(wrapped(title, width(page)))


def finished(figure: Figure, axes: Sequence[Axes]) -> Figure:
    """Lay out the figure while the style holds: ticks made later would have another size.

    A panel without a finite value says so. Raises TableError where no panel has one, and for a
    label that no font here can show.
    """
    holding = {ax: values for ax in axes if (values := _values(ax)) is not None}
    empty = [ax for ax, values in holding.items() if not np.isfinite(values).any()]
    if empty and len(empty) == len(holding):
        raise TableError("the table holds no finite value to draw")
    for ax in empty:
        ax.text(0.5, 0.5, "no value", transform=ax.transAxes, ha="center", va="center")
        if not ax.collections:  # of an axis without a value, ticks are made up
            ax.set(xticks=[], yticks=[])
    make_legible(figure)
    if not borrowed():
        figure.draw_without_rendering()
    return figure


def _values(ax: Axes) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """What lines or cells show, reference lines aside; None where there are neither."""
    meshes = [mesh.get_array() for mesh in ax.collections if isinstance(mesh, QuadMesh)]
    cells = [np.ma.filled(values, np.nan).ravel() for values in meshes if values is not None]
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in _lines(ax)]
    shown = cells or lines  # over cells, lines are marks
    return np.concatenate(shown) if shown else None


def _lines(ax: Axes) -> list[Line2D]:
    return [line for line in ax.get_lines() if line.get_transform() == ax.transData]


def draw_line(
    ax: Axes, x: "pd.Series[Any]", y: "pd.Series[Any]", look: Look, name: str | None = None
) -> Line2D:
    """A line in its look, called `name` in the legend."""
    label = look.label if name is None else name
    (line,) = ax.plot(x.astype(float), y.astype(float), **look.line(len(x)), label=label)
    return line


def draw_band(
    ax: Axes,
    x: "pd.Series[Any]",
    low: "pd.Series[Any]",
    high: "pd.Series[Any]",
    look: Look,
    alpha: float = 0.13,
) -> None:
    """From low to high around a line; around a single point, a bar."""
    place, ends = x.astype(float), (low.astype(float), high.astype(float))
    if len(place) == 1:
        ax.vlines(place, *ends, color=look.colour, alpha=0.4, linewidth=2.5)
    else:
        ax.fill_between(place, *ends, color=look.colour, alpha=alpha, linewidth=0)


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
