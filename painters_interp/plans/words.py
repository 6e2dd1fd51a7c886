"""Plans said in words."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from .notation import Printable, chunks, runs

_OWNER = {None: "", "attn": "attention of ", "mlp": "MLP of "}


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def list_in_words(layers: Sequence[int]) -> str:
    """`9 to 20`, `13 and 15`, `0, 1 and 5 to 9`."""
    ends = [(layers[start], layers[stop - 1]) for start, stop in runs([(i, 0) for i in layers])]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in ends]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def in_words(steps: Sequence[Printable]) -> str:
    """`layers 0 to 8 in order; then layers 9 to 20 in parallel, averaged, twice`."""
    return "; then ".join(_chunk_in_words(*chunk) for chunk in chunks(steps))


def _chunk_in_words(first: Printable, last: Printable, times: int) -> str:
    if first != last:
        (a, b), owner = (first.branches[0].layer, last.branches[0].layer), _owner(first)
        what = f"{owner}layers {a} {f'to {b} in order' if a < b else f'down to {b}'}"
    else:
        what = " and ".join(_branches_in_words(first.branches))
    if len(first.branches) > 1:
        combined = {"": "averaged", "@sum": "updates summed"}
        how = combined.get(first.scale_text, f"updates summed and scaled by {first.scale!r}")
        what += f" in parallel, {how}"
    elif first.scale != 1:
        what += f", update scaled by {first.scale!r}"
    return what + {1: "", 2: ", twice", 3: ", three times"}.get(times, f", {times:,} times")


def _owner(step: Printable) -> str:
    return _OWNER[step.branches[0].half]


def _branches_in_words(branches: Sequence[Any]) -> list[str]:
    """Layers by their halves, then each series in brackets, as it is written."""
    calls = [branch for branch in branches if hasattr(branch, "layer")]
    words = []
    for half, members in groupby(calls, key=lambda call: call.half):
        layers = [call.layer for call in members]
        plural = "" if len(layers) == 1 else "s"
        words.append(f"{_OWNER[half]}layer{plural} {list_in_words(layers)}")
    return words + [f"the series [{in_words(series.steps)}]" for series in branches[len(calls) :]]
