"""`painters plan`: a plan in words."""

from typing import Annotated

import typer

_MOST_LAYERS = 100_000  # as many as a plan may have calls


def plan(
    text: Annotated[
        str, typer.Argument(help="For example '0-8 (9-20)*3 21-29' or '0-9 [10-13]@0.5*2 14-29'.")
    ],
    layers: Annotated[
        int, typer.Option(min=1, max=_MOST_LAYERS, help="Number of layers of the model.")
    ] = 30,
) -> None:
    """Say a plan in words, and count its layer calls.

    Example: painters plan "0-8 (9-20)*3 21-29"
    """
    from ..plans import Plan

    value = Plan.parse(text, n_layers=layers)
    print(value)
    print(value.describe())
