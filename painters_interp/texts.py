"""From texts to padded batches of tokens: the one place that calls a tokenizer for the measures.

A string becomes what the model's tokenizer makes of it by default. `model("text")` of
TransformerLens is another reading: it prepends a beginning-of-text token even where the tokenizer
adds none (GPT-2, SmolLM2, Qwen).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .errors import TextError
from .models import device_of
from .notices import warn
from .terminal import Brief

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    # One text, or any number of them: a list, a pandas or datasets column, a generator.
    Texts: TypeAlias = str | Iterable[str]
    # Token ids, (batch, pos): a tensor, or rows of one length.
    TokenIds: TypeAlias = Int[Tensor, "batch pos"] | Sequence[Sequence[int]]
else:  # what is not of these types is refused here, in words
    TransformerBridge = Texts = TokenIds = Any


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Brief):
    """Right-padded sequences; `mask` is 1 on real tokens, `indices` names the sequences.

    `lengths` of the sequences are known without asking a device.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]
    indices: tuple[int, ...]
    lengths: tuple[int, ...]

    def real(self, but_first: int = 0) -> Bool[Tensor, "batch pos"]:
        """Which tokens are no padding, and not among the first so many of their row."""
        real = self.mask.bool()  # a copy
        real[:, :but_first] = False
        return real

    def documents(self, owners: Sequence[int], counts: Sequence[int]) -> Int[np.ndarray, " token"]:
        """Of so many tokens of each row, the text that each is of; see `in_pieces`."""
        return np.repeat([owners[index] for index in self.indices], counts)


def as_texts(texts: Texts) -> list[str]:
    """`texts` as a list of strings, in the order in which they are iterated; one makes one.

    Raises TextError, with its index, for a text that is missing or no string; and for what has no
    texts, none in an order of their own (sets), or others than one expects (the names of
    a table's columns).
    """
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, (Mapping, pd.DataFrame, set, frozenset, bytes)):
        raise TextError(
            f"texts are a {type(texts).__name__}; give one string, or strings in an order of their "
            'own, such as a list or one column (table["text"])'
        )
    if not isinstance(texts, Iterable):
        raise TextError(f"texts are a {type(texts).__name__}; give one string or a list of them")
    found = [_string(text, f"text {index}") for index, text in enumerate(texts)]
    if not found:
        raise TextError("texts must be a list of at least one string; there is none")
    return found


def _string(text: Any, name: str) -> str:
    """`text`, which is a string; TextError by its `name` otherwise."""
    if not isinstance(text, str):
        missing = text is None or text is pd.NA or (isinstance(text, float) and text != text)
        kind = "missing" if missing else f"a {type(text).__name__}"
        raise TextError(f"{name} is {kind} ({str(text)[:40]}); it must be a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{name} ({text[:40]!r}) has half a character at {error.start}, which no "
            "tokenizer reads; decode it from its bytes again"
        ) from error
    return str(text)


def in_pieces(
    model: TransformerBridge, texts: Sequence[str], context: int | None = None
) -> tuple[list[list[int]], list[int]]:
    """Token ids of `texts` in pieces that fit the context of `model`, and whose piece each is.

    `context` shortens the pieces further. Raises TextError as `tokenize` does, and for a token
    that the model has no embedding of.
    """
    fits = [context_of(model)] if context is None else [context_of(model), context]
    pieces, owners = tokenize(texts, _tokenizer(model), min(fits))
    known = vocabulary_of(model)
    for piece, owner in zip(pieces, owners, strict=True):
        if max(piece) >= known:
            refuse_unknown(model, piece, f"text {owner} ({texts[owner][:40]!r})")
    return pieces, owners


def context_of(model: TransformerBridge) -> int:
    """How many tokens `model` reads at once, those that its tokenizer adds included."""
    # The tokenizer knows of position embeddings that take no token, such as RoBERTa's two.
    return min(int(model.cfg.n_ctx), int(_tokenizer(model).model_max_length))


def tokenize(texts: Texts, tokenizer: Any, context: int) -> tuple[list[list[int]], list[int]]:
    """Token ids as the tokenizer makes them by default, in pieces of at most `context` tokens.

    Returns the pieces and, for each, the index of its text; a warning says how many texts came
    apart. Raises TextError as `as_texts` does, and for a text that is empty or has fewer than two
    tokens, which would leave nothing after the first.
    """
    texts = as_texts(texts)
    pieces, owners, longer = [], [], 0
    for index, text in enumerate(texts):
        ids = tokenizer(text, verbose=False)["input_ids"]  # it would warn of what is cut below
        if len(ids) < 2:
            raise TextError(
                f"text {index} ({text[:40]!r}) has {len(ids)} token(s); two or more are needed"
            )
        if not text:  # all its tokens are the tokenizer's own
            raise TextError(f"text {index} is empty; leave it out")
        longer += len(ids) > context
        for start in range(0, len(ids), context):
            # A last piece of one token would say nothing; it stays out.
            if len(piece := ids[start : start + context]) >= 2:
                pieces.append(piece)
                owners.append(index)
    if longer:
        warn(
            f"{longer} of {len(texts)} texts are longer than the context of {context} tokens; "
            "they are read in pieces, none of which sees the one before"
        )
    return pieces, owners


