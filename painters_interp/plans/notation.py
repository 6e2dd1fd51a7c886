"""The text form of a plan, read and printed; it knows layers and scales, and no model.

    plan   = step { space step }            step  = body ["@" scale] ["*" times]
    body   = layer | layer "-" layer | "(" part {"|" part} ")" | series
    part   = layer | layer "-" layer | series
    series = "[" plan "]"                   layer = digits [".attn" | ".mlp"]
    scale  = "sum" | decimal                times = digits, at least 1

What is read is plain data; `value` makes steps of it. What is printed are the steps of a plan.
"""

import math
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, NamedTuple

from ..errors import PlanError

Half = Literal["attn", "mlp"]

MAX_CALLS = 100_000
MAX_NESTING = 20

SCALES = "a scale is 'sum' or a finite number other than 0"
AT_MOST = f"a plan makes at most {MAX_CALLS:,}"
NESTS = f"at most {MAX_NESTING} series stand inside each other"


# Printing needs of a step its `branches` (calls, which have a layer, or series), `scale` and
# `scale_text`. Each is looked at thousands of times, too often for a protocol that is checked.
Printable = Any

# Printing


def runs(items: Sequence[tuple[int, Hashable]]) -> Iterator[tuple[int, int]]:
    """Cut (layer, kind) pairs into index ranges: three or more counting up or down, else one."""
    start = 0
    while start < len(items):
        (layer, kind), stop = items[start], start + 1
        stride = items[stop][0] - layer if stop < len(items) else 0
        if abs(stride) == 1:
            while stop < len(items) and items[stop] == (layer + stride * (stop - start), kind):
                stop += 1
        if stop - start < 3:
            stop = start + 1
        yield start, stop
        start = stop


def chunks(steps: Sequence[Printable]) -> Iterator[tuple[Printable, Printable, int]]:
    """Cut steps as they are printed: (first, last, times); first == last unless it is a range."""
    folded = [(step, sum(1 for _ in equal)) for step, equal in groupby(steps)]
    items: list[tuple[int, Hashable]] = []
    for index, (step, times) in enumerate(folded):
        call = step.branches[0]
        layer = getattr(call, "layer", None)
        if times == len(step.branches) == 1 and layer is not None:
            items.append((layer, (call.half, step.scale)))
        else:  # the index as kind: no neighbour has it, so these never join a range
            items.append((0, index))
    for start, stop in runs(items):
        yield folded[start][0], folded[stop - 1][0], folded[start][1]


def text_of(steps: Sequence[Printable]) -> str:
    """Steps as they are written: `0-4 5*2 (6|7)`."""
    return " ".join(_chunk_text(*chunk) for chunk in chunks(steps))


def _chunk_text(first: Printable, last: Printable, times: int) -> str:
    """One chunk as it is written: `5`, `5-9`, `(9|10)*3`."""
    if first != last:
        return f"{_range_text(first.branches[0], last.branches[0])}{first.scale_text}"
    return str(first) if times == 1 else f"{first}*{times}"


def group_text(branches: Sequence[Any]) -> str:
    """Branches side by side as they are written: `(9-11|13|[14 15])`."""
    calls = [branch for branch in branches if hasattr(branch, "layer")]
    spans = runs([(call.layer, call.half) for call in calls])
    parts = [_range_text(calls[start], calls[stop - 1]) for start, stop in spans]
    return f"({'|'.join([*parts, *map(str, branches[len(calls) :])])})"


def _range_text(first: Any, last: Any) -> str:
    """`5` or `5-9.mlp`."""
    return str(first) if first == last else f"{first.layer}-{last}"


_NUMBERS = re.compile("([0-9]+)")


def in_order(text: str) -> tuple[list[int | str], str]:
    """A key by which texts are sorted: numbers in them count as numbers, so 9 comes before 13."""
    pieces: list[int | str] = [*_NUMBERS.split(text)]
    pieces[1::2] = map(int, pieces[1::2])
    return pieces, text


