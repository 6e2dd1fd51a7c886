"""How wide a journal's columns are, and how large the type of its figures is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tueplots import figsizes, fontsizes

from ..errors import OutputError

_MM = 25.4
_SLIDE = 0.8  # of a slide's height, below its title
_PAGE = 247.0  # mm, the tallest figure on a page


@dataclass(frozen=True)
class Venue:
    """Widths of one and of two columns and the greatest height, in mm; type sizes, in points."""

    one: float
    two: float
    title: float = 7.0
    label: float = 7.0
    small: float = 7.0
    tallest: float = _PAGE

    @property
    def type(self) -> dict[str, float]:
        """The settings of matplotlib that are sizes of type."""
        small = ("legend.fontsize", "xtick.labelsize", "ytick.labelsize")
        title = ("axes.titlesize", "figure.titlesize")
        sizes = {"font.size": self.label, "axes.labelsize": self.label}
        return sizes | dict.fromkeys(title, self.title) | dict.fromkeys(small, self.small)


def _width(size: Callable[..., Mapping[str, Any]], **options: float) -> float:
    return _MM * float(size(**options)["figure.figsize"][0])


def _of(one: float, two: float, sizes: Mapping[str, Any], tallest: float = _PAGE) -> Venue:
    named = ("axes.titlesize", "axes.labelsize", "legend.fontsize")
    title, label, small = (float(sizes[name]) for name in named)
    return Venue(one, two, title, label, small, tallest)


def _one_column(
    size: Callable[..., Mapping[str, Any]], type: Callable[[], Mapping[str, Any]]
) -> Venue:
    """Of a page with a single column of text: two figures stand beside each other, or one."""
    return _of(_width(size, rel_width=0.5), _width(size, rel_width=1.0), type())


def _slide() -> Venue:
    """Half of a slide, or nearly all, and no higher than what its title leaves."""
    size = figsizes.beamer_169
    height = _MM * float(size(rel_width=1.0, rel_height=_SLIDE)["figure.figsize"][1])
    half, whole = (_width(size, rel_width=share, rel_height=1.0) for share in (0.5, 0.95))
    return _of(half, whole, fontsizes.beamer(), height)


# Nature's and ACL's are from their guides to authors: tueplots has neither.
_KNOWN: dict[str, Callable[[], Venue]] = {
    "nature": lambda: Venue(89.0, 183.0),
    "neurips": lambda: _one_column(figsizes.neurips2024, fontsizes.neurips2024),
    "iclr": lambda: _one_column(figsizes.iclr2024, fontsizes.iclr2024),
    "jmlr": lambda: _one_column(figsizes.jmlr2001, fontsizes.jmlr2001),
    "icml": lambda: _of(
        _width(figsizes.icml2024_half), _width(figsizes.icml2024_full), fontsizes.icml2024()
    ),
    "aaai": lambda: _of(
        _width(figsizes.aaai2024_half), _width(figsizes.aaai2024_full), fontsizes.aaai2024()
    ),
    "cvpr": lambda: _of(
        _width(figsizes.cvpr2024_half), _width(figsizes.cvpr2024_full), fontsizes.cvpr2024()
    ),
    "acl": lambda: Venue(77.0, 160.0, 9.0, 9.0, 8.0),
    "slide": _slide,
}
VENUES = tuple(_KNOWN)


@cache
def venue_of(name: str) -> Venue:
    """The venue of this name. Raises OutputError for one that is not in `VENUES`."""
    if name not in _KNOWN:
        raise OutputError(f"no venue {name!r}; there are {', '.join(VENUES)}")
    return _KNOWN[name]()
