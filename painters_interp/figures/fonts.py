"""The type of figures: what journals ask for, and other fonts for what it lacks."""

from functools import cache

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure

from ..errors import TableError
from .naming import shortened

# What journals ask for, in their order; the last ships with matplotlib.
_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")


@cache
def fonts() -> tuple[str, ...]:
    """Those of the chain that are here: the first is used, the others for glyphs it lacks."""
    here = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _FONTS if name in here)


def make_legible(figure: Figure) -> None:
    """Give labels in other scripts a font that has them. TableError where none here does."""
    covered = {code for name in fonts() for code in _glyphs(_file_of(name))}
    for text in figure.findobj(mpl.text.Text):
        words = text.get_text()
        if lacking := {ord(sign) for sign in words if not sign.isspace()} - covered:
            other = _font_with(frozenset(lacking))
            if other is None:
                raise TableError(
                    f"no font here can show the label {shortened(words, 40)!r}; install one, such "
                    "as Noto Sans, or give another label (names=)"
                )
            text.set_fontfamily([*fonts(), other])


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
