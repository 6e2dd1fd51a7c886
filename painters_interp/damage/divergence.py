"""How far a plan moves a model's predictions: KL(intact || plan), at every token of some texts.

Unlike a task's score it needs no answers and is defined at every position, so that a few documents
tell hundreds of plans apart.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from .. import statistics
from ..arguments import counting
from ..execution import as_plan, divergences, face_of, measuring, ready, record_on
from ..models import Model, as_model, numbers, of_planned, refuse_headless
from ..models.fingerprint import model_columns
from ..notices import say_nan
from ..plans import Plan, shared_calls
from ..progress import progress
from ..tables import Results, labelled
from ..tables.labels import Plans, labels_for
from ..texts import Batch, Texts, as_texts, batched, in_pieces

_TOKENS_AT_ONCE = {"cpu": 512, "cuda": 4096}
_OWN = ("kl", "kl_stderr", "kl_low", "kl_high", "n_documents", "n_tokens")


@of_planned
@counting(seed=0)
def kl_to_intact(model: Model, plans: Plans, texts: Texts, seed: int = 0) -> pd.DataFrame:
    """KL(intact || plan) between next-token distributions, in nats per token.

    `plans` is a list, a dict from label to plan, or an experiment's table, whose labels stay in
    the result. Every token of every text counts once, so long documents weigh more. Returns one
    row per labelled plan: the labels, then model, revision, dtype, plan, kl, kl_stderr, kl_low,
    kl_high (95 % bootstrap interval over documents, drawn with `seed`; NaN for fewer than 4),
    n_documents, n_tokens, seed.

    Args:
        model: a bridge, a Hugging Face model, or a name.
        plans: plans, with labels or without.
        texts: one string or any number of them; those longer than the context come in pieces.
        seed: of the bootstrap.

    Returns:
        The table above.

    Raises:
        PlanError: no plans, or one of another depth.
        TextError: texts that cannot be read.

    Example:
        >>> kl_to_intact(model, {"skip": plan}, texts)["kl"].gt(0).tolist()
        [True]
    """
    return resampled_kl(model, plans, texts, seed)[0]


@of_planned
@counting(seed=0)
def resampled_kl(
    model: Model, plans: Plans, texts: Texts, seed: int = 0
) -> tuple[pd.DataFrame, Float[np.ndarray, "resample row"]]:
    """What `kl_to_intact` returns, and the KL of its rows on the bootstrap samples behind it.

    The samples are drawn for all plans together, so that what is computed from several rows stays
    paired; NaN for fewer than 4 documents.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: As in `evaluate`.
        texts: The documents.
        seed: Of the bootstrap.

    Returns:
        The table, and the KL in nats per token on every sample, shape (resample, row).

    Raises:
        PlanError: a plan that the model cannot run.
        TextError: texts that cannot be read.
        UnsupportedModelError: a model that predicts no tokens.

    Example:
        >>> found, samples = resampled_kl(model, plan, texts)
        >>> samples.shape[1] == len(found)
        True
    """
    model = as_model(model)
    labels = labels_for(plans, len(model.blocks))
    labels = labels.drop(columns=[*_OWN], errors="ignore").drop_duplicates()
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    sums, tokens = document_divergences(model, distinct, texts)
    resampled = statistics.resampled_ratio(sums, tokens, seed=seed)
    low, high = statistics.percentiles(resampled)
    measured = pd.DataFrame(
        {
            **model_columns(model),
            "plan": [str(plan) for plan in distinct],
            "kl": sums.sum(axis=0) / tokens.sum(),
            "kl_stderr": resampled.std(axis=0, ddof=1),
            "kl_low": low,
            "kl_high": high,
            "n_documents": len(tokens),
            "n_tokens": int(tokens.sum()),
            "seed": seed,
        }
    )
    table = Results(labelled(labels, measured))
    return table, resampled[:, pd.Index(measured["plan"]).get_indexer(table["plan"])]


def document_divergences(
    model: Model, plans: Sequence[Plan], texts: Texts
) -> tuple[Float[np.ndarray, "document plan"], Float[np.ndarray, " document"]]:
    """Per document and plan the sum of KL(intact || plan) over tokens, and the number of tokens.

    A text longer than the context is read in pieces. All plans share one walk per batch.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: Plans of this model.
        texts: The documents.

    Returns:
        Sums in nats, shape (document, plan), and numbers of tokens, shape (document,).

    Raises:
        TextError: texts that cannot be read.
        UnsupportedModelError: a model that predicts no tokens.

    Example:
        >>> sums, tokens = document_divergences(model, [painters.Plan.parse("0-2 5", 6)], texts)
        >>> sums.shape, bool((sums > 0).all())
        ((3, 1), True)
    """
    model = as_model(model)
    ready(model)
    refuse_headless(model)
    texts = as_texts(texts)
    batches, owners = _batches(model, texts)
    sums, tokens = np.zeros((len(texts), len(plans))), np.zeros(len(texts))
    total = sum(batch.tokens.numel() for batch in batches) * shared_calls(plans)
    with measuring(model), progress("KL to the intact model", total) as advance:
        face = face_of(model, plans)
        for batch in batches:
            recording = record_on(face, model, batch.tokens, batch.mask)
            rows = [(row, pos) for row, length in enumerate(batch.lengths) for pos in range(length)]
            sources = torch.tensor(rows, device=batch.tokens.device)
            found = numbers(divergences(model, plans, recording, sources, advance))
            documents = batch.documents(owners, batch.lengths)
            np.add.at(sums, documents, found.T)
            np.add.at(tokens, documents, 1)
    for plan, lost in zip(plans, np.isnan(sums).sum(axis=0), strict=True):
        say_nan(f"KL of plan {str(plan)!r} to the intact model", int(lost), len(sums), "texts")
    return sums, tokens


def calls_needed(model: Model, plans: Sequence[Plan], texts: Texts) -> int:
    """Token-layer calls of `document_divergences`, padding included.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: Plans of this model.
        texts: The documents.

    Returns:
        How many tokens go through how many layers, multiplied.

    Raises:
        TextError: texts that cannot be read.

    Example:
        >>> calls_needed(model, [painters.Plan.parse("0-5", 6)], ["abc"])  # a token begins the text
        24
    """
    batches, _ = _batches(as_model(model), as_texts(texts))
    return sum(batch.tokens.numel() for batch in batches) * shared_calls(plans)


def _batches(model: TransformerBridge, texts: Sequence[str]) -> tuple[list[Batch], list[int]]:
    """Pieces of texts in batches of alike lengths, and the text that each piece is of."""
    pieces, owners = in_pieces(model, texts)
    return batched(model, pieces, _TOKENS_AT_ONCE), owners