def shorten(text: str, width: int) -> str:
    """The text, without its middle where it is longer than `width`."""
    return text if len(text) <= width else f"{text[: width // 2]}...{text[-width // 3 :]}"


def quote(text: str, width: int = 120) -> str:
    """Quote on one line; long text loses its middle."""
    return repr(shorten(" ".join(text.split()), width))


def allowed(n_layers: int) -> str:
    """Which layers there are, for an error."""
    return f"n_layers={n_layers} allows 0..{n_layers - 1}"


# Reading

_PIECE = re.compile(r"[^\s()\[\]]+|[(\[]|\s+")
_BRACKET = re.compile(r"[()\[\]]")
_PIECES = re.compile(r"[^|()\[\]]+|[|()\[]")
_BODY = re.compile(r"[^()\[\]@*]+")
_BESIDE = re.compile(r"[@*\[]")
_SUFFIX = re.compile(r"(?:@([^()\[\]@*]+))?(?:\*([^()\[\]@*]+))?")
_TIMES_FIRST = re.compile(r"\*([^()\[\]@*]+)@([^()\[\]@*]+)")
_LAYERS = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:\.(attn|mlp))?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FOREIGN = re.compile(r"[^\sA-Za-z0-9()\[\]|@*.+-]")
_HALVES: dict[str | None, Half | None] = {None: None, "attn": "attn", "mlp": "mlp"}
_ENDS = {"(": ")", "[": "]"}
_SIGNS = "it is written with ASCII digits, - | ( ) [ ] @ * . and spaces"
_SEPARATORS = "spaces separate steps ('9 10'), '|' separates layers in parallel ('(9|10)')"
_FORM = (
    "a step is '5', '5-9', '(9|10)' or '[9-12]', then '@0.5', then '*2'; spaces come between steps"
)
_GROUPS = "write the inner one in a series, '(9|[(10|11)])'"


def _whole(digits: str) -> int:
    """Digits as a number, clipped far above every bound: Python refuses to convert long ones."""
    return int((digits.lstrip("0") or "0")[:12])


class ReadCall(NamedTuple):
    """A call as it was written."""

    layer: int
    half: Half | None


class ReadSeries(NamedTuple):
    """A series as it was written."""

    steps: tuple["ReadStep", ...]


class ReadStep(NamedTuple):
    """A step as it was written: its branches, the scale (None: their mean), how many times."""

    branches: tuple[ReadCall | ReadSeries, ...]
    scale: float | None
    times: int


def read(text: str, n_layers: int) -> tuple[ReadStep, ...]:
    """The steps of a text. Raises PlanError, which says what would fit."""
    return _Reader(text, n_layers).plan()


