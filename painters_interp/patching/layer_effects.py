"""How a change at one layer changes what every later layer writes (arXiv 2505.13898)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import PatchError
from ..execution import Recording, after_step, as_plan, measuring, ready, record, refuse_halves
from ..measures import Curve
from ..models import Model, as_model, device_of, numbers, of_planned
from ..notices import say_nan
from ..plans import Call, Plan
from ..plans.sharing import shared_length
from ..progress import Advance, progress
from ..statistics import resamplings
from ..strategies import drop, full
from ..tables import typed
from ..texts import Batch, Texts, as_texts, in_order, in_pieces, pad_of

_WHY = "its update is zero or not finite"


@torch.no_grad()
@of_planned
@counting(batch_size=1)
def effects(
    model: Model,
    texts: Texts,
    plans: Plan | str | Sequence[Plan | str] | Mapping[str, Plan | str] | None = None,
    at: int | None = None,
    skip_first: bool = True,
    batch_size: int = 8,
) -> pd.DataFrame:
    """Relative change of every layer's update, `||f_l(h') - f_l(h)|| / ||f_l(h)||`, per plan.

    f_l(h) is what layer l adds to the intact model's stream h, f_l(h') what it adds under a plan.
    The change is averaged over the tokens of a document and then over documents. A layer counts
    where a plan calls it (on average over its calls), from the first changed step on. Where a
    layer adds nothing to the intact stream its change is undefined: such tokens are left out.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        plans: One plan, several, or plans by label; by default one per dropped layer.
        at: A position at which alone the plan holds; the change is then measured at later tokens:
            how much later computation depends on what the layer wrote there. Such plans leave
            layers out.
        skip_first: Whether the first token of a document is left out.
        batch_size: Texts in one forward pass.

    Returns:
        One row per (plan, layer): `label` (the plan's, or its text), `dropped` (the one layer left
        out, if so), `plan`, `layer`, `value`, a bootstrap interval over documents `low`, `high`
        (NaN for fewer than 4), `documents`, `changed_at`.

    Raises:
        PatchError: for a position or plan that does not fit.
        PlanError: a plan that the model cannot run.
        TextError: texts that cannot be read.

    Example:
        >>> effects(model, texts, {"without 2": "0 1 3-5"})["layer"].tolist()
        [3, 4, 5]
    """
    return resampled_effects(model, texts, plans, at, skip_first, batch_size)[0]


@of_planned
@torch.no_grad()
@counting(batch_size=1, seed=0)
def resampled_effects(
    model: Model,
    texts: Texts,
    plans: Plan | str | Sequence[Plan | str] | Mapping[str, Plan | str] | None = None,
    at: int | None = None,
    skip_first: bool = True,
    batch_size: int = 8,
    seed: int = 0,
) -> tuple[pd.DataFrame, Float[np.ndarray, "resample effect"]]:
    """What `effects` returns, and the values of its rows on bootstrap samples of the documents.

    The samples are drawn for all rows together, so that what is computed from several of them
    stays paired.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        plans: As in `effects`.
        at: As there.
        skip_first: As there.
        batch_size: Texts in one forward pass.
        seed: Of the bootstrap.

    Returns:
        The table, and the value of each row on every sample, shape (resample, row).

    Raises:
        PatchError: as `effects`.
        PlanError: as `effects`.
        TextError: as `effects`.

    Example:
        >>> found, samples = resampled_effects(model, texts, "0 1 3-5")
        >>> samples.shape[1] == len(found)
        True
    """
    model = as_model(model)
    ready(model)
    rows = _labelled(model, plans, at)
    n_layers = len(model.blocks)
    texts = as_texts(texts)
    pieces, owners = in_pieces(model, texts)
    _check_token(model, pieces, rows, at)
    sums, counts = np.zeros((2, len(rows), n_layers, len(texts)))
    calls = n_layers + sum(len(_calls(plan, at)) for plan in rows.values())
    width = sum(b.tokens.numel() for b in in_order(pieces, batch_size, torch.device("cpu")))
    with measuring(model), progress("effects", width * calls) as advance:
        for batch in in_order(pieces, batch_size, device_of(model), pad_of(model)):
            measured = batch.real(max(int(skip_first), 0 if at is None else at + 1))
            documents = [owners[i] for i in batch.indices]
            told: list[_Told] = []
            _changes(model, batch, [*rows.values()], at, advance, partial(_note, told, measured))
            found = numbers(torch.stack([both for *_, both in told])) if told else ()
            for (row, layer, _), (total, count) in zip(told, found, strict=True):
                np.add.at(sums[row, layer], documents, total)
                np.add.at(counts[row, layer], documents, count)
    return _table(rows, sums / np.where(counts == 0, np.nan, counts), at, seed)


def effects_calls(model: Model, texts: Texts, batch_size: int = 8) -> int:
    """Token-layer calls of `effects` of every dropped layer on `texts`, padding included.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        batch_size: Texts in one forward pass.

    Returns:
        How many tokens go through how many layers, multiplied.

    Raises:
        TextError: texts that cannot be read.

    Example:
        >>> effects_calls(model, texts) > 0
        True
    """
    model = as_model(model)
    n_layers = len(model.blocks)
    pieces, _ = in_pieces(model, as_texts(texts))
    width = sum(b.tokens.numel() for b in in_order(pieces, batch_size, torch.device("cpu")))
    return width * (n_layers + n_layers * (n_layers - 1) // 2)


# Row, layer, and of each text the sum and the number of what is defined there.
_Told = tuple[int, int, Float[Tensor, "2 batch"]]


def _note(
    told: list[_Told],
    measured: Bool[Tensor, "batch pos"],
    row: int,
    layer: int,
    change: Float[Tensor, "batch pos"],
) -> None:
    """Keep where the streams are what comes home with the whole batch."""
    defined = measured & ~change.isnan()
    both = torch.stack([torch.where(defined, change, 0).sum(dim=1), defined.sum(dim=1)])
    told.append((row, layer, both))


def _labelled(model: TransformerBridge, plans: Any, at: int | None) -> dict[str, Plan]:
    n_layers = len(model.blocks)
    if plans is None:
        named: dict[str, Plan | str] = {str(i): drop(n_layers, i) for i in range(n_layers - 1)}
    else:
        named = (
            dict(plans)
            if isinstance(plans, Mapping)
            else {str(plan): plan for plan in several(plans, str, Plan)}
        )
    found = {label: as_plan(plan, model) for label, plan in named.items()}
    for plan in found.values():
        refuse_halves(model, plan)
    if not any(_calls(plan, at) for plan in found.values()):
        raise PatchError(
            "no plan changes a layer that another one follows; give plans, or None for every "
            "single layer dropped"
        )
    return found


def _check_token(
    model: TransformerBridge, pieces: Sequence[Sequence[int]], rows: Mapping[str, Plan], at: Any
) -> None:
    if at is None:
        return
    if not ready(model).causal:
        raise PatchError(
            f"{model.cfg.model_name} is a masked language model: earlier tokens see later ones, "
            "so at= does not tell them apart; leave it out"
        )
    shortest = min(map(len, pieces))
    if not 0 <= at < shortest - 1:
        raise PatchError(
            f"at={at} leaves no later token: the shortest text has {shortest} tokens, "
            f"0..{shortest - 2} fits"
        )
    for label, plan in rows.items():
        if not _only_leaves_out(plan):
            raise PatchError(
                f"plan {label!r} does more than leave layers out, so it cannot hold at one token "
                "only; give plans such as '0-4 6-29', or no at="
            )


def _only_leaves_out(plan: Plan) -> bool:
    rest = iter(full(plan.n_layers).steps)
    return all(step in rest for step in plan.steps)


def _changes(
    model: TransformerBridge,
    batch: Batch,
    plans: Sequence[Plan],
    at: int | None,
    advance: Advance,
    tell: Callable[[int, int, Float[Tensor, "batch pos"]], None],
) -> None:
    """Tell (row, layer, relative change of its update at every token) of all plans and layers."""
    recording = record(model, batch.tokens, batch.mask)
    blocks, states = list(model.blocks), [recording.stream]
    for layer, step in enumerate(full(len(blocks)).steps):
        states.append(after_step(step, states[-1], blocks, [recording.calls[layer]]))
        advance(batch.tokens.numel())
    for row, plan in enumerate(plans):

        def compare(layer: int, update: Tensor, row: int = row) -> None:
            own = states[layer + 1] - states[layer]
            length = own.norm(dim=-1)
            change = (update - own).norm(dim=-1) / length
            tell(row, layer, change.masked_fill(length == 0, torch.nan))
            advance(batch.tokens.numel())

        under = _everywhere(plan) if at is None else _at_token(plan, at)
        under(blocks, recording, states, compare)


# Tells what layers add under a plan, from the first changed step on: (layer, update), call by call.
Updates = Callable[[list[nn.Module], Recording, list[Tensor], Callable[[int, Tensor], None]], None]


def _everywhere(plan: Plan) -> Updates:
    """The plan holds at every token."""
    first = _first_change(plan)

    def updates(
        blocks: list[nn.Module],
        recording: Recording,
        states: list[Tensor],
        tell: Callable[[int, Tensor], None],
    ) -> None:
        def see(call: Call, read: Tensor, output: Tensor) -> None:
            tell(call.layer, output - read)

        stream = states[first]
        for step in plan.steps[first:]:
            given = [recording.calls[call.layer] for call in step.calls]
            stream = after_step(step, stream, blocks, given, see)

    return updates


def _at_token(plan: Plan, at: int) -> Updates:
    """One token passes the layers that the plan leaves out; all others are run as ever."""
    first, kept = _first_change(plan), set(plan.layer_calls)

    def updates(
        blocks: list[nn.Module],
        recording: Recording,
        states: list[Tensor],
        tell: Callable[[int, Tensor], None],
    ) -> None:
        stream = states[first]
        for layer, step in [*enumerate(full(plan.n_layers).steps)][first:]:
            output = after_step(step, stream, blocks, [recording.calls[layer]])
            if layer in kept:
                tell(layer, output - stream)
            else:
                output = output.clone()
                output[:, at] = stream[:, at]
            stream = output

    return updates


def _first_change(plan: Plan) -> int:
    """The first step in which `plan` differs from the intact model."""
    return shared_length(plan.steps, full(plan.n_layers).steps)


def _calls(plan: Plan, at: int | None) -> list[int]:
    """The layers whose updates are measured, call by call."""
    first = _first_change(plan)
    if at is None:
        return [call.layer for step in plan.steps[first:] for call in step.calls]
    return [layer for layer in plan.layer_calls if layer >= first]


def _table(
    rows: Mapping[str, Plan],
    changes: Float[np.ndarray, "row layer document"],
    at: int | None,
    seed: int,
) -> tuple[pd.DataFrame, Float[np.ndarray, "resample effect"]]:
    """One row per plan and layer measured; a document counts where its change is defined."""
    parts, samples, everyone = [], [], tuple(range(changes.shape[2]))
    weights = resamplings(len(everyone), seed=seed)
    for (label, plan), change in zip(rows.items(), changes, strict=True):
        layers = sorted(set(_calls(plan, at)))
        means = Curve(change[layers].T, everyone, "layer")
        wrong = int(np.isnan(means.per_document).any(axis=1).sum())
        say_nan(f"the change of a layer under plan {label!r}", wrong, len(everyone), "texts", _WHY)
        missing = set(range(plan.n_layers)) - set(plan.layer_calls)
        left_out = missing.pop() if _only_leaves_out(plan) and len(missing) == 1 else None
        low, high = means.interval(seed=seed)
        part = pd.DataFrame({"value": means.curve, "low": low, "high": high})
        part = part.assign(layer=layers, documents=means.defined)
        parts.append(part.assign(label=label, dropped=left_out, plan=str(plan)))
        samples.append(means.resampled(weights))
    order = ["label", "dropped", "plan", "layer", "value", "low", "high", "documents", "changed_at"]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return typed(table.assign(changed_at=at)[order]), np.concatenate(samples, axis=1)
