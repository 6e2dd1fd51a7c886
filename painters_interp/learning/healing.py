"""`heal`: a decoder learns to live with a plan (the paper's appendix A.2), and what that regains.

A copy of the model is fine-tuned on texts with the altered execution in place; then its loss on
texts that it has not seen is held against that of the model before, and of the intact one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting
from ..borrowed.of_transformers import forget_source, use_fastest_attention
from ..damage import document_losses
from ..digests import text_digest
from ..errors import MeasureError, ModelError, OutputError, TextError, UnsupportedModelError
from ..execution import Face, as_plan, face_around, refuse_bidirectional
from ..models import (
    Model,
    as_model,
    identity,
    load_model,
    of_planned,
    stock_copy,
    weights_digest,
    wrapped,
)
from ..models.writing import said_of, write_checkpoint
from ..notices import NOT_FINITE
from ..plans import Plan, shared_calls
from ..progress import progress
from ..storage import (
    provenance,
    read_provenance,
    read_table,
    replacing,
    write_table,
)
from ..strategies import full
from ..terminal import Brief
from ..texts import Texts, as_texts, in_pieces, pad_of, padded
from .adapters import Lora, adapted, merged
from .losses import Judged
from .training import (
    FORWARD_AND_BACK,
    Kept,
    Tuning,
    faithful_copy,
    learning_from,
    refuse_untrainable,
    train,
)

_CONTEXT = 512
_HELD_OUT = 0.2
LORA_RATE = 3e-4  # few weights, from nothing: steps may be larger
_TABLE = "healed.csv"


@dataclass(frozen=True, eq=False, repr=False)
class Healed(Judged, Brief):
    """A model that was fine-tuned under `plan`, and what it lost on held-out texts.

    `model` is a model of its own; run it as it was trained inside `applied(healed.model,
    healed.plan)`. `documents` has a row for each held-out text: document (its place among the
    texts that it was given with), tokens (predicted ones), and the sum of their losses in nats
    for the intact model, the plan before and after. `facts` say what produced it all.
    """

    model: TransformerBridge
    plan: Plan
    documents: pd.DataFrame
    facts: dict[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Write the model as a checkpoint that transformers reads, and the losses beside it.

        The folder appears whole. One that holds a healed model is replaced, any other that is not
        empty is refused. Raises OutputError.
        """
        folder = Path(folder).expanduser()
        refuse_occupied(folder)
        with replacing(folder) as part:
            with said_of(str(folder), "nothing is left of it"):
                write_checkpoint(stock_copy(self.model), self.model.tokenizer, part)
            write_table(self.documents, part / _TABLE, provenance(**self.facts))
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> "Healed":
        """What `save` wrote. Raises ModelError for a folder without it, TableError if damaged."""
        folder = Path(folder).expanduser()
        if not (folder / _TABLE).is_file():
            raise ModelError(f"{folder} holds no healed model: {_TABLE} is missing")
        facts = read_provenance(folder / _TABLE)
        model = load_model(str(folder), device=device, dtype=facts["dtype"])
        plan = as_plan(facts["healed_under"], model)
        return cls(model, plan, read_table(folder / _TABLE), facts)


@of_planned
@counting(context=2, seed=0)
def heal(
    model: Model,
    plan: Plan | str,
    texts: Texts,
    held_out: Texts | None = None,
    *,
    tuning: Tuning | None = None,
    lora: Lora | None = None,
    context: int = _CONTEXT,
    seed: int = 0,
) -> Healed:
    """Fine-tune a copy of a decoder under a plan, and measure what that regains on other texts.

    The loss is that of the next token, its mean over all tokens of a batch; gradients go through
    the plan, groups and loops included. `model` stays as it is. What healing owes to the texts
    alone, the same with the full plan says.

    Args:
        model: a decoder, in float32 or float64.
        plan: what the copy is to live with; of whole layers.
        texts: to learn from, one string or any number of them; longer ones come in pieces.
        held_out: texts to judge by, none of which may be among `texts`; if not given, a fifth of
            `texts`, drawn with `seed`, equal ones together.
        tuning: epochs, rate, batch (in pieces), and a folder for checkpoints, from which a run
            that was cut off goes on (`learning.Tuning`).
        lora: train low-rank updates instead of all weights, which are added to the weights at the
            end (`learning.Lora`; needs the extra `peft`). The rate is 3e-4 then, unless given.
        context: the most tokens in a piece, of what is learnt and what is judged.
        seed: of the order of texts, dropout, and adapters.

    Returns:
        The trained model, and its losses with those before and of the intact model.

    Raises:
        PlanError: a plan of another depth.
        TextError: texts that cannot be read, too few, or held-out ones that are learnt from.
        ModelError: half precision; weights that are edited beyond what a copy can hold; no peft.
        UnsupportedModelError: an encoder, hooks on the model, or half layers in the plan.
        MeasureError: a loss that is NaN before anything is learnt.
        OutputError: a folder of checkpoints that cannot be written.

    Example:
        >>> from painters_interp.learning import Tuning
        >>> healed = heal(model, "0 1 5", texts, tuning=Tuning(epochs=1, batch=2))
        >>> healed.table()["state"].tolist()
        ['intact', 'before', 'after']
    """
    model = as_model(model)
    plan = as_plan(plan, model)
    _refuse(model, plan)
    tuning = tuning or (Tuning(rate=LORA_RATE) if lora else Tuning())
    tuning.refuse_unwritable()
    learnt, judged, places = _split(as_texts(texts), held_out, seed)
    pieces, _ = in_pieces(model, learnt, context)
    scored, _ = in_pieces(model, judged, context)
    plans = [full(len(model.blocks)), plan]
    steps = FORWARD_AND_BACK * tuning.epochs * len(plan.calls) * sum(map(len, pieces))
    walks = shared_calls(plans) + len(plan.calls)
    with progress("healing", steps + walks * sum(map(len, scored))) as advance:
        sums, tokens = document_losses(model, plans, judged, context)
        if np.isnan(sums).any():
            raise MeasureError(f"nothing is learnt from a loss that is NaN: {NOT_FINITE}")
        asked = (weights_digest(model), plan, pieces, lora, seed)
        with learning_from(model, seed):
            healed = _trained(model, plan, pieces, tuning, lora, seed, asked, advance)
        after, _ = document_losses(healed, [plan], judged, context)
    documents = pd.DataFrame({"document": places, "tokens": tokens.astype(int)})
    found = documents.assign(intact=sums[:, 0], before=sums[:, 1], after=after[:, 0])
    facts = identity(model) | {
        "healed_under": str(plan),
        "weights": asked[0],
        "texts": text_digest(repr([*learnt])),
        "held_out": text_digest(repr([*judged])),
        "tuning": tuning.recipe(),
        "lora": None if lora is None else str(lora),
        "context": context,
        "seed": seed,
    }
    return Healed(healed, plan, found, facts)


