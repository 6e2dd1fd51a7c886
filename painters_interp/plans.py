"""A plan says which layers run, in which order and grouping: an immutable value with a text form.

    plan  = step { space step }            step  = body ["@" scale] ["*" times]
    body  = layer | layer "-" layer | "(" part {"|" part} ")"
    part  = layer | layer "-" layer        layer = digits [".attn" | ".mlp"]
    scale = "sum" | decimal                times = digits, at least 1

Values are brought to normal form when they are made, so two plans over the same number of
layers are equal exactly when their texts are.
"""

import math
import operator
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from .errors import PlanError

Half = Literal["attn", "mlp"]

MAX_CALLS = 100_000

_SCALES = "a scale is 'sum' or a finite number other than 0"
_AT_MOST = f"a plan makes at most {MAX_CALLS:,}"


@dataclass(frozen=True)
class Call:
    """One call of one layer, counted from 0, or of one half of it; prints as `5` or `5.attn`."""

    layer: int
    half: Half | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", operator.index(self.layer))
        if self.layer < 0:
            raise PlanError(f"layer {self.layer} does not exist; layers count from 0")
        if self.half not in (None, "attn", "mlp"):
            raise PlanError(f"a layer has no half {self.half!r}; 'attn' and 'mlp' exist")

    def __lt__(self, other: "Call") -> bool:
        """Whole layers come first, then halves of one kind together, so that `5-9.mlp` prints."""
        return (self.half or "", self.layer) < (other.half or "", other.layer)

    def __str__(self) -> str:
        return f"{self.layer}.{self.half}" if self.half else str(self.layer)


@dataclass(frozen=True)
class Step:
    """Layers that read the same residual stream: h becomes h + scale * sum_i (block_i(h) - h).

    Members are kept sorted, duplicates included. Raises PlanError if there are none, or if
    the scale is zero or not finite.
    """

    calls: tuple[Call, ...]
    scale: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "calls", tuple(sorted(self.calls)))
        object.__setattr__(self, "scale", float(self.scale))
        if not self.calls:
            raise PlanError("a step without layers does nothing; leave it out")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise PlanError(f"a step cannot be scaled by {self.scale}; {_SCALES}")

    @classmethod
    def of(cls, *members: int | Call, scale: float | None = None) -> "Step":
        """`Step.of(5)` is layer 5, `Step.of(9, 10)` averages two layers, `scale=1.0` sums them."""
        calls = tuple(m if isinstance(m, Call) else Call(m) for m in members)
        return cls(calls, 1 / max(len(calls), 1) if scale is None else scale)

    @property
    def scale_text(self) -> str:
        """How the scale is written: nothing for the mean, `@sum` for the sum, else `@` and repr."""
        if self.scale == 1 / len(self.calls):
            return ""
        return "@sum" if self.scale == 1 else f"@{self.scale!r}"

    def __str__(self) -> str:
        if len(self.calls) == 1:
            return f"{self.calls[0]}{self.scale_text}"
        runs = _runs([(call.layer, call.half) for call in self.calls])
        parts = [_range_text(self.calls[start], self.calls[stop - 1]) for start, stop in runs]
        return f"({'|'.join(parts)}){self.scale_text}"


