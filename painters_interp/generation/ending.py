"""Where a text ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# A character has at most four bytes, and a token that shows has at least one.
_BYTES = 4
_SPARE = 16


@dataclass(frozen=True)
class Ending:
    """At most `new` tokens, a token of `eos`, or one of the strings `stop`.

    A string may be the name of a special token, or have one in it, though no text shows these.
    """

    new: int
    stop: tuple[str, ...] = ()
    eos: tuple[int, ...] = ()

    def reached(self, tokens: Sequence[int], tokenizer: Any) -> bool:
        """Whether a text ends with the last of its `tokens`, other than by their number."""
        if tokens[-1] in self.eos:
            return True
        if not self.stop:
            return False
        tail = tokens[-(_BYTES * max(map(len, self.stop)) + _SPARE) :]
        return self._stops(tail, tokenizer)

    def text(self, tokens: Sequence[int], tokenizer: Any) -> tuple[str, bool]:
        """The text up to its end, and whether it came to one other than by its number."""
        text: str = tokenizer.decode(tokens, skip_special_tokens=True)
        ended = tokens[-1] in self.eos or self._stops(tokens, tokenizer)
        for string in self.stop:
            text = text.split(string)[0]
        return text, ended

    def _stops(self, tokens: Sequence[int], tokenizer: Any) -> bool:
        shown = (tokenizer.decode(tokens, skip_special_tokens=skip) for skip in (True, False))
        return any(string in text for text in shown for string in self.stop)