class _Reader:
    """Reads one text; bounds are checked before a range or a repeat is expanded."""

    def __init__(self, text: str, n_layers: int) -> None:
        self.text, self.n_layers = text, n_layers
        self.word = ""  # the step being read
        self.ends: dict[int, int] = {}  # where each bracket is closed
        # What has been read: long plans are made of few parts. A series is known at its depth.
        self.known: dict[str | tuple[int, str], _Part] = {}

    def error(self, problem: str, at: str | None = None) -> PlanError:
        piece = self.word if at is None else at
        return PlanError(f"plan {quote(self.text)}: {quote(piece, 40)} {problem}")

    def plan(self) -> tuple[ReadStep, ...]:
        if not self.text.strip():
            raise PlanError(f"plan {quote(self.text)} is empty; name at least one layer")
        if foreign := _FOREIGN.search(self.text):
            hint = _SEPARATORS if foreign[0] in ",;" else _SIGNS
            raise self.error(f"is not part of the notation; {hint}", at=foreign[0])
        self.match_brackets()
        return self.steps(0, len(self.text))[0]

    def match_brackets(self) -> None:
        """Find where each bracket ends; what has no other half, or nests too deep, is refused."""
        waiting: list[int] = []
        for found in _BRACKET.finditer(self.text):
            sign, place = found[0], found.start()
            inside = self.text[waiting[-1]] if waiting else ""
            if sign in _ENDS:
                if sign == inside == "(" and ")" in self.text[place:]:
                    at = self.text[waiting[-1] :]
                    raise self.error(f"has a group inside a group; {_GROUPS}", at)
                waiting.append(place)
            elif sign == _ENDS.get(inside):
                self.ends[waiting.pop()] = place
            elif waiting:
                break
            else:
                what = "group; a group is '(9|10)'" if sign == ")" else "series; one is '[9-12]'"
                raise self.error(f"closes no {what}", at=self.text[: place + 1].split()[-1])
        if waiting:
            after = self.text[waiting[-1] :]
            what = "group" if after[0] == "(" else "series"
            raise self.error(f"is a {what} without an end; add {_ENDS[after[0]]!r}", at=after)

    def steps(self, start: int, stop: int, nesting: int = 0) -> tuple[tuple[ReadStep, ...], int]:
        """The steps of a stretch of the text, and the calls that they make."""
        found: list[ReadStep] = []
        calls = 0
        for first, last in self.words(start, stop):
            self.word = word = self.text[first:last]
            # A layer by itself is what most of a long plan consists of.
            if word.isdecimal() and _whole(word) < self.n_layers:
                found.append(ReadStep((ReadCall(_whole(word), None),), None, 1))
                calls += 1
            else:
                steps, more = self.step(first, last, nesting)
                found += steps
                calls += more
            if calls > MAX_CALLS:
                raise self.error(f"brings too many layer calls; {AT_MOST}", at=word)
        return tuple(found), calls

    def words(self, place: int, stop: int) -> Iterator[tuple[int, int]]:
        """Where each step of a stretch begins and ends: at white space outside of brackets."""
        first = place
        while place < stop:
            piece = _PIECE.match(self.text, place, stop)
            assert piece is not None  # brackets that close are jumped to
            if piece[0].isspace():
                if first < place:
                    yield first, place
                first = place = piece.end()
            else:
                place = self.ends[place] + 1 if piece[0] in _ENDS else piece.end()
        if first < stop:
            yield first, stop

    def step(self, first: int, last: int, nesting: int) -> tuple[Sequence[ReadStep], int]:
        """The steps of one word, of which a range has several, and the calls that they make."""
        word, bracket = self.word, self.text[first] in _ENDS
        body = _BODY.match(self.text, first, last)
        end = self.ends[first] + 1 if bracket else body.end() if body else first
        suffix = _SUFFIX.fullmatch(self.text, end, last)
        if end == first or not suffix:
            raise self.not_a_step(self.text[first:end], self.text[end:last])
        parts = self.parts(first, end, nesting) if bracket else [self.span(self.text[first:end])]
        self.word = word  # reading what is inside has moved on
        scale, times = self.scale(suffix[1]), self.times(suffix[2])
        once = sum(part.calls for part in parts)
        if times > 1 and once > 1 and not bracket:
            raise self.error(self.both_readings(parts[0]))
        if once * times > MAX_CALLS:
            raise self.error(f"brings too many layer calls; {AT_MOST}")
        branches = tuple(branch for part in parts for branch in part.branches)
        if bracket:
            return [ReadStep(branches, scale, times)], once * times
        return [ReadStep((branch,), scale, times) for branch in branches], once * times

    def parts(self, first: int, end: int, nesting: int) -> list["_Part"]:
        """What stands in brackets: one series, or the parts of a group."""
        if self.text[first] == "[":
            return [self.series(first, end, nesting)]
        found, start, place = [], first + 1, first + 1
        while place < end:
            piece = _PIECES.match(self.text, place, end)
            assert piece is not None
            if piece[0] in ("|", ")"):
                found.append(self.part(start, place, nesting))
                start = piece.end()
            place = self.ends[place] + 1 if piece[0] in _ENDS else piece.end()
        return found

    def part(self, start: int, stop: int, nesting: int) -> "_Part":
        """One part of a group: layers, or a series."""
        text = self.text[start:stop].strip()
        if text in self.known:
            return self.known[text]
        if text.startswith("["):
            start = self.text.index("[", start)
            if self.ends[start] + 1 == start + len(text):
                return self.series(start, start + len(text), nesting)
        if scaled := _BESIDE.search(text):
            what = "more than a series" if scaled[0] == "[" else repr(scaled[0])
            raise self.error(f"has {what} in a branch; write it as {quote(f'[{text}]')}")
        return self.span(text)

    def series(self, first: int, end: int, nesting: int) -> "_Part":
        written = nesting, self.text[first:end]
        if written not in self.known:
            word = self.word
            if nesting == MAX_NESTING:
                raise self.error(f"nests too deep; {NESTS}")
            steps, calls = self.steps(first + 1, end - 1, nesting + 1)
            if not steps:
                raise self.error("names no layer; a series is '[9-12]'", at=written[1])
            self.word = word
            self.known[written] = _Part(calls, series=ReadSeries(steps))
        return self.known[written]

    def span(self, part: str) -> "_Part":
        """The layers of `5`, `5-9` or `9-5`, and the half; a range is not yet expanded."""
        if part in self.known:
            return self.known[part]
        match = _LAYERS.fullmatch(part)
        if not match:
            raise self.error(self.what_is_wrong(part))
        ends = match[1], match[2] or match[1]
        first, last = map(_whole, ends)
        if max(first, last) >= self.n_layers:
            asked = shorten(max(ends, key=_whole).lstrip("0"), 12)
            raise self.error(f"asks for layer {asked}; {allowed(self.n_layers)}")
        stride = 1 if first <= last else -1
        layers = range(first, last + stride, stride)
        self.known[part] = _Part(len(layers), layers, _HALVES[match[3]])
        return self.known[part]

    def not_a_step(self, body: str, rest: str) -> PlanError:
        if late := _TIMES_FIRST.fullmatch(rest):
            return self.error(
                f"has times before scale; write {quote(f'{body}@{late[2]}*{late[1]}')}"
            )
        return self.error(f"is not a step; {_FORM}")

    def what_is_wrong(self, part: str) -> str:
        """Why a part is no layer or range; it can hold spaces only inside a group."""
        words = part.split()
        if len(words) > 1 and all(map(_LAYERS.fullmatch, words)):
            together, apart = quote(f"({'|'.join(words)})"), quote(f"[{' '.join(words)}]")
            return f"has a space in a group; write {together} for parallel layers, {apart} in a row"
        if not part:
            return "lacks a layer; a group is written '(9|10)' or '(9-20)'"
        if "|" in part:
            return "has '|' outside a group; a group is written '(9|10)'"
        if "." in part:
            return "has a bad suffix; halves are written '5.attn', '5.mlp' or '5-9.mlp'"
        return f"is not a step; {_FORM}"

    def both_readings(self, part: "_Part") -> str:
        """Why `13-14*2` is refused; readings that go on end in dots."""
        once, _, times = self.word.partition("*")
        layers, tail = part.layers, self.word.lstrip("0123456789-")
        each = f"{layers[0]}{tail} {layers[1]}{tail}" + (" ..." if len(layers) > 2 else "")
        return f"is ambiguous; write {quote(f'[{once}]*{times}')} or {quote(each)}"

    def scale(self, text: str | None) -> float | None:
        if text is None or text == "sum":
            return 1.0 if text else None
        scale = float(text) if _DECIMAL.fullmatch(text) else math.nan
        if not math.isfinite(scale) or scale == 0:
            raise self.error(f"has a bad scale; {SCALES}")
        return scale

    def times(self, text: str | None) -> int:
        times = "1" if text is None else text
        if not re.fullmatch("[0-9]+", times) or _whole(times) < 1:
            raise self.error("has a bad count; '*' takes a whole number, at least 1")
        return _whole(times)


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of a step: a series, or layers and their half."""

    calls: int
    layers: range = range(0)
    half: Half | None = None
    series: ReadSeries | None = None

    @cached_property
    def branches(self) -> tuple[ReadCall | ReadSeries, ...]:
        """What it stands for; bounds are checked before anybody asks."""
        calls = tuple(ReadCall(layer, self.half) for layer in self.layers)
        return calls if self.series is None else (self.series,)
