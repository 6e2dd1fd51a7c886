"""What is fitted once it is known how large things are: names of axes, of panels and of ticks."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.text import Text

from .naming import refilled

_POINT = 72  # to the inch
_LEAST = 0.04  # inches that are worth another layout
_HIGHER = 1.15  # a figure without room for its panels
_STILL = 1e-3  # of a figure: less is no move
_EDGE, _BETWEEN = 0.045, 0.09  # inches that a layout leaves at its edges, and between things
_ROUNDS = 8  # axes move as what stands beside them changes
_BESIDE = 0.35  # of a size of type, the least between names beside each other
_OF_A_ROW = 0.9  # takes the name of an axis at most
_BELOW = -0.15  # between lines, whose boxes have room for what no digit has


def fit(figure: Figure) -> None:
    """Lay out a figure so that no name reaches beyond its room and no map leaves some empty."""
    whole: dict[Text, str] = {}
    settle(figure)
    for _ in range(_ROUNDS):
        changed = [separate_ticks(ax) for ax in _seen(figure)]
        changed += [_broken(*name, whole) for name in _names(figure)]
        if not any(changed) and not _blank_cut(figure):
            break
        settle(figure)


def settle(figure: Figure) -> None:
    """Lay out a figure until its axes stay: bars of square cells move with what the last pass did.

    A figure that is too low for its panels and their names is made higher. Does nothing to a figure
    of a user's own layout.
    """
    engine, before = figure.get_layout_engine(), None
    if engine is None:
        return
    for _ in range(_ROUNDS):
        if not _executed(engine, figure):
            figure.set_figheight(figure.get_figheight() * _HIGHER)
            continue
        if not _has_square(figure) or not any(map(is_bar, figure.axes)):
            break  # one pass is enough
        places = np.array([ax.get_position().bounds for ax in _seen(figure)])
        if before is not None and np.abs(places - before).max() < _STILL:
            break
        before = places


def _executed(engine: LayoutEngine, figure: Figure) -> bool:
    """Lay out once; whether there was room for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "constrained_layout not applied")
        try:
            engine.execute(figure)
        except UserWarning:
            return False
    return True


@contextmanager
def held(figure: Figure) -> Iterator[None]:
    """Lay out a figure now, and not again while it is written, to however many files."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    try:
        yield
    finally:
        if engine is not None:
            figure.set_layout_engine(engine)


def separate_ticks(ax: Axes) -> bool:
    """Set names of ticks that would touch apart, or leave some out; whether there were any.

    Below an axis, words and numbers out of order are turned. Of those numbers none tells what the
    next one is, so they stand in two lines. Of what touches then, some go.
    """
    ax.get_tightbbox()  # which makes them
    changed = [_separated(axis) for axis in (ax.xaxis, ax.yaxis) if ax.axison]
    return any(changed)


def _separated(axis: Axis) -> bool:
    ticks, across = _named(axis), isinstance(axis, XAxis)
    lines = [[label for tick, label in ticks if tick.get_pad() == pad]
             for pad in {tick.get_pad() for tick, _ in ticks}]  # fmt: skip
    if not any(_touch(line, across) for line in lines):
        return False
    names = [label.get_text() for _, label in ticks]
    numbers = not any(sign.isalpha() for sign in "".join(names).replace("mathdefault", ""))
    apart = numbers and _out_of_order(names)
    if across and (apart or not numbers) and ticks[0][1].get_rotation() == 0:
        axis.set_tick_params(rotation=90)
    elif len(lines) == 1 and apart:
        boxes = [label.get_window_extent() for _, label in ticks]
        wide = max(box.height if across else box.width for box in boxes)
        for tick, _ in ticks[1::2]:
            tick.set_pad(tick.get_pad() + 1.2 * wide * _POINT / axis.axes.figure.dpi)
    else:
        labels = [label for _, label in ticks]
        every = next(n for n in count(2) if not _touch(labels[::n], across))
        axis.set_ticks([tick.get_loc() for tick, _ in ticks[::every]], names[::every])
    return True


def _named(axis: Axis) -> list[tuple[Any, Text]]:
    """The ticks that are seen, with their names, on whichever side those stand."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    sides = [(tick, label) for tick in ticks for label in (tick.label1, tick.label2)]
    return [(tick, label) for tick, label in sides if label.get_visible() and label.get_text()]


