"""Massive activations: the few entries of a stream that outweigh all others, and who carries them.

Sun et al., arXiv 2402.17762: entries a thousand times larger than the median magnitude of the
state, at a few dimensions of a few tokens, often the first.
"""

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
    """An accumulator over texts, of every real token, whether measures count it or not."""

    def __init__(self) -> None:
        self._carriers: dict[tuple[int, int], _Carrier] = {}

    def update(
        self,
        states: Float[Tensor, "state pos d_model"],
        mask: Int[Tensor, " pos"],
        tokens: Int[Tensor, " pos"],
        text: int,
    ) -> Bool[Tensor, " pos"]:
        """Take in one text; return which tokens carry a massive activation in any state."""
        medians = _medians(states, mask)
        peaks = states.abs().amax(-1).masked_fill(~mask.bool(), 0)
        found = peaks > RATIO * medians[:, None]
        for state, pos in torch.nonzero(found).tolist():
            entries = states[state, pos].abs()
            for dimension in torch.nonzero(entries > RATIO * medians[state]).flatten().tolist():
                carrier = self._carriers.setdefault((state, dimension), _Carrier())
                value = float(states[state, pos, dimension])
                carrier.tokens += 1
                carrier.first += pos == 0
                if abs(value) > abs(carrier.largest):
                    carrier.largest, carrier.ratio = value, abs(value) / float(medians[state])
                    carrier.text, carrier.position, carrier.token = text, pos, int(tokens[pos])
        return found.any(0)

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


def _medians(
    states: Float[Tensor, "state pos d_model"], mask: Int[Tensor, " pos"]
) -> Float[Tensor, " state"]:
    """Median magnitude of the real tokens in each state, from a spread of their entries."""
    entries = states[:, mask.bool()].flatten(1)
    step = entries.shape[1] // _ENTRIES | 1  # odd, so that it does not keep to a few dimensions
    return entries[:, ::step].abs().float().median(-1).values.to(states.dtype)