def ids_of(
    model: TransformerBridge, text: str, name: str = "the text", special: bool = True
) -> list[int]:
    """Token ids of one text; without `special`, none that the tokenizer adds of its own.

    Raises TextError for what is no text, and for a token that the model has no embedding of.
    """
    text = _string(text, name)
    ids = list(_tokenizer(model)(text, add_special_tokens=special, verbose=False)["input_ids"])
    refuse_unknown(model, ids, f"{name} {text[:40]!r}")
    return ids


def words_of(model: TransformerBridge, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token by itself."""
    return tuple(_tokenizer(model).decode([i]) for i in ids)


def as_tokens(
    model: TransformerBridge, tokens: TokenIds, name: str = "tokens"
) -> Int[Tensor, "batch pos"]:
    """Rows of token ids (a tensor, an array, lists) where `model` takes its tokens.

    Raises TextError for another shape, for numbers that are no ids, and for ids beyond the
    vocabulary.
    """
    try:
        ids = torch.as_tensor(tokens)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TextError(f"{name}: no rows of token ids of one length ({error})") from error
    if ids.ndim != 2:
        raise TextError(f"{name} have shape {tuple(ids.shape)}; (batch, pos) is needed")
    refuse_unknown(model, ids, name)
    return ids.to(device_of(model), torch.long)


def vocabulary_of(model: TransformerBridge) -> int:
    """How many tokens `model` has an embedding of; its tokenizer may know more."""
    try:
        return int(model.original_model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):  # an architecture that does not say
        return int(model.cfg.d_vocab)


def refuse_unknown(model: TransformerBridge, ids: Any, where: str) -> None:
    """Raise TextError for the first of `ids` that is no token of `model`, naming it and `where`."""
    found = torch.as_tensor(ids)
    if found.dtype in (torch.bool, *_NOT_WHOLE):
        raise TextError(f"{where}: token ids are whole numbers, and these are {found.dtype}")
    size = vocabulary_of(model)
    wrong = torch.nonzero((found < 0) | (found >= size))  # waits for the device, once a batch
    if not len(wrong):
        return
    *row, place = wrong[0].tolist()
    token = int(found[tuple(wrong[0].tolist())])
    named = f" ({word!r})" if (word := _named(model, token)) else ""
    raise TextError(
        f"{where}: token {token}{named} at {''.join(f'row {r}, ' for r in row)}position {place} "
        f"is none of the {size} tokens that {model.cfg.model_name} has embeddings of"
    )


_NOT_WHOLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _named(model: TransformerBridge, token: int) -> str | None:
    if model.tokenizer is None or token < 0:
        return None
    name: str | None = model.tokenizer.convert_ids_to_tokens(token)
    return name


def _tokenizer(model: TransformerBridge) -> Any:
    if model.tokenizer is None:
        raise TextError(
            f"{model.cfg.model_name} has no tokenizer to read texts with; load it with one"
        )
    return model.tokenizer


def pad_of(model: TransformerBridge) -> int:
    """The token that pads: the model's own pad token where it has one of its vocabulary, else 0.

    The mask hides it. But some encoders (RoBERTa) count positions by the tokens that are not it.
    """
    own = getattr(model.original_model.config, "pad_token_id", None)
    return own if isinstance(own, int) and 0 <= own < vocabulary_of(model) else 0


def padded(
    sequences: Sequence[Sequence[int]], indices: Sequence[int], device: torch.device, pad: int = 0
) -> Batch:
    """The sequences at `indices`, padded on the right with token `pad`, which the mask hides."""
    lengths = tuple(len(sequences[index]) for index in indices)
    tokens = torch.full((len(indices), max(lengths)), pad, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, (index, length) in enumerate(zip(indices, lengths, strict=True)):
        tokens[row, :length] = torch.tensor(sequences[index])
        mask[row, :length] = 1
    return Batch(tokens.to(device), mask.to(device), tuple(indices), lengths)


def in_order(
    sequences: Sequence[Sequence[int]], batch_size: int, device: torch.device, pad: int = 0
) -> Iterator[Batch]:
    """Batches of `batch_size` sequences in the order given. Raises TextError for none."""
    if batch_size < 1:
        raise TextError(f"batch_size={batch_size}; give 1 or more")
    for start in range(0, len(sequences), batch_size):
        stop = min(start + batch_size, len(sequences))
        yield padded(sequences, range(start, stop), device, pad)


def batched(
    model: TransformerBridge,
    sequences: Sequence[Sequence[int]],
    at_once: Mapping[str, int],
) -> list[Batch]:
    """The sequences in batches of alike lengths, on the device of the model.

    `at_once` says how many tokens a batch may have, by kind of device: "cpu", and "cuda" for all
    others.
    """
    device = device_of(model)
    room = at_once.get(device.type, at_once["cuda"])
    return list(by_length(sequences, room, device, pad_of(model)))


def by_length(
    sequences: Sequence[Sequence[int]], max_tokens: int, device: torch.device, pad: int = 0
) -> Iterator[Batch]:
    """Batches of similar length, longest first, each of at most `max_tokens` padded tokens.

    A sequence longer than that is a batch of its own.
    """
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    while order:
        size = max(1, max_tokens // len(sequences[order[0]]))
        yield padded(sequences, order[:size], device, pad)
        order = order[size:]
