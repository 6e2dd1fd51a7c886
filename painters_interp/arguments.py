"""What callers hand over, brought into the form that a function works with."""

from typing import Any


def several(value: Any, *kinds: type) -> list[Any]:
    """`value` as a list: one value of `kinds` (a text, unless told) where a list of them is meant.

    Example:
        >>> several("cola"), several(["cola", "sst2"])
        (['cola'], ['cola', 'sst2'])
    """
    return [value] if isinstance(value, kinds or (str,)) else list(value)