@dataclass(frozen=True, repr=False)
class Plan:
    """The steps to run, in order, over a model of n_layers; `str` gives the canonical text.

    Raises PlanError if there is no step, if a layer does not exist, or above 100,000 calls.
    """

    steps: tuple[Step, ...]
    n_layers: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "n_layers", check_n_layers(self.n_layers))
        if not self.steps:
            raise PlanError("a plan without steps runs nothing; name at least one layer")
        if sum(len(step.calls) for step in self.steps) > MAX_CALLS:
            raise PlanError(f"the plan makes too many layer calls; {_AT_MOST}")
        if (highest := max(self.layer_calls)) >= self.n_layers:
            raise PlanError(
                f"plan {_quote(str(self))} asks for layer {highest}; {_allowed(self.n_layers)}"
            )

    @classmethod
    def parse(cls, text: str, n_layers: int) -> "Plan":
        """Read a plan such as `0-8 (9-20)*3 21-29`. Raises PlanError, which says what would fit."""
        return cls(tuple(_Reader(text, check_n_layers(n_layers)).steps()), n_layers)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every layer call in order, one per slot."""
        return tuple(call for step in self.steps for call in step.calls)

    @property
    def layer_calls(self) -> tuple[int, ...]:
        """The layer index of every call in order, one per slot."""
        return tuple(call.layer for call in self.calls)

    @property
    def depth(self) -> int:
        """The number of steps; a group counts once."""
        return len(self.steps)

    def describe(self) -> str:
        """Say the plan in words, with the number of calls and the layers never called."""
        phrases = "; then ".join(_in_words(*chunk) for chunk in _chunks(self.steps))
        called = set(self.layer_calls)
        missing = [layer for layer in range(self.n_layers) if layer not in called]
        return (
            f"{phrases}: {_count(len(self.calls), 'layer call')} in {_count(self.depth, 'step')}, "
            f"{_count(self.n_layers, 'layer')}; "
            + (f"never called: {_list_in_words(missing)}" if missing else "every layer called")
        )

    def __str__(self) -> str:
        return " ".join(_chunk_text(*chunk) for chunk in _chunks(self.steps))

    def __repr__(self) -> str:
        return f"Plan.parse({str(self)!r}, n_layers={self.n_layers})"


def shared_calls(plans: Iterable[Plan]) -> int:
    """Layer calls needed to run plans of one model when equal beginnings are computed once."""
    nodes: dict[tuple[int, Step], int] = {}  # (parent, step) -> node of the prefix tree; 0 is root
    calls = 0
    for plan in plans:
        node = 0
        for step in plan.steps:
            if (node, step) not in nodes:
                nodes[node, step] = len(nodes) + 1
                calls += len(step.calls)
            node = nodes[node, step]
    return calls


def check_n_layers(n_layers: int) -> int:
    """Return n_layers as an int; PlanError unless a plan can call each of them once."""
    if not 1 <= n_layers <= MAX_CALLS:
        raise PlanError(f"n_layers={n_layers} is not a number of layers; 1..{MAX_CALLS:,} fits")
    return operator.index(n_layers)


# Printing


def _runs(items: Sequence[tuple[int, Hashable]]) -> Iterator[tuple[int, int]]:
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


def _chunks(steps: Sequence[Step]) -> Iterator[tuple[Step, Step, int]]:
    """Cut steps as they are printed: (first, last, times); first == last unless it is a range."""
    folded = [(step, sum(1 for _ in equal)) for step, equal in groupby(steps)]
    items: list[tuple[int, Hashable]] = []
    for index, (step, times) in enumerate(folded):
        call = step.calls[0]
        plain = len(step.calls) == times == 1
        # The index as kind: no neighbour has it, so groups and repeats never join a range.
        items.append((call.layer, (call.half, step.scale) if plain else index))
    for start, stop in _runs(items):
        yield folded[start][0], folded[stop - 1][0], folded[start][1]


def _chunk_text(first: Step, last: Step, times: int) -> str:
    if first != last:
        return _range_text(first.calls[0], last.calls[0]) + first.scale_text
    return str(first) if times == 1 else f"{first}*{times}"


def _range_text(first: Call, last: Call) -> str:
    return str(first) if first == last else f"{first.layer}-{last}"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 2]}...{text[-width // 3 :]}"


def _quote(text: str, width: int = 120) -> str:
    """Quote on one line; long text loses its middle."""
    return repr(_shorten(" ".join(text.split()), width))


def _allowed(n_layers: int) -> str:
    return f"n_layers={n_layers} allows 0..{n_layers - 1}"


# Saying a plan in words

_OWNER = {None: "", "attn": "attention of ", "mlp": "MLP of "}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list_in_words(layers: Sequence[int]) -> str:
    """`9 to 20`, `13 and 15`, `0, 1 and 5 to 9`."""
    ends = [(layers[start], layers[stop - 1]) for start, stop in _runs([(i, 0) for i in layers])]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in ends]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _in_words(first: Step, last: Step, times: int) -> str:
    """One chunk of the printed plan: `layers 9 to 20 in parallel, averaged, twice`."""
    if first != last:
        (a, b), owner = (first.calls[0].layer, last.calls[0].layer), _OWNER[first.calls[0].half]
        what = f"{owner}layers {a} {f'to {b} in order' if a < b else f'down to {b}'}"
    else:
        members = groupby(first.calls, key=lambda call: call.half)
        layers = [(_OWNER[half], [call.layer for call in calls]) for half, calls in members]
        what = " and ".join(
            f"{owner}layer{'' if len(found) == 1 else 's'} {_list_in_words(found)}"
            for owner, found in layers
        )
    if len(first.calls) > 1:
        combined = {"": "averaged", "@sum": "updates summed"}
        how = combined.get(first.scale_text, f"updates summed and scaled by {first.scale!r}")
        what += f" in parallel, {how}"
    elif first.scale != 1:
        what += f", update scaled by {first.scale!r}"
    return what + {1: "", 2: ", twice", 3: ", three times"}.get(times, f", {times:,} times")


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


class _Reader:
    """Reads one text; bounds are checked before a range or a repeat is expanded."""

    def __init__(self, text: str, n_layers: int) -> None:
        self.text, self.n_layers = text, n_layers
        self.word, self.calls = "", 0  # the step being read, the calls so far

    def error(self, problem: str, at: str | None = None) -> PlanError:
        piece = self.word if at is None else at
        return PlanError(f"plan {_quote(self.text)}: {_quote(piece, 40)} {problem}")

    def steps(self) -> Iterator[Step]:
        if not self.text.strip():
            raise PlanError(f"plan {_quote(self.text)} is empty; name at least one layer")
        if foreign := _FOREIGN.search(self.text):
            hint = _SEPARATORS if foreign[0] in ",;" else _SIGNS
            raise self.error(f"is not part of the notation; {hint}", at=foreign[0])
        self.check_parentheses()
        for word in _WORD.findall(self.text):
            self.word = word
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

    def step(self) -> list[Step]:
        match = _STEP.fullmatch(self.word)
        if not match:
            if late := _TIMES_FIRST.fullmatch(self.word):
                body, times, scale = late.groups()
                raise self.error(
                    f"has times before scale; write {_quote(f'{body}@{scale}*{times}')}"
                )
            raise self.error(f"is not a step; {_FORM}")
        body, grouped = match[1], match[1].startswith("(")
        parts = body[1:-1].split("|") if grouped else [body]
        spans = [self.span(part.strip()) for part in parts]
        scale, times = self.scale(match[2]), self.times(match[3])
        count = sum(len(layers) for layers, _ in spans)
        if times > 1 and count > 1 and not grouped:
            raise self.error(self.both_readings(spans[0][0], times))
        self.calls += count * times
        if self.calls > MAX_CALLS:
            raise self.error(f"brings too many layer calls; {_AT_MOST}")
        members = [Call(layer, half) for layers, half in spans for layer in layers]
        if grouped:
            return [Step.of(*members, scale=scale)] * times
        return [Step.of(member, scale=scale) for member in members] * times

    def span(self, part: str) -> tuple[range, Half | None]:
        """The layers of `5`, `5-9` or `9-5`, and the half; a range is not yet expanded."""
        match = _LAYERS.fullmatch(part)
        if not match:
            raise self.error(self.what_is_wrong(part))
        ends = match[1], match[2] or match[1]
        first, last = map(_whole, ends)
        if max(first, last) >= self.n_layers:
            asked = _shorten(max(ends, key=_whole).lstrip("0"), 12)
            raise self.error(f"asks for layer {asked}; {_allowed(self.n_layers)}")
        stride = 1 if first <= last else -1
        return range(first, last + stride, stride), _HALVES[match[3]]

    def what_is_wrong(self, part: str) -> str:
        """Why a part is no layer or range; it can hold spaces only inside a group."""
        words = part.split()
        if len(words) > 1 and all(map(_LAYERS.fullmatch, words)):
            together, apart = _quote(f"({'|'.join(words)})"), _quote(" ".join(words))
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
        return f"is ambiguous; write {_quote(whole)} or {_quote(each)}"

    def scale(self, text: str | None) -> float | None:
        if text is None or text == "sum":
            return 1.0 if text else None
        scale = float(text) if _DECIMAL.fullmatch(text) else math.nan
        if not math.isfinite(scale) or scale == 0:
            raise self.error(f"has a bad scale; {_SCALES}")
        return scale

    def times(self, text: str | None) -> int:
        times = "1" if text is None else text
        if not re.fullmatch("[0-9]+", times) or _whole(times) < 1:
            raise self.error("has a bad count; '*' takes a whole number, at least 1")
        return _whole(times)