def _touch(labels: list[Text], across: bool) -> bool:
    if len(labels) < 2:
        return False
    boxes = [label.get_window_extent() for label in labels]
    ends = sorted((box.x0, box.x1) if across else (box.y0, box.y1) for box in boxes)
    beside = across and all(label.get_rotation() == 0 for label in labels)
    size = float(labels[0].get_fontsize()) * labels[0].figure.dpi / _POINT
    least = size * (_BESIDE if beside else _BELOW)
    return any(after[0] - before[1] < least for before, after in pairwise(ends))


def _out_of_order(names: list[str]) -> bool:
    known = [float(name) for name in names if name.isdecimal()]
    return len(known) == len(names) and known not in (sorted(known), sorted(known)[::-1])


def _seen(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible()]


def _has_square(figure: Figure) -> bool:
    return any(ax.get_aspect() != "auto" for ax in panels(figure))


def is_bar(ax: Axes) -> bool:
    """Whether axes are those of a colour bar."""
    return ax.get_label() == "<colorbar>"


def panels(figure: Figure) -> list[Axes]:
    """Axes that are seen, without those of colour bars."""
    return [ax for ax in _seen(figure) if not is_bar(ax)]


def _names(figure: Figure) -> Iterator[tuple[Text, bool, float]]:
    """Titles of panels and names of axes: whether each stands upright, and its room in pixels."""
    whole = figure.bbox
    boxes = [ax.get_window_extent() for ax in panels(figure)]
    tall = max(box.y1 for box in boxes) - min(box.y0 for box in boxes)  # without what is below
    for ax in _seen(figure):
        spec = ax.get_subplotspec()
        rows, columns = (1, 1) if spec is None else spec.get_gridspec().get_geometry()
        for text, upright in ((ax.title, False), (ax.xaxis.label, False), (ax.yaxis.label, True)):
            ends, most = text.get_window_extent(), whole.height if upright else whole.width
            low, high = (ends.y0, ends.y1) if upright else (ends.x0, ends.x1)
            room = min(low + high, 2 * most - low - high)  # for it stays where its middle is
            own = tall * _OF_A_ROW / rows if upright and rows > 1 else most
            own = most / columns if text is ax.title else own
            yield text, upright, min(room, own)


def _broken(text: Text, upright: bool, room: float, whole: dict[Text, str]) -> bool:
    """Put a name that is longer than its room into more lines; whether it was.

    What it was at first is kept in `whole`, so that it is not broken where it was broken before.
    """
    ends, before = text.get_window_extent(), text.get_text()
    long = ends.height if upright else ends.width
    if not before or long <= room:
        return False
    letters = room / long * max(map(len, before.split("\n")))
    text.set_text(refilled(whole.setdefault(text, before), int(letters)))
    return text.get_text() != before


def _blank_cut(figure: Figure) -> bool:
    """Take from the figure the height that maps of square cells leave; whether they left some."""
    if any(ax.get_aspect() == "auto" for ax in panels(figure)):
        return False
    seen = [(ax, ax.get_tightbbox()) for ax in _seen(figure)]
    # A bar beside a map is as high as the map may be; all else is as high as it is.
    boxes = [box for ax, box in seen if not (is_bar(ax) and _upright(ax))]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [text.get_window_extent() for text in figure.texts if text.get_text()]
    top, blank, least = 0.0, 0.0, _EDGE * figure.dpi
    for low, high in sorted((box.y0, box.y1) for box in boxes if box is not None):
        blank += max(0.0, low - top - least)
        top, least = max(top, high), _BETWEEN * figure.dpi
    inches = (blank + max(0.0, figure.bbox.height - top - _EDGE * figure.dpi)) / figure.dpi
    if inches < _LEAST:
        return False
    figure.set_figheight(figure.get_figheight() - inches)
    if any(is_bar(ax) and _upright(ax) for ax in _seen(figure)):
        for ax in panels(figure):
            _without_slack(ax)
    return True


def _without_slack(ax: Axes) -> None:
    """Let axes start from the room that their square cells take.

    From more, a bar beside them, which is as high as their room, shrinks towards them pass by pass.
    """
    ax.apply_aspect()
    ax.set_position(ax.get_position(), which="original")
    ax.set_in_layout(True)  # which is over for axes that are put somewhere


def _upright(ax: Axes) -> bool:
    box = ax.get_window_extent()
    return box.height > box.width
