"""What patches are made on: prompts in tokens, positions in them, answers to look for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PatchError, UnsupportedModelError
from ..execution import ready

Text = str | Sequence[int] | Tensor
"""One prompt: a text, or its token ids."""

Answer = str | int
"""A single token: its text, which often begins with a space, or its id."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A text in the tokens of one model; `pieces` are the texts of its tokens."""

    tokens: Int[Tensor, "1 pos"]
    pieces: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pieces)

    def __str__(self) -> str:
        text = "".join(self.pieces)
        return repr(text if len(text) <= 40 else f"{text[:37]}...")

    def at(self, position: int) -> int:
        """`position` counted from 0; PatchError if the prompt has no such token."""
        if not -len(self) <= position < len(self):
            raise PatchError(
                f"position {position} is outside the prompt {self}, which has {len(self)} tokens; "
                f"{-len(self)}..{len(self) - 1} fits"
            )
        return position % len(self)

    def places(self, positions: Sequence[int] | None) -> list[int]:
        """Positions counted from 0 (None: all of them), each named once."""
        if positions is None:
            return list(range(len(self)))
        found = [self.at(position) for position in positions]
        if not found or len(set(found)) < len(found):
            raise PatchError(f"positions {[*positions]}: name at least one, and each one once")
        return found


def prompt(model: TransformerBridge, text: Text) -> Prompt:
    """`text` as the tokenizer of `model` makes it by default; token ids are taken as they are.

    Raises PatchError for a prompt without tokens, or with more than the context holds.
    """
    if isinstance(text, str):
        ids = list(model.tokenizer(text, verbose=False)["input_ids"])
    else:
        ids = torch.as_tensor(text).flatten().tolist()
    context = int(model.cfg.n_ctx)
    if not 0 < len(ids) <= context:
        raise PatchError(
            f"the prompt {str(text)[:40]!r} has {len(ids)} tokens; 1 to {context} fit this model"
        )
    device = next(model.original_model.parameters()).device
    pieces = tuple(model.tokenizer.decode([i]) for i in ids)
    return Prompt(torch.tensor([ids], device=device), pieces)


def prompts(model: TransformerBridge, texts: Text | Sequence[Text]) -> list[Prompt]:
    """One prompt or several, as a list. Raises PatchError for none."""
    several: list[Any] = [texts] if one(texts) else list(texts)
    if not several:
        raise PatchError("no prompts; give a text, or a list of at least one")
    return [prompt(model, text) for text in several]


def one(texts: Any) -> bool:
    """Whether this is one prompt: a text, or a row of token ids."""
    if isinstance(texts, Tensor):
        return texts.ndim == 1 or len(texts) == 1
    return isinstance(texts, str) or (len(texts) > 0 and isinstance(texts[0], int))


def answer_ids(model: TransformerBridge, answers: Any) -> tuple[int, ...]:
    """Ids of an answer, or of a (right, wrong) pair; PatchError unless each is a single token."""
    given = (answers,) if isinstance(answers, (str, int)) else tuple(answers)
    return tuple(_answer_id(model, answer) for answer in given)


def _answer_id(model: TransformerBridge, answer: Answer) -> int:
    if isinstance(answer, str):
        ids = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = [model.tokenizer.decode([i]) for i in ids]
            raise PatchError(
                f"answer {answer!r} is {len(ids)} tokens {pieces}; give a single token "
                "(most words are one only with a space in front) or a token id"
            )
        return int(ids[0])
    if not 0 <= answer < model.cfg.d_vocab:
        raise PatchError(f"answer {answer} is no token id; 0..{model.cfg.d_vocab - 1} fits")
    return answer


def state_list(states: Sequence[int] | None, depth: int, default: range) -> list[int]:
    """States to patch; PatchError for one that a run of `depth` steps does not have."""
    chosen = list(default if states is None else states)
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
            f"{model.cfg.model_name} is a masked language model: it has no next-token "
            "probabilities to measure a patch by; give a causal model"
        )
