"""What patches are made on: prompts in tokens, positions in them, answers to look for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PatchError, TextError, UnsupportedModelError
from ..execution import ready
from ..terminal import Brief
from ..texts import as_tokens, ids_of, refuse_unknown, vocabulary_of, words_of

if TYPE_CHECKING:
    # One prompt: a text, or its token ids.
    Text: TypeAlias = str | Sequence[int] | Tensor
    # A single token: its text, which often begins with a space, or its id.
    Answer: TypeAlias = str | int
else:  # what is not of these types is refused here, in words
    Text = Answer = Any


@dataclass(frozen=True, eq=False, repr=False)
class Prompt(Brief):
    """A text in the tokens of one model; `ids` are these at home, `pieces` their texts."""

    tokens: Int[Tensor, "1 pos"]
    ids: tuple[int, ...]
    pieces: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pieces)

    def __str__(self) -> str:
        text = "".join(self.pieces)
        return repr(text if len(text) <= 40 else f"{text[:37]}...")

    def at(self, position: Any) -> int:
        """`position` counted from 0; PatchError if the prompt has no such token."""
        if isinstance(position, bool) or not isinstance(position, Integral):
            raise PatchError(f"position {position!r} is no whole number")
        place = int(position)
        if not -len(self) <= place < len(self):
            raise PatchError(
                f"position {position} is outside the prompt {self}, which has {len(self)} tokens; "
                f"{-len(self)}..{len(self) - 1} fits"
            )
        return place % len(self)

    def places(self, positions: Sequence[int] | int | None) -> list[int]:
        """Positions counted from 0 (None: all of them), each named once."""
        if positions is None:
            return list(range(len(self)))
        found = [self.at(position) for position in listed(positions)]
        if not found or len(set(found)) < len(found):
            raise PatchError(f"positions {listed(positions)}: name at least one, and each one once")
        return found


def listed(value: Any) -> list[Any]:
    """Whole numbers as a list; one makes one."""
    return [value] if isinstance(value, Integral) else [*value]


def prompt(model: TransformerBridge, text: Text, name: str = "the prompt") -> Prompt:
    """`text` as the tokenizer of `model` makes it by default; token ids are taken as they are.

    Raises PatchError for a prompt without tokens, or with more than the context holds, and
    TextError for what is neither a text nor token ids of the model's vocabulary.
    """
    ids = ids_of(model, text, name) if isinstance(text, str) else _row(model, text, name)
    context = int(model.cfg.n_ctx)
    if not 0 < len(ids) <= context:
        raise PatchError(
            f"{name} {str(text)[:40]!r} has {len(ids)} tokens; 1 to {context} fit this model"
        )
    return Prompt(as_tokens(model, [ids], name), tuple(ids), words_of(model, ids))


def _row(model: TransformerBridge, ids: Any, name: str) -> list[int]:
    """Token ids given as a list, an array or a tensor of one row."""
    try:
        row = torch.as_tensor(ids)
    except (ValueError, TypeError, RuntimeError):
        row = torch.tensor(0)
    if row.ndim == 0:
        raise TextError(
            f"{name} is a {type(ids).__name__} ({str(ids)[:40]}); give a text or a row of token ids"
        )
    if row.numel() != row.shape[-1]:
        raise TextError(
            f"{name} has token ids of shape {tuple(row.shape)}; one prompt is one row of them"
        )
    refuse_unknown(model, row.reshape(1, -1), name)
    return [int(token) for token in row.flatten().tolist()]


def prompts(model: TransformerBridge, texts: Text | Iterable[Text]) -> tuple[list[Prompt], bool]:
    """One prompt or several, and whether it was one. Raises PatchError for none."""
    given: Any = texts
    numbers = isinstance(given, Tensor) or (
        isinstance(given, np.ndarray) and given.dtype.kind in "iu"
    )
    if not isinstance(given, Iterable):
        raise TextError(f"the prompt is a {type(given).__name__}; give a text or token ids")
    if not (isinstance(given, str) or numbers):
        given = [*given]  # a column goes by position, a generator once
    row = given.ndim == 1 if numbers else any(isinstance(i, Integral) for i in given[:1])
    if isinstance(given, str) or row:
        return [prompt(model, given)], True
    if not len(given):
        raise PatchError("no prompts; give a text, or a list of at least one")
    found = [prompt(model, text, f"prompt {i}") for i, text in enumerate(given)]
    return found, numbers and len(found) == 1


def answers_for(
    model: TransformerBridge, answers: Any, count: int, single: bool, noun: str = "prompts"
) -> list[tuple[int, ...]]:
    """The answer ids of each of `count` prompts; none for None. Raises PatchError."""
    if answers is None:
        return [()] * count
    if single:
        return [answer_ids(model, answers)]
    if isinstance(answers, (str, Integral)):
        raise PatchError(f"one answer for {count} {noun}; give a list, one for each")
    each = [*answers]
    if len(each) != count:
        raise PatchError(f"{len(each)} answers for {count} {noun}; give one for each")
    return [answer_ids(model, answer) for answer in each]


def answer_ids(model: TransformerBridge, answers: Any) -> tuple[int, ...]:
    """Ids of an answer, or of a (right, wrong) pair; PatchError unless each is a single token."""
    several = isinstance(answers, Iterable) and not isinstance(answers, str)
    return tuple(_answer_id(model, answer) for answer in (answers if several else (answers,)))


def _answer_id(model: TransformerBridge, answer: Any) -> int:
    if isinstance(answer, str):
        ids = ids_of(model, answer, f"answer {answer!r}", special=False)
        if len(ids) != 1:
            raise PatchError(
                f"answer {answer!r} is {len(ids)} tokens {[*words_of(model, ids)]}; give a single "
                "token (most words are one only with a space in front) or a token id"
            )
        return ids[0]
    if isinstance(answer, bool) or not isinstance(answer, Integral):
        raise PatchError(f"answer {answer!r} is neither a text nor a token id")
    known = vocabulary_of(model)
    if not 0 <= int(answer) < known:
        raise PatchError(f"answer {answer} is no token id; 0..{known - 1} fits")
    return int(answer)


def state_list(states: Sequence[int] | int | None, depth: int, default: range) -> list[int]:
    """States to patch; PatchError for one that a run of `depth` steps does not have."""
    chosen = [int(k) for k in listed(default if states is None else states)]
    for state in chosen:
        if not 0 <= state <= depth:
            raise PatchError(
                f"state {state} does not exist; 0 (the embedding output) to {depth} "
                f"(after the last of {depth} layers) fits"
            )
    if not chosen:
        raise PatchError(f"no states named; 0..{depth} fits")
    return chosen


def refuse_masked(model: TransformerBridge) -> None:
    """Raise UnsupportedModelError for a masked language model, which predicts no next token."""
    if not ready(model).causal:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is a masked language model, or bidirectional: "
            "it has no next-token "
            "probabilities to measure a patch by; give a causal model"
        )
