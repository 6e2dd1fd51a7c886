"""One sentence for numbers that are not, wherever they turn up."""

import warnings

NOT_FINITE = (
    "the model computes numbers that are not finite; load it in float32, or look at the layer that "
    "writes them"
)


def say_nan(what: str, wrong: int, total: int, noun: str, why: str = NOT_FINITE) -> None:
    """Warn, if any are wrong, that `what` is NaN for so many of `total` things called `noun`."""
    if wrong:
        warnings.warn(f"{what} is NaN for {wrong} of {total} {noun}: {why}", stacklevel=3)
