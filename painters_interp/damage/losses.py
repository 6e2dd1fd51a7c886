"""The loss of next tokens under plans, document by document."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from ..arguments import counting
from ..execution import face_of, measuring, record_on, refuse_bidirectional, score_targets
from ..models import Model, as_model, numbers
from ..notices import say_nan
from ..plans import Plan, shared_calls
from ..progress import progress
from ..texts import Texts, as_texts, batched, in_pieces

_TOKENS_AT_ONCE = {"cpu": 512, "cuda": 4096}


@counting(context=1)
def document_losses(
    model: Model, plans: Sequence[Plan], texts: Texts, context: int | None = None
) -> tuple[Float[np.ndarray, "document plan"], Float[np.ndarray, " document"]]:
    """Per document and plan the sum of -log p(next token) in nats, and how many are predicted.

    A text longer than the context is read in pieces, of each of which the first token is not
    predicted. All plans share one walk per batch. Hooks on the model act.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: Plans of this model.
        texts: The documents.
        context: How many tokens a piece may have; what the model holds by default.

    Returns:
        Sums in nats, shape (document, plan), and numbers of predicted tokens, shape (document,).

    Raises:
        UnsupportedModelError: a model that predicts no next token.
        TextError: texts that cannot be read.

    Example:
        >>> sums, tokens = document_losses(model, [painters.Plan.parse("0-5", 6)], texts)
        >>> sums.shape, tokens.tolist() == [len(text) for text in texts]
        ((3, 1), True)
    """
    model = as_model(model)
    refuse_bidirectional(model)
    texts = as_texts(texts)
    pieces, owners = in_pieces(model, texts, context)
    batches = batched(model, pieces, _TOKENS_AT_ONCE)
    sums, tokens = np.zeros((len(texts), len(plans))), np.zeros(len(texts))
    total = sum(batch.tokens.numel() for batch in batches) * shared_calls(plans)
    with measuring(model), progress("loss under plans", total) as advance:
        face = face_of(model, plans)
        for batch in batches:
            recording = record_on(face, model, batch.tokens, batch.mask)
            rows = [
                (row, pos) for row, length in enumerate(batch.lengths) for pos in range(length - 1)
            ]
            sources = torch.tensor(rows, device=batch.tokens.device)
            targets = batch.tokens[sources[:, 0], sources[:, 1] + 1, None]
            found = score_targets(model, plans, recording, sources, targets, advance)
            documents = [owners[batch.indices[row]] for row, _ in rows]
            np.add.at(sums, documents, -numbers(found.logprobs[..., 0]).T)
            np.add.at(tokens, documents, 1)
    for plan, lost in zip(plans, np.isnan(sums).sum(axis=0), strict=True):
        say_nan(f"loss of plan {str(plan)!r}", int(lost), len(sums), "texts")
    return sums, tokens
