"""The text form of a plan, read and printed; it knows layers and scales, and no model.

    plan  = step { space step }            step  = body ["@" scale] ["*" times]
    body  = layer | layer "-" layer | "(" part {"|" part} ")"
    part  = layer | layer "-" layer        layer = digits [".attn" | ".mlp"]
    scale = "sum" | decimal                times = digits, at least 1

What is read is plain data; `value` makes steps of it. What is printed are the steps of a plan.
"""

import math
import re
from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from ..errors import PlanError

Half = Literal["attn", "mlp"]
Member = tuple[int, Half | None]

MAX_CALLS = 100_000

SCALES = "a scale is 'sum' or a finite number other than 0"
AT_MOST = f"a plan makes at most {MAX_CALLS:,}"


@runtime_checkable
class PrintableCall(Protocol):
    """What printing needs of a call."""

    @property
    def layer(self) -> int: ...
    @property
    def half(self) -> Half | None: ...


@runtime_checkable
class PrintableStep(Protocol):
    """What printing needs of a step."""

    @property
    def calls(self) -> Sequence[Any]: ...
    @property
    def scale(self) -> float: ...
    @property
    def scale_text(self) -> str: ...


S = TypeVar("S", bound=PrintableStep)

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


def chunks(steps: Sequence[S]) -> Iterator[tuple[S, S, int]]:
    """Cut steps as they are printed: (first, last, times); first == last unless it is a range."""
    folded = [(step, sum(1 for _ in equal)) for step, equal in groupby(steps)]
    items: list[tuple[int, Hashable]] = []
    for index, (step, times) in enumerate(folded):
        call = step.calls[0]
        plain = len(step.calls) == times == 1
        # The index as kind: no neighbour has it, so groups and repeats never join a range.
        items.append((call.layer, (call.half, step.scale) if plain else index))
    for start, stop in runs(items):
        yield folded[start][0], folded[stop - 1][0], folded[start][1]


def chunk_text(first: S, last: S, times: int) -> str:
    """One chunk as it is written: `5`, `5-9`, `(9|10)*3`."""
    if first != last:
        return range_text(first.calls[0], last.calls[0]) + first.scale_text
    return str(first) if times == 1 else f"{first}*{times}"


def range_text(first: PrintableCall, last: PrintableCall) -> str:
    """`5` or `5-9.mlp`."""
    return str(first) if first == last else f"{first.layer}-{last}"


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

_WORD = re.compile(r"(?:\([^()]*\)|[^\s()])+")
_STEP = re.compile(r"(\([^()]*\)|[^()@*]+)(?:@([^()@*]+))?(?:\*([^()@*]+))?")
_TIMES_FIRST = re.compile(r"(\([^()]*\)|[^()@*]+)\*([^()@*]+)@([^()@*]+)")
_LAYERS = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:\.(attn|mlp))?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FOREIGN = re.compile(r"[^\sA-Za-z0-9()|@*.+-]")
_HALVES: dict[str | None, Half | None] = {None: None, "attn": "attn", "mlp": "mlp"}
_SIGNS = "it is written with ASCII digits, - | ( ) @ * . and spaces"
_SEPARATORS = "spaces separate steps ('9 10'), '|' separates layers in parallel ('(9|10)')"
_FORM = "a step is '5', '5-9' or '(9|10)', then '@0.5', then '*2'; spaces come between steps"


def _whole(digits: str) -> int:
    """Digits as a number, clipped far above every bound: Python refuses to convert long ones."""
    return int((digits.lstrip("0") or "0")[:12])


class Read(NamedTuple):
    """A step as it was written: its members, and the scale, None for their mean."""

    members: tuple[Member, ...]
    scale: float | None


def read(text: str, n_layers: int) -> Iterator[Read]:
    """The steps of a text, one by one. Raises PlanError, which says what would fit."""
    return _Reader(text, n_layers).steps()


