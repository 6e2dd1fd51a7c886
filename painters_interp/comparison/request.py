"""`similarity`: the question, its options, and what they may be."""

from collections.abc import Sequence
from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import MeasureError, ModelError
from ..execution import as_they_are
from ..measures import BETWEEN_STATES, MEASURES
from ..models import Model, as_model, of_planned
from ..plans import Plan
from ..texts import Texts, as_texts
from .passes import SHUFFLED, VIEWS, Source, Survey
from .results import Similarity

_CENTERS = ("texts", "document")


@of_planned
@counting(tokens_per_document=1, batch_size=1, seed=0)
def similarity(
    model: Model,
    texts: Texts,
    measures: str | Sequence[str] = ("cosine", "cosine_flat"),
    plan: Plan | str | None = None,
    other: Model | None = None,
    skip_first: bool = True,
    center: str = "texts",
    massive: str = "keep",
    tokens_per_document: int = 32,
    batch_size: int = 8,
    seed: int = 0,
) -> Similarity:
    """How alike the residual streams of different depths are, for every pair of states.

    Every batch is read once for all measures, and memory does not grow with the tokens.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        measures: Names out of `measures.BETWEEN_STATES` (matrices) and `ALONG_DEPTH` (curves).
        plan: The plan under which the states are taken; none for the intact model.
        other: Compare the states of `model` (rows) with those of another model (columns). Tokens
            are matched where both tokenizers make the same of the texts; otherwise documents are,
            by their mean vectors: documents are then the points of one cloud, and there is no
            interval. "shuffled tokens" compares each token with another one of its document, a
            null.
        skip_first: Leave out the first token, which carries the massive activations of many models
            (that of every piece of a text longer than the context). Padding never counts.
            `cosine_flat` takes in both, because it repeats the published computation.
        center: What cosine_centered subtracts: "texts", the mean of each state over a first pass
            through the texts (through 16 of them, seeded, if there are more), or "document", the
            mean of each document.
        massive: "keep"; "drop" leaves out the dimensions in which that first pass finds massive
            activations and the tokens that carry one; "both" gives every measure a second time,
            with those left out, under its name and "_without_massive".
        tokens_per_document: How many tokens stand for a document in rsa, knn and procrustes, whose
            work grows with their square or their number of pairs.
        batch_size: Texts in one forward pass; 4 take less memory and no more time. Only
            `cosine_flat` depends on it, through the padding: 8 as published.
        seed: Of what is drawn: texts of the first pass, tokens, shuffles, the bootstrap.

    Returns:
        The measures by name. `result["cosine"].matrix` is a DataFrame over states: 0 is the
        embedding output, k the stream after layer k-1 (after step k-1 of `plan`). Every measure is
        a mean over documents, with `.interval()` from a bootstrap over them (CKA is a ratio of such
        means). The exceptions are effective_rank and linearity, which pool all tokens and have no
        interval.

    Raises:
        MeasureError: a measure or option that does not exist, or a stream that is not finite
            (naming state and text).
        TextError: texts that cannot be read.

    Example:
        >>> found = similarity(model, texts, ["cosine", "cka"])
        >>> found["cosine"].matrix.shape  # states before, between and after six layers
        (7, 7)
    """
    model = as_model(model)
    names = _known(measures)
    for option, value, known in (("center", center, _CENTERS), ("massive", massive, [*VIEWS])):
        if value not in known:
            raise MeasureError(f"{option}={value!r} is not one of {', '.join(known)}")
    read = as_texts(texts)
    sources = [Source.of(model, read, plan, batch_size)]
    if other is not None and not _is_null(other):
        sources.append(Source.of(_other(other), read, None, batch_size))
    survey = Survey(
        tuple(sources),
        shuffled=_is_null(other),
        skip_first=skip_first,
        views=VIEWS[massive],
        centred=center == "texts" and "cosine_centered" in names,
        sample=tokens_per_document,
        seed=seed,
    )
    if not survey.matched and (odd := [name for name in names if name not in BETWEEN_STATES]):
        raise MeasureError(
            f"{odd[0]} is measured token by token; the tokenizers of these models differ, so "
            f"documents are compared, for which there are {', '.join(BETWEEN_STATES)}"
        )
    with as_they_are(*(source.model for source in sources)):
        return survey.run(names)


@of_planned
def calls_needed(
    model: Model,
    texts: Texts,
    plan: Plan | str | None = None,
    batch_size: int = 8,
) -> int:
    """Token-layer calls of one pass of `similarity` over `texts`, padding included.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        plan: The plan under which the states are taken; none for the intact model.
        batch_size: Texts in one forward pass.

    Returns:
        How many tokens go through how many layers, multiplied.

    Raises:
        TextError: texts that cannot be read.
        PlanError: a plan that the model cannot run.

    Example:
        >>> calls_needed(model, ["abc"])  # a token begins the text
        24
    """
    return Source.of(as_model(model), as_texts(texts), plan, batch_size).calls


def _is_null(other: Any) -> bool:
    return isinstance(other, str) and other == SHUFFLED


def _other(other: Model) -> TransformerBridge:
    try:
        return as_model(other)
    except ModelError as error:
        if not isinstance(other, str):
            raise
        raise MeasureError(
            f"other={other!r} is neither {SHUFFLED!r} nor a model ({error})"
        ) from error


def _known(measures: str | Sequence[str]) -> tuple[str, ...]:
    measures = several(measures)
    if not measures:
        raise MeasureError(f"measures must be a list of names out of {', '.join(MEASURES)}")
    for name in measures:
        if name not in MEASURES:
            raise MeasureError(f"no measure {name!r}; there are {', '.join(MEASURES)}")
    return tuple(dict.fromkeys(measures))