def _refuse(model: TransformerBridge, plan: Plan) -> None:
    refuse_bidirectional(model)
    refuse_untrainable(model)
    if any(call.half for call in plan.calls):
        raise UnsupportedModelError(
            f"plan {str(plan)!r} calls half a layer, which only a model with hooks can, and that "
            "is not trained; give a plan of whole layers"
        )


def _split(
    texts: list[str], held_out: Texts | None, seed: int
) -> tuple[list[str], list[str], list[int]]:
    """What is learnt, what it is judged by, and the places of that in the texts it came with."""
    if held_out is not None:
        judged = as_texts(held_out)
        if both := {*texts} & {*judged}:
            place = next(i for i, text in enumerate(judged) if text in both)
            raise TextError(
                f"held-out text {place} ({judged[place][:40]!r}) is learnt from, too: its loss "
                "would tell what was learnt by heart"
            )
        return texts, judged, [*range(len(judged))]
    distinct = [*dict.fromkeys(texts)]
    if len(distinct) < 2:
        raise TextError("one text cannot be learnt from and held out; give more, or held_out=...")
    order = np.random.default_rng(seed).permutation(len(distinct))
    drawn = {distinct[i] for i in order[: max(1, round(_HELD_OUT * len(distinct)))]}
    places = [i for i, text in enumerate(texts) if text in drawn]
    return [text for text in texts if text not in drawn], [texts[i] for i in places], places


def _trained(
    model: TransformerBridge,
    plan: Plan,
    pieces: Sequence[Sequence[int]],
    tuning: Tuning,
    lora: Lora | None,
    seed: int,
    asked: tuple[object, ...],
    advance: Any,
) -> TransformerBridge:
    """A model of its own whose weights have learnt under the plan, in eval mode."""
    root = faithful_copy(model, use_fastest_attention)
    face = face_around(model, root)
    adapters = None if lora is None else adapted(root, lora)
    weights = [weight for weight in root.parameters() if weight.requires_grad]
    root.train()
    with face.under(plan):
        loss = partial(_loss, face, pieces, pad_of(model))
        kept = Kept.of(tuning, *asked)
        train(weights, loss, [*map(len, pieces)], tuning, seed, kept, len(plan.calls), advance)
    root.zero_grad()
    if adapters is not None:
        root = merged(adapters)
    forget_source(root.config)  # no folder and no revision has these weights
    name = f"{model.cfg.model_name}, healed under {plan}"
    return wrapped(root.eval(), model.tokenizer, name)


def _loss(face: Face, pieces: Sequence[Sequence[int]], pad: int, rows: list[int]) -> Tensor:
    """The mean over all tokens of these pieces that have one before them, in nats."""
    batch = padded(pieces, rows, face.device, pad)
    logits = face.root(**face.inputs(batch.tokens, batch.mask)).logits[:, :-1]
    real = batch.mask[:, 1:].bool()
    wide = torch.promote_types(logits.dtype, torch.float32)
    return cross_entropy(logits[real].to(wide), batch.tokens[:, 1:][real])


def refuse_occupied(folder: Path) -> None:
    """Raise OutputError where a healed model would stand in the place of something else."""
    if not folder.exists() or (folder / _TABLE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise OutputError(f"{folder} holds something else; give a folder of its own")
