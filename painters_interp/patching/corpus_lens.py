"""The logit lens over many texts: what every state would say, against what the model says."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting
from ..execution import Head, head, measuring, ready
from ..measures import Curve
from ..models import Model, as_model, numbers
from ..notices import say_nan
from ..progress import progress
from ..streams import see_states
from ..texts import Batch, Texts, as_texts, batched, in_pieces
from .prompts import refuse_masked

_TOKENS_AT_ONCE = {"cpu": 512, "cuda": 2048}
_LOGITS_AT_ONCE = 2**24  # numbers of one state
_TOP = 5
LENS = ("lens_entropy", "lens_kl", "lens_agreement", "lens_overlap", "lens_rank", "lens_frequent")

_Lens = Float[Tensor, "measure token"]


@torch.no_grad()
@counting(frequent=1)
def corpus_lens(model: Model, texts: Texts, frequent: int = 50) -> dict[str, Curve]:
    """What each state would say through the model's own final norm and head, over whole texts.

    Every token's answer is compared with the model's own at that place; means are over the tokens
    of a text, then over texts. Over states: `lens_entropy` (nats), `lens_kl` (of the model's
    answer to it, nats), `lens_agreement` (the first guess is the model's), `lens_overlap` (share
    of the five likeliest that are the model's), `lens_rank` (log10 of the place of the model's
    first guess, the first place being 1), `lens_frequent` (the first guess is one of the
    `frequent` tokens that the texts have most of). Besides `settled`, over two kinds of tokens:
    the share of depth from which the first guess stays the model's, where that is one of the
    `frequent` (place 0), and where it is another (place 1).

    Args:
        model: a decoder; hooks on its layers act.
        texts: one string or any number of them.
        frequent: how many tokens count as frequent.

    Returns:
        Curves by name, each with its values per text.

    Raises:
        UnsupportedModelError: a masked language model, or hooks behind the last layer.
        TextError: texts that cannot be read.

    Example:
        >>> curves = painters.patching.corpus_lens(model, texts)
        >>> float(curves["lens_agreement"].curve.iloc[-1])
        1.0
    """
    model = as_model(model)
    refuse_masked(model)
    ready(model)
    texts = as_texts(texts)
    pieces, owners = in_pieces(model, texts)
    common = _most_common(pieces, frequent)
    n_states = len(model.blocks) + 1
    sums, counts = np.zeros((len(LENS), len(texts), n_states)), np.zeros((len(texts), 1))
    settled, kinds = np.zeros((len(texts), 2)), np.zeros((len(texts), 2))
    total = lens_calls(model, texts)
    with measuring(model), progress("logit lens", total) as advance:
        for batch in batched(model, pieces, _TOKENS_AT_ONCE):
            seen, owner = _seen(model, batch), batch.documents(owners, batch.lengths)
            with head(model) as logits_of:  # in which no layer runs
                for rows in in_parts(seen[0], int(model.cfg.d_vocab)):
                    found, first, kind = _compared(logits_of, [s[rows] for s in seen], common)
                    documents = owner[rows]
                    np.add.at(sums.transpose(1, 0, 2), documents, numbers(found).transpose(2, 0, 1))
                    np.add.at(counts, documents, 1)
                    np.add.at(settled, (documents, kind), first)
                    np.add.at(kinds, (documents, kind), 1)
            advance(round(total * len(owner) / sum(map(len, pieces))))
    everyone = tuple(range(len(texts)))
    say_nan("the logit lens", int(np.isnan(sums).any(axis=(0, 2)).sum()), len(texts), "texts")
    found_curves = {
        name: Curve(of / counts, everyone, "state", name)
        for name, of in zip(LENS, sums, strict=True)
    }
    shares = settled / np.where(kinds == 0, np.nan, kinds)
    return found_curves | {"settled": Curve(shares, everyone, "kind", "settled")}


def lens_calls(model: Model, texts: Texts) -> int:
    """What `corpus_lens` takes: reading, and a head for every state.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.

    Returns:
        Token-layer calls.

    Raises:
        TextError: texts that cannot be read.

    Example:
        >>> lens_calls(model, texts) > 0
        True
    """
    model = as_model(model)
    pieces, _ = in_pieces(model, as_texts(texts))
    n = len(model.blocks)
    return int(sum(map(len, pieces)) * (n + (n + 1) * head_share(model)))


def head_share(model: TransformerBridge) -> float:
    """What the head takes of a token, in calls of a layer."""
    layer = sum(int(weight.numel()) for weight in model.blocks[0].parameters())
    return int(model.cfg.d_vocab) * int(model.cfg.d_model) / max(1, layer)


def _most_common(pieces: Sequence[Sequence[int]], frequent: int) -> Int[Tensor, " frequent"]:
    """The most frequent tokens; of equal ones those that come first."""
    counted = Counter(token for piece in pieces for token in piece)
    return torch.tensor([token for token, _ in counted.most_common(frequent)])


def _seen(model: TransformerBridge, batch: Batch) -> list[Float[Tensor, "token d_model"]]:
    """Every state at the real tokens of a batch."""
    real, seen = batch.real(), []

    def keep(state: int, stream: Tensor) -> None:
        seen.append(stream[real])

    see_states(model, batch.tokens, batch.mask, None, keep)
    return seen


def in_parts(rows: Tensor, vocabulary: int) -> list[slice]:
    """So many tokens at a time that the logits of one state fit."""
    size = max(1, _LOGITS_AT_ONCE // vocabulary)
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def _compared(
    logits_of: Head,
    states: Sequence[Float[Tensor, "token d_model"]],
    common: Int[Tensor, " frequent"],
) -> tuple[Float[Tensor, "measure state token"], np.ndarray, np.ndarray]:
    """All of `LENS` at some tokens; the share of depth where each settles; its kind."""
    final = _logprobs(logits_of, states[-1])
    answer = final.argmax(dim=-1)
    best = final.topk(min(_TOP, final.shape[-1]), dim=-1).indices
    common = common.to(answer.device)
    read = [_measured(_logprobs(logits_of, state), final, answer, best, common) for state in states]
    found = torch.stack(read, dim=1)
    apart = found[LENS.index("lens_agreement")] != 1
    # Behind the last state at which the first guess is another.
    places = torch.arange(1, len(states) + 1, device=apart.device)[:, None]
    first = (apart * places).amax(dim=0) / (len(states) - 1)
    first = first.double().masked_fill(found.isnan().any(dim=(0, 1)), torch.nan)
    kind = (~torch.isin(answer, common)).long()
    return found, numbers(first), kind.cpu().numpy()


def _logprobs(
    logits_of: Callable[[Tensor], Tensor], state: Float[Tensor, "token d_model"]
) -> Float[Tensor, "token vocab"]:
    logits = logits_of(state)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)


def _measured(
    found: Float[Tensor, "token vocab"],
    final: Float[Tensor, "token vocab"],
    answer: Int[Tensor, " token"],
    best: Int[Tensor, "token top"],
    common: Int[Tensor, " frequent"],
) -> _Lens:
    """`LENS` of one state."""
    guess, mine = found.argmax(dim=-1), found.topk(best.shape[-1], dim=-1).indices
    chance = final.exp()
    apart = (chance * (final - found)).masked_fill(chance == 0, 0).sum(dim=-1)
    rank = (found > found.gather(-1, answer[:, None])).sum(dim=-1)
    shared = (mine[:, :, None] == best[:, None, :]).any(dim=-1).double().mean(dim=-1)
    values: list[Tensor | Bool[Tensor, " token"]] = [
        torch.special.entr(found.exp()).sum(dim=-1),
        apart,
        guess == answer,
        shared,
        (rank + 1).double().log10(),
        torch.isin(guess, common),
    ]
    told = torch.stack([value.double() for value in values])
    return told.masked_fill(found.isnan().any(dim=-1) | final.isnan().any(dim=-1), torch.nan)
