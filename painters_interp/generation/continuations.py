"""`generate`: what a model writes under plans, as a table."""

from collections.abc import Sequence

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import PlanError, TextError, UnsupportedModelError
from ..execution import as_plan, ready
from ..execution.slots import CACHES
from ..models import Model, as_model, of_planned
from ..notices import say_nan
from ..progress import progress, up_to
from ..tables.labels import Plans, labelled, labels_for
from ..texts import Texts, as_texts, context_of, ids_of
from .ending import Ending
from .routes import texts_under
from .trie import Ids

_OWN = ("prompt", "text", "tokens", "finished")


@of_planned
@counting(max_new_tokens=1)
def generate(
    model: Model,
    plans: Plans,
    prompts: Texts,
    max_new_tokens: int = 64,
    stop: str | Sequence[str] = (),
    cache: str = "exact",
) -> pd.DataFrame:
    """What `model` writes after every prompt under every plan, always the likeliest token.

    All plans and prompts are written together, as many at a time as fit into 4 GiB of keys and
    values, which is said where it takes several parts: the tokens are those of
    `original_model.generate` inside `applied`, but for choices within rounding. Where no hook
    hangs, the plain face writes, a stock model over the same tensors. A model that cannot do
    this (hooks on it, layers that keep states) writes plan by plan, with a warning that says why.

    Args:
        model: Whatever `load_model` takes or returns.
        plans: A plan, a list, a dict from label to plan, or an experiment's table, whose labels
            stay in the result.
        prompts: One text or several, read as the tokenizer does by default, but for an end-of-text
            token that it may add.
        max_new_tokens: How many tokens a text may have; it ends earlier with the model's own
            end-of-text token.
        stop: Strings before which a text ends.
        cache: "exact", or "averaged" to decode as the paper's code does (see `applied`).

    Returns:
        A row per labelled plan and prompt: the labels, then plan, prompt, `text` (without the
        prompt), `tokens` (a tuple of ids, the one that ends it included) and `finished` (False
        where `max_new_tokens` cut it short). Where a logit is NaN there is no text, which a warning
        counts.

    Raises:
        TextError: an empty prompt or stop string, and what the context does not hold.
        PlanError: plans that the model cannot run.
        UnsupportedModelError: encoders.

    Example:
        >>> generate(model, ["0-5", plan], ["abc"], max_new_tokens=2)["tokens"].map(len).tolist()
        [2, 2]
    """
    model = as_model(model)
    labels = labels_for(plans, len(model.blocks))
    labels = labels.drop(columns=[*_OWN], errors="ignore").drop_duplicates()
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    if not ready(model).causal:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is a masked language model, or bidirectional, "
            "which writes no texts"
        )
    if cache not in CACHES:
        raise PlanError(f"cache={cache!r} is not one of {', '.join(CACHES)}")
    texts = as_texts(prompts)
    ending = _ending(max_new_tokens, stop)
    ids = prompt_ids(model, texts, ending.new)
    tokens = sum(map(len, ids)) + ending.new * len(ids)
    calls = tokens * sum(len(plan.calls) for plan in distinct)
    with progress("writing", calls) as advance, up_to(calls, advance) as told:
        written = texts_under(model, distinct, ids, ending, cache, told)
    rows = [
        (str(plan), prompt, *_read(model, ending, text.tokens))
        for plan, under in zip(distinct, written, strict=True)
        for prompt, text in zip(texts, under, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["plan", *_OWN])
    say_nan("a logit", int(table["tokens"].isna().sum()), len(table), "texts")
    return labelled(labels, table)


def _read(
    model: TransformerBridge, ending: Ending, tokens: Ids | None
) -> tuple[str | None, Ids | None, bool]:
    """The text of tokens, the tokens, and whether it has come to its end."""
    if tokens is None:
        return None, None, False
    own = model.original_model.generation_config.eos_token_id
    eos = own if isinstance(own, list) else [own]
    text, ended = ending.text(tokens, model.tokenizer)
    return text, tokens, ended or tokens[-1] in eos


def _ending(max_new_tokens: int, stop: str | Sequence[str]) -> Ending:
    try:
        strings = several(stop)
    except TypeError as error:
        raise TextError(f"stop={stop!r} is neither a string nor a list of them") from error
    for string in strings:
        if not isinstance(string, str) or not string:
            raise TextError(f"stop={stop!r}: a string that ends a text has at least one character")
    return Ending(max_new_tokens, tuple(strings))


def _open_ended(model: TransformerBridge, text: str, ids: Sequence[int]) -> Ids:
    """Without the end-of-text token that some tokenizers add: behind it a text does not go on."""
    end, name = model.tokenizer.eos_token_id, model.tokenizer.eos_token
    added = bool(ids) and ids[-1] == end and not text.rstrip().endswith(name)
    return tuple(ids[:-1] if added else ids)


def prompt_ids(model: TransformerBridge, texts: Sequence[str], new: int = 0) -> list[Ids]:
    """The tokens of every prompt; raises TextError where there are none, or no room for `new`."""
    found, context = [], context_of(model)
    behind = f", and max_new_tokens={new} more" if new else ", which"
    for index, text in enumerate(texts):
        name = f"prompt {index} ({text[:40]!r})"
        ids = _open_ended(model, text, ids_of(model, text, f"prompt {index}")) if text else ()
        if not ids:
            raise TextError(f"prompt {index} is empty; give it at least one character")
        if len(ids) + new > context:
            fit = f"; at most {max(0, context - len(ids))} fit behind it" if new else ""
            raise TextError(
                f"{name} has {len(ids)} tokens{behind} exceed the model's context of {context}{fit}"
            )
        found.append(ids)
    return found
