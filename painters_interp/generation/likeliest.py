"""`next_tokens`: what a model would say next under plans, as a table."""

import numpy as np
import pandas as pd
import torch

from ..arguments import counting
from ..errors import SettingError
from ..execution import (
    as_plan,
    face_of,
    likeliest,
    measuring,
    ready,
    record_on,
    refuse_bidirectional,
)
from ..models import Model, as_model, numbers, of_planned
from ..notices import say_nan
from ..tables.labels import Plans, labelled, labels_for
from ..texts import Texts, as_texts, batched
from .continuations import prompt_ids

_TOKENS_AT_ONCE = {"cpu": 512, "cuda": 4096}
_OWN = ("prompt", "rank", "token", "logprob")


@of_planned
@counting(top=1)
def next_tokens(model: Model, plans: Plans, prompts: Texts, top: int = 3) -> pd.DataFrame:
    """The likeliest tokens behind every prompt under every plan.

    All plans share one walk per batch of prompts. What a model writes further is `generate`, and
    what its earlier states would say is `patching.readout`.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: A plan, a list, a dict from label to plan, or an experiment's table, whose labels
            stay in the result.
        prompts: One text or several, read as `generate` reads them.
        top: How many tokens.

    Returns:
        A row per labelled plan, prompt and token: the labels, then plan, prompt, `rank` (0 is the
        likeliest), `token` (its text) and `logprob` (nats). Where a logit is NaN, so is `logprob`,
        and there is no token, which a warning counts.

    Raises:
        TextError: an empty prompt, and one that the context does not hold.
        SettingError: a `top` that is no number of tokens of the vocabulary.
        PlanError: plans that the model cannot run.
        UnsupportedModelError: encoders.

    Example:
        >>> next_tokens(model, ["0-5", plan], "abc", top=2)["rank"].tolist()
        [0, 1, 0, 1]
    """
    model = as_model(model)
    labels = labels_for(plans, len(model.blocks))
    labels = labels.drop(columns=[*_OWN], errors="ignore").drop_duplicates()
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    refuse_bidirectional(model)
    if top > model.cfg.d_vocab:
        raise SettingError(f"top={top} is more tokens than the vocabulary's {model.cfg.d_vocab}")
    ready(model)
    texts = as_texts(prompts)
    rows = []
    with measuring(model):
        face = face_of(model, distinct)
        for batch in batched(model, prompt_ids(model, texts), _TOKENS_AT_ONCE):
            recording = record_on(face, model, batch.tokens, batch.mask)
            ends = [(row, length - 1) for row, length in enumerate(batch.lengths)]
            sources = torch.tensor(ends, device=batch.tokens.device)
            ids, logprobs = map(numbers, likeliest(model, distinct, recording, sources, top))
            for (plan, row, rank), logprob in np.ndenumerate(logprobs):
                said = model.tokenizer.decode([int(ids[plan, row, rank])])
                prompt = batch.indices[row]
                rows.append((str(distinct[plan]), prompt, rank, said, logprob))
    table = pd.DataFrame(rows, columns=["plan", *_OWN])
    lost = table["logprob"].isna()
    table.loc[lost, "token"] = None
    say_nan("the next token", int(lost.sum()), len(table), "rows")
    table = table.sort_values(["prompt", "rank"])
    return labelled(labels, table.assign(prompt=table["prompt"].map(dict(enumerate(texts)))))