class _Reader:
    """Reads one text; bounds are checked before a range or a repeat is expanded."""

    def __init__(self, text: str, n_layers: int) -> None:
        self.text, self.n_layers = text, n_layers
        self.word, self.calls = "", 0  # the step being read, the calls so far

    def error(self, problem: str, at: str | None = None) -> PlanError:
        piece = self.word if at is None else at
        return PlanError(f"plan {quote(self.text)}: {quote(piece, 40)} {problem}")

    def steps(self) -> Iterator[Read]:
        if not self.text.strip():
            raise PlanError(f"plan {quote(self.text)} is empty; name at least one layer")
        if foreign := _FOREIGN.search(self.text):
            hint = _SEPARATORS if foreign[0] in ",;" else _SIGNS
            raise self.error(f"is not part of the notation; {hint}", at=foreign[0])
        self.check_parentheses()
        for word in _WORD.findall(self.text):
            self.word = word
            # A layer by itself is what most of a long plan consists of.
            if word.isdecimal() and word.isascii() and _whole(word) < self.n_layers:
                self.count(1)
                yield Read(((_whole(word), None),), None)
            else:
                yield from self.step()

    def check_parentheses(self) -> None:
        unmatched = re.sub(r"\([^()]*\)", lambda group: "." * len(group[0]), self.text)
        if stray := re.search(r"[()]", unmatched):
            before, after = self.text[: stray.end()], self.text[stray.start() :]
            if stray[0] == ")":
                raise self.error("closes no group; a group is '(9|10)'", at=before.split()[-1])
            if ")" in unmatched[stray.end() :]:
                raise self.error("has a group inside a group; groups do not nest", at=after)
            raise self.error("is a group without an end; add ')'", at=after)

    def step(self) -> list[Read]:
        match = _STEP.fullmatch(self.word)
        if not match:
            if late := _TIMES_FIRST.fullmatch(self.word):
                body, times, scale = late.groups()
                raise self.error(
                    f"has times before scale; write {quote(f'{body}@{scale}*{times}')}"
                )
            raise self.error(f"is not a step; {_FORM}")
        body, grouped = match[1], match[1].startswith("(")
        parts = body[1:-1].split("|") if grouped else [body]
        spans = [self.span(part.strip()) for part in parts]
        scale, times = self.scale(match[2]), self.times(match[3])
        count = sum(len(layers) for layers, _ in spans)
        if times > 1 and count > 1 and not grouped:
            raise self.error(self.both_readings(spans[0][0], times))
        self.count(count * times)
        members = [(layer, half) for layers, half in spans for layer in layers]
        if grouped:
            return [Read(tuple(members), scale)] * times
        return [Read((member,), scale) for member in members] * times

    def count(self, calls: int) -> None:
        self.calls += calls
        if self.calls > MAX_CALLS:
            raise self.error(f"brings too many layer calls; {AT_MOST}")

    def span(self, part: str) -> tuple[range, Half | None]:
        """The layers of `5`, `5-9` or `9-5`, and the half; a range is not yet expanded."""
        match = _LAYERS.fullmatch(part)
        if not match:
            raise self.error(self.what_is_wrong(part))
        ends = match[1], match[2] or match[1]
        first, last = map(_whole, ends)
        if max(first, last) >= self.n_layers:
            asked = shorten(max(ends, key=_whole).lstrip("0"), 12)
            raise self.error(f"asks for layer {asked}; {allowed(self.n_layers)}")
        stride = 1 if first <= last else -1
        return range(first, last + stride, stride), _HALVES[match[3]]

    def what_is_wrong(self, part: str) -> str:
        """Why a part is no layer or range; it can hold spaces only inside a group."""
        words = part.split()
        if len(words) > 1 and all(map(_LAYERS.fullmatch, words)):
            together, apart = quote(f"({'|'.join(words)})"), quote(" ".join(words))
            return f"has a space in a group; write {together} for parallel layers, else {apart}"
        if not part:
            return "lacks a layer; a group is written '(9|10)' or '(9-20)'"
        if "|" in part:
            return "has '|' outside a group; a group is written '(9|10)'"
        if "." in part:
            return "has a bad suffix; halves are written '5.attn', '5.mlp' or '5-9.mlp'"
        return f"is not a step; {_FORM}"

    def both_readings(self, layers: range, times: int) -> str:
        """Why `13-14*2` is refused; readings that go on end in dots."""
        once, tail = self.word.partition("*")[0], self.word.lstrip("0123456789-")
        whole = f"{once} {once}" + (" ..." if times > 2 else "")
        each = f"{layers[0]}{tail} {layers[1]}{tail}" + (" ..." if len(layers) > 2 else "")
        return f"is ambiguous; write {quote(whole)} or {quote(each)}"

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
