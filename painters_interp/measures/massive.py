"""Massive activations: the few entries of a stream that outweigh all others, and who carries them.

Sun et al., arXiv 2402.17762: entries a thousand times larger than the median magnitude of the
state, at a few dimensions of a few tokens, often the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RATIO = 1000.0
_ENTRIES = 8192  # of a document's state, for its median


@dataclass
class _Carrier:
    """What is known of one dimension of one state."""

    tokens: int = 0
    first: int = 0
    largest: float = 0.0
    ratio: float = 0.0
    text: int = 0
    position: int = 0
    token: int = 0


class Massive:
    """An accumulator over texts, of every real token, whether measures count it or not.

    A state whose median is zero has no size that anything could be massive against.
    """

    def __init__(self) -> None:
        self._carriers: dict[tuple[int, int], _Carrier] = {}

    def update(
        self,
        states: Float[Tensor, "state pos d_model"],
        mask: Int[Tensor, " pos"],
        tokens: Int[Tensor, " pos"],
        text: int,
        found: Bool[Tensor, "state pos"] | None = None,
    ) -> Bool[Tensor, " pos"]:
        """Take in one text; return which tokens carry a massive activation in any state.

        `found` is what `massive_tokens` finds in it, where that came home with a whole batch.
        """
        found = massive_tokens(states, mask).to(mask.device) if found is None else found
        if len(where := torch.nonzero(found)):
            carrying = sorted({state for state, _ in where.tolist()})
            medians = _medians(states[carrying], mask).tolist()
            self._note(states, dict(zip(carrying, medians, strict=True)), tokens, text, where)
        return found.any(0)

    def _note(
        self,
        states: Float[Tensor, "state pos d_model"],
        medians: Mapping[int, float],
        tokens: Int[Tensor, " pos"],
        text: int,
        where: Int[Tensor, "found 2"],
    ) -> None:
        for state, pos in where.tolist():
            median = medians[state]
            entries = states[state, pos].cpu()
            for dimension in torch.nonzero(entries.abs() > RATIO * median).flatten().tolist():
                carrier = self._carriers.setdefault((state, dimension), _Carrier())
                value = float(entries[dimension])
                carrier.tokens += 1
                carrier.first += pos == 0
                if abs(value) > abs(carrier.largest):
                    carrier.largest, carrier.ratio = value, abs(value) / median
                    carrier.text, carrier.position, carrier.token = text, pos, int(tokens[pos])

    @property
    def dimensions(self) -> list[int]:
        """The dimensions that carry one in any state."""
        return sorted({dimension for _, dimension in self._carriers})

    def table(self) -> pd.DataFrame:
        """One row per state and dimension that carries massive activations.

        `tokens` that carry one there, `first` of them at the beginning of a text; the largest
        `value`, its `ratio` to the median of its state, and where it is: `text`, `position`,
        `token` (an id).
        """
        rows = [
            {
                "state": state,
                "dimension": dimension,
                "tokens": c.tokens,
                "first": c.first,
                "value": c.largest,
                "ratio": c.ratio,
                "text": c.text,
                "position": c.position,
                "token": c.token,
            }
            for (state, dimension), c in sorted(self._carriers.items())
        ]
        columns = ["state", "dimension", "tokens", "first", "value", "ratio", "text", "position"]
        return pd.DataFrame(rows, columns=[*columns, "token"])


def massive_tokens(
    states: Float[Tensor, "state pos d_model"], mask: Int[Tensor, " pos"]
) -> Bool[Tensor, "state pos"]:
    """Which real tokens carry a massive activation in which state; found where the streams are.

    Args:
        states: One text's residual stream, shape (state, pos, d_model).
        mask: 1 at its real tokens, shape (pos,).

    Returns:
        Truths, shape (state, pos).

    Example:
        >>> states = torch.ones(2, 3, 4)
        >>> states[1, 0, 2] = 5000
        >>> massive_tokens(states, torch.ones(3, dtype=torch.long)).tolist()
        [[False, False, False], [True, False, False]]
    """
    medians = _medians(states, mask)
    peaks = states.abs().amax(-1).masked_fill(~mask.bool().to(states.device), 0)
    return (peaks > RATIO * medians[:, None]) & (medians > 0)[:, None]


def _medians(
    states: Float[Tensor, "state pos d_model"], mask: Int[Tensor, " pos"]
) -> Float[Tensor, " state"]:
    """Median magnitude of the real tokens in each state, from a spread of their entries."""
    entries = states.index_select(1, torch.nonzero(mask).flatten().to(states.device)).flatten(1)
    step = entries.shape[1] // _ENTRIES | 1  # odd, so that it does not keep to a few dimensions
    return entries[:, ::step].abs().float().median(-1).values.to(states.dtype)
