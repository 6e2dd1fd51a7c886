"""Until which depth later tokens need one: its state is exchanged for a mean (arXiv 2505.13898)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..execution import Predicted, after_step, head, measuring, ready, record
from ..measures import Curve
from ..models import Model, as_model, numbers
from ..notices import say_nan
from ..progress import progress
from ..strategies import full
from ..streams import see_states
from ..texts import Batch, Texts, as_texts, batched, in_pieces
from .corpus_lens import head_share, in_parts
from .prompts import refuse_masked

_TOKENS_AT_ONCE = {"cpu": 512, "cuda": 2048}

_Rows = Float[Tensor, "token d_model"]


@torch.no_grad()
def erasure(model: Model, texts: Texts) -> Curve:
    """How far later answers move when one token's state says nothing any more, over states.

    The token is the one in the middle of each text (of each piece of a text longer than the
    context). At one state after the other its stream is exchanged for the mean of that state over
    the tokens of all texts, first ones left out: layers before have read it, those behind read
    the mean. The KL from the intact model's answers to those found so (nats) is averaged over the
    tokens behind it, then over texts. Erased at the last state it is read no more: 0.

    Args:
        model: a decoder; hooks on its layers act.
        texts: one string or any number of them.

    Returns:
        A curve over states, `erasure`, with its values per text.

    Raises:
        UnsupportedModelError: a masked language model, or hooks behind the last layer.
        TextError: texts that cannot be read.

    Example:
        >>> curve = painters.patching.erasure(model, texts).curve
        >>> bool(curve.iloc[0] > 0), float(curve.iloc[-1])
        (True, 0.0)
    """
    model = as_model(model)
    refuse_masked(model)
    ready(model)
    texts = as_texts(texts)
    pieces, owners = in_pieces(model, texts)
    batches = batched(model, pieces, _TOKENS_AT_ONCE)
    sums, counts = np.zeros((len(texts), len(model.blocks) + 1)), np.zeros((len(texts), 1))
    total = erasure_calls(model, texts)
    with measuring(model), progress("erasure", total) as advance:
        means = _means(model, batches)
        for batch in batches:
            later = [length - 1 - _erased(length) for length in batch.lengths]
            documents = batch.documents(owners, later)
            found = _apart(model, batch, means)
            np.add.at(sums, documents, numbers(found).T)
            np.add.at(counts, documents, 1)
            advance(round(total * sum(batch.lengths) / sum(map(len, pieces))))
    say_nan("erasure", int(np.isnan(sums).any(axis=1).sum()), len(texts), "texts")
    everyone = tuple(range(len(texts)))
    return Curve(sums / counts, everyone, "state", "erasure")


def erasure_calls(model: Model, texts: Texts) -> int:
    """What `erasure` takes: reading twice, the layers behind each state, and their heads.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.

    Returns:
        Token-layer calls.

    Raises:
        TextError: texts that cannot be read.

    Example:
        >>> erasure_calls(model, texts) > 0
        True
    """
    model = as_model(model)
    pieces, _ = in_pieces(model, as_texts(texts))
    n = len(model.blocks)
    return int(sum(map(len, pieces)) * (2 * n + n * (n + 1) // 2 + (n + 1) * head_share(model) / 2))


def _erased(length: int) -> int:
    """The token that is erased, of so many."""
    return (length - 1) // 2


def _means(model: TransformerBridge, batches: list[Batch]) -> Float[Tensor, "state d_model"]:
    """The mean of every state over all tokens but the first ones."""
    sums = np.zeros((len(model.blocks) + 1, int(model.cfg.d_model)))
    for batch in batches:
        counted = batch.real(but_first=1)
        seen: list[Tensor] = []

        def keep(
            state: int, stream: Tensor, into: list[Tensor] = seen, of: Tensor = counted
        ) -> None:
            wide = torch.promote_types(stream.dtype, torch.float32)
            into.append(stream[of].to(wide).sum(dim=0))

        see_states(model, batch.tokens, batch.mask, None, keep)
        sums += numbers(torch.stack(seen))
    count = sum(length - 1 for batch in batches for length in batch.lengths)
    dtype = torch.promote_types(seen[0].dtype, torch.float32)
    return torch.from_numpy(sums / count).to(dtype).to(seen[0].device)


def _apart(
    model: TransformerBridge, batch: Batch, means: Float[Tensor, "state d_model"]
) -> Float[Tensor, "state token"]:
    """The divergence at every token behind the erased ones, for every state where they are."""
    intact, *erased = _streams(model, batch, means)
    found = []
    with head(model) as logits_of:  # in which no layer runs
        for rows in in_parts(intact, int(model.cfg.d_vocab)):
            wide = torch.promote_types(intact.dtype, torch.float32)
            answers = Predicted.by(logits_of(intact[rows]).to(wide))
            read = [answers.divergence(logits_of(each[rows]).to(wide)) for each in erased]
            # What is erased behind all layers is read by none.
            found.append(torch.stack([*read, torch.zeros_like(read[0])]))
    return torch.cat(found, dim=1)


def _streams(
    model: TransformerBridge, batch: Batch, means: Float[Tensor, "state d_model"]
) -> list[_Rows]:
    """Behind all layers, at the tokens behind the erased ones: intact, then state by state."""
    recording, blocks = record(model, batch.tokens, batch.mask), list(model.blocks)
    steps = full(len(blocks)).steps
    device = batch.tokens.device
    at = torch.tensor([_erased(length) for length in batch.lengths], device=device)
    rows, columns = (torch.arange(size, device=device) for size in batch.tokens.shape)
    later = batch.real() & (columns > at[:, None])

    def behind(stream: Tensor, first: int) -> _Rows:
        for layer in range(first, len(blocks)):
            stream = after_step(steps[layer], stream, blocks, [recording.calls[layer]])
        return stream[later]

    stream, found = recording.stream, []
    for layer, step in enumerate(steps):
        erased = stream.clone()
        erased[rows, at] = means[layer].to(stream)
        found.append(behind(erased, layer))
        stream = after_step(step, stream, blocks, [recording.calls[layer]])
    return [stream[later], *found]
