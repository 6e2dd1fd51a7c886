"""What is shown fits 80 columns, what is printed the terminal: sentences, tables, objects in short.

What no terminal shows, as in a pipe or a file, is printed as it is, so that a line stays a line.
"""

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from itertools import takewhile
from textwrap import TextWrapper
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import in_a_line

WIDTH = 80
_NARROWEST = 10  # columns of a text that stands beside others
_LONGEST = 40  # characters of a value in an object that is shown in short
Columns = Mapping[str, Sequence[str]]


def room() -> int:
    """Columns of the terminal that is printed to; where it is none, more than any line takes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def say(text: str, hang: int = 0) -> None:
    """Print a text, folded to the terminal."""
    print(folded(text, hang, room()))


def say_aside(line: str) -> None:
    """Print a line to stderr, where the bar is, too: what a command prints stays clean."""
    print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time as people say it: seconds, and minutes where there are more than 90.

    Example:
        >>> duration(42.3), duration(600)
        ('42 s', '10 min')
    """
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def folded(text: str, hang: int = 0, width: int = WIDTH) -> str:
    """A text in lines of so many columns; the second and following begin `hang` columns in.

    What has no blanks, such as a path, is never broken.

    Example:
        >>> print(folded("ok  " + "0-12 17-29 " * 8, hang=4))
        ok  0-12 17-29 0-12 17-29 0-12 17-29 0-12 17-29 0-12 17-29 0-12 17-29 0-12 17-29
            0-12 17-29
    """
    whole = TextWrapper(
        width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(whole.fill(line) for line in text.split("\n"))


def in_columns(
    table: Columns, texts: Collection[str], most: int | None = None, width: int = WIDTH
) -> str:
    """A table of strings of so many columns: `texts` to the left, the rest, numbers, right.

    Texts are folded within their column where all would be too wide; where that is not enough, the
    table is in parts, one below the other, each with the texts that come first. Of more than `most`
    rows those in the middle are left out.

    Example:
        >>> print(in_columns({"plan": ["0-5", "0-2 5"], "kl": ["0", "0.125"]}, ["plan"]))
        plan     kl
        0-5       0
        0-2 5 0.125
    """
    table = {name: [*map(in_a_line, cells)] for name, cells in table.items()}
    if most is not None and len(next(iter(table.values()), [])) > most:
        half = max(1, most // 2)
        table = {name: [*cells[:half], "...", *cells[-half:]] for name, cells in table.items()}
    return "\n\n".join(_drawn(part, texts, width) for part in _parts(table, texts, width))


def _parts(table: Columns, texts: Collection[str], width: int) -> list[Columns]:
    """The table in parts that fit, each with the texts that come first."""
    keys = {name: table[name] for name in takewhile(texts.__contains__, table)}
    parts = [dict(keys)]
    for name, cells in table.items():
        if name not in keys:
            if len(parts[-1]) > len(keys) and _least({**parts[-1], name: cells}, texts) > width:
                parts.append(dict(keys))
            parts[-1][name] = cells
    return [*parts]


def _least(table: Columns, texts: Collection[str]) -> int:
    """Columns that a table takes with its texts folded."""
    widths = (
        min(wide, _NARROWEST) if name in texts else wide for name, wide in _widths(table).items()
    )
    return sum(widths) + len(table) - 1


def _widths(table: Columns) -> dict[str, int]:
    """Of each column; Chinese signs take two, marks on others none."""
    return {name: max(map(cell_len, (name, *cells))) for name, cells in table.items()}


def _drawn(table: Columns, texts: Collection[str], width: int) -> str:
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for name in table:
        if name in texts:
            grid.add_column(Text(name), overflow="fold")
        else:
            grid.add_column(Text(name), justify="right", no_wrap=True)
    for row in zip(*table.values(), strict=True):
        grid.add_row(*map(Text, row))
    whole = sum(_widths(table).values()) + len(table)
    width = min(whole, max(width, _least(table, texts)))
    # A notebook would be shown the table at once, whoever asked for its text.
    console = Console(width=width, color_system=None, force_jupyter=False)
    with console.capture() as drawn:
        console.print(grid)
    return "\n".join(line.rstrip() for line in drawn.get().splitlines())


class Brief:
    """A dataclass (made with `repr=False`) that is shown by the sizes of what it holds."""

    def __repr__(self) -> str:
        held = fields(self)  # type: ignore[arg-type]
        values = ", ".join(f"{field.name}={_brief(getattr(self, field.name))}" for field in held)
        return folded(f"{type(self).__name__}({values})", hang=4)


def _brief(value: Any) -> str:
    """A number, a short text, or what kind of thing it is and how large."""
    kind = type(value).__name__
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"{kind} {' x '.join(map(str, shape))}" if shape else f"{value:.4g}"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = repr(value)
    if isinstance(value, str) and len(text) > _LONGEST:
        return f"{text[:_LONGEST]}..."
    if len(text) <= _LONGEST and text.isprintable():
        return text
    return f"{kind} of {len(value)}" if isinstance(value, Collection) else kind
