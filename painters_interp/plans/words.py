"""Plans said in words."""

from collections.abc import Sequence
from itertools import groupby

from .notation import PrintableStep, runs

_OWNER = {None: "", "attn": "attention of ", "mlp": "MLP of "}


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def list_in_words(layers: Sequence[int]) -> str:
    """`9 to 20`, `13 and 15`, `0, 1 and 5 to 9`."""
    ends = [(layers[start], layers[stop - 1]) for start, stop in runs([(i, 0) for i in layers])]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in ends]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def in_words(first: PrintableStep, last: PrintableStep, times: int) -> str:
    """One chunk of the printed plan: `layers 9 to 20 in parallel, averaged, twice`."""
    if first != last:
        (a, b), owner = (first.calls[0].layer, last.calls[0].layer), _OWNER[first.calls[0].half]
        what = f"{owner}layers {a} {f'to {b} in order' if a < b else f'down to {b}'}"
    else:
        members = groupby(first.calls, key=lambda call: call.half)
        layers = [(_OWNER[half], [call.layer for call in calls]) for half, calls in members]
        what = " and ".join(
            f"{owner}layer{'' if len(found) == 1 else 's'} {list_in_words(found)}"
            for owner, found in layers
        )
    if len(first.calls) > 1:
        combined = {"": "averaged", "@sum": "updates summed"}
        how = combined.get(first.scale_text, f"updates summed and scaled by {first.scale!r}")
        what += f" in parallel, {how}"
    elif first.scale != 1:
        what += f", update scaled by {first.scale!r}"
    return what + {1: "", 2: ", twice", 3: ", three times"}.get(times, f", {times:,} times")
