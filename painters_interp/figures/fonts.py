"""The type of figures: what journals ask for, and other fonts for what it lacks."""

import unicodedata
from functools import cache

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist

from ..errors import TableError
from .naming import is_formula, shortened

_BOXES = "Last Resort"  # has a box for every character; comes with matplotlib
# What journals ask for, in their order; the last ships with matplotlib.
_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
# Devanagari to Sinhala, Thai to Tibetan, Myanmar, Khmer.
_JOINED = (("\u0900", "\u0dff"), ("\u0e00", "\u0fff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"))
_SHAPES = tuple(map(int, mpl.__version__.split(".")[:2])) >= (3, 11)  # by libraqm, since then


@cache
def fonts() -> tuple[str, ...]:
    """Those of the chain that are here: the first is used, the others for glyphs it lacks."""
    here = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _FONTS if name in here)


def make_legible(figure: Artist) -> None:
    """Give labels in other scripts a font that has them; no formula is what is none.

    TableError where none here does, and for scripts whose letters matplotlib would put in wrong
    order or form.
    """
    covered = _covered()
    for text in figure.findobj(mpl.text.Text):
        words = text.get_text()
        if "$" in words and not is_formula(words):
            text.set_text(words := words.replace(r"\$", "$").replace("$", r"\$"))
        if not _SHAPES and any(map(_needs_shaping, words)):
            raise TableError(
                f"matplotlib {mpl.__version__} puts letters of {shortened(words, 40)!r} in wrong "
                "order or form; install 3.11 or newer, or give another label (names=)"
            )
        if lacking := {ord(sign) for sign in words if not sign.isspace()} - covered:
            other = _font_with(frozenset(lacking))
            if other is None:
                raise TableError(
                    f"no font here can show the label {shortened(words, 40)!r}; install one, such "
                    "as Noto Sans, or give another label (names=)"
                )
            text.set_fontfamily([*fonts(), other])


@cache
def _covered() -> frozenset[int]:
    """What the fonts of the chain have together."""
    return frozenset().union(*(_glyphs(_file_of(name)) for name in fonts()))


def _needs_shaping(sign: str) -> bool:
    """Whether a character runs from right to left, or changes with its neighbours (Indic, Thai)."""
    return unicodedata.bidirectional(sign) in ("R", "AL") or any(
        first <= sign <= last for first, last in _JOINED
    )


def _file_of(name: str) -> str:
    return next(font.fname for font in font_manager.fontManager.ttflist if font.name == name)


@cache
def _glyphs(path: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(path).get_charmap())


@cache
def _font_with(codes: frozenset[int]) -> str | None:
    """The first font here that has all these characters; not one of boxes in their place."""
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name):
        if not font.name.startswith(_BOXES) and codes <= _glyphs(font.fname):
            return font.name
    return None
