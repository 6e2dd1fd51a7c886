"""Stitching: does one model go on from another's residual stream, through an affine map?

State i of a source model is mapped to state j of a target model, which runs from layer j on. The
rise of its loss says how much of what it needs the map carries over (after Bansal et al., 2021,
arXiv 2106.07682).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from .. import statistics
from ..arguments import counting
from ..errors import MeasureError, PlanError, UnsupportedModelError
from ..execution import Head, head, measuring, ready, record
from ..models import Model, as_model, device_of, identity, widened
from ..notices import NOT_FINITE
from ..progress import progress
from ..tables import typed
from ..texts import Texts, TokenIds, as_texts, as_tokens
from .maps import METHODS, Moments, Stitch, fit_weight, random_weight, refuse_few
from .pairs import ModelPair, PairBatch, on_device_of, shared_tokens, split, states_at, through

RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)
BASELINES = ("identity", "random", "same_model", "mean")
# Rows of logits held at a time.
_ROWS = 128
# Of several ridges one is chosen on this share of the training documents.
_HELD_OUT = 0.2
_STATES = ("source_state", "target_state")


@counting(seed=0, batch_size=1)
def stitch(
    source: Model,
    target: Model,
    texts: Texts,
    states: Iterable[tuple[int, int]] | None = None,
    method: str = "ridge",
    ridge: float | Sequence[float] = RIDGES,
    test_share: float = 0.5,
    seed: int = 0,
    batch_size: int = 8,
    baselines: Sequence[str] = BASELINES,
) -> pd.DataFrame:
    """The target's loss in nats per token when it goes on from the source's stream.

    For each (i, j) in `states` an affine map from state i of `source` to state j of `target` is
    fitted on some documents; on the others the target runs from layer j with the mapped stream.

    Args:
        source: The model whose stream is taken.
        target: The model that goes on; the same one, or another.
        texts: The documents.
        states: Pairs of states; by default every one goes to that at the same relative depth. State
            n of n layers is a readout.
        method: "ridge" or "orthogonal".
        ridge: In units of the source's mean eigenvalue; of several values, the best on held-out
            training documents is taken.
        test_share: Which share of the documents the loss is measured on.
        seed: Of the split, the bootstrap and the random rotation.
        batch_size: Texts in one forward pass.
        baselines: "identity", no map (equal widths only); "random", a random rotation with the
            right means and total variance; "same_model", from the target's own state at the
            source's relative depth (two models only); "mean", the mean state.

    Returns:
        One row per pair and map: source_state, target_state, map, ridge, loss and increase (over
        the intact target) with bootstrap intervals over test documents, and what produced them. The
        row "intact" is the target alone.

    Raises:
        PlanError: for states, methods or baselines that do not exist.
        TextError: for texts that the tokenizers split differently, or that are too few.
        UnsupportedModelError: for a masked target.
        MeasureError: where a stream or a loss is not finite.

    Example:
        >>> found = stitch(model, model, texts * 8, [(2, 3)], baselines=["mean"])
        >>> found["map"].tolist()
        ['intact', 'ridge', 'mean']
    """
    source, target, texts = as_model(source), as_model(target), as_texts(texts)
    pair = ModelPair(source, target, shared_tokens(source, target, texts), batch_size)
    chosen = _checked(pair, states, method, baselines)
    train, test = split(len(texts), test_share, seed)
    starts = sorted({i for i, _ in chosen})
    intact = _Candidate("intact", _identity(pair.n_target, pair.n_target, target), True)
    tokens = len(starts) * pair.tokens([*train, *test])
    with measuring(source, target), progress("stitching", tokens) as advance:
        rows = _evaluated(pair, [intact], test)
        _refuse_nan(pair, [row[0]["loss"] for row in rows])
        for i in starts:
            ends = sorted({j for k, j in chosen if k == i})
            fitted, moments = _fitted(pair, train, i, ends, method, ridge)
            compared = _baselines(pair, fitted, moments, baselines, seed)
            if "same_model" in baselines and source is not target:
                compared += _same_model(pair, train, i, ends, method, ridge)
            rows += _evaluated(pair, [*fitted, *compared], test)
            advance(pair.tokens([*train, *test]))
    return _table(pair, rows, train, test, seed)


@counting(batch_size=1)
def fit_stitch(
    source: Model,
    target: Model,
    texts: Texts,
    source_state: int,
    target_state: int,
    method: str = "ridge",
    ridge: float | Sequence[float] = RIDGES,
    batch_size: int = 8,
) -> Stitch:
    """One map, fitted on all of `texts`.

    Args:
        source: The model whose stream is taken.
        target: The model that goes on.
        texts: The documents.
        source_state: The state that is taken, 0 to the source's number of layers.
        target_state: The state that it is mapped to, 0 to the target's number of layers.
        method: "ridge" or "orthogonal".
        ridge: As in `stitch`.
        batch_size: Texts in one forward pass.

    Returns:
        The affine map.

    Raises:
        PlanError: for states or methods that do not exist.
        TextError: for texts that the tokenizers split differently, or that are too few.
        UnsupportedModelError: for a masked target.
        MeasureError: where a stream or a loss is not finite.

    Example:
        >>> fitted = fit_stitch(model, model, texts * 4, 2, 3)
        >>> fitted.source_state, fitted.target_state
        (2, 3)
    """
    source, target, texts = as_model(source), as_model(target), as_texts(texts)
    pair = ModelPair(source, target, shared_tokens(source, target, texts), batch_size)
    [(i, j)] = _checked(pair, [(source_state, target_state)], method, ())
    with measuring(source, target):
        return _fitted(pair, list(range(len(texts))), i, [j], method, ridge)[0][0].stitch


@torch.no_grad()
def stitched_logits(
    source: Model,
    target: Model,
    stitch: Stitch,
    tokens: TokenIds,
    attention_mask: TokenIds | None = None,
) -> Float[Tensor, "batch pos vocab"]:
    """Logits of the target running on the source's mapped stream.

    Args:
        source: The model whose stream is taken.
        target: The model that goes on.
        stitch: The map, as `fit_stitch` makes it.
        tokens: Shape (batch, pos), on any device.
        attention_mask: 1 at real tokens, of the same shape; all are by default.

    Returns:
        Shape (batch, pos, vocab), on the target's device.

    Example:
        >>> fitted = fit_stitch(model, model, texts * 4, 2, 2)
        >>> stitched_logits(model, model, fitted, torch.tensor([[5, 6, 7]])).shape
        torch.Size([1, 3, 96])
    """
    source, target = as_model(source), as_model(target)
    tokens = as_tokens(source, as_tokens(target, tokens))
    mask = torch.ones_like(tokens)
    if attention_mask is not None:
        mask = torch.as_tensor(attention_mask)
    for model in (source, target):
        ready(model)
    with measuring(source, target):
        before, after = (record(m, *on_device_of(m, tokens, mask)) for m in (source, target))
        stream = through(source, before, before.stream, 0, stitch.source_state)
        mapped = stitch(stream).to(after.stream)
        out = through(target, after, mapped, stitch.target_state, len(target.blocks))
        with head(target) as logits_of:
            rows = logits_of(rearrange(out, "batch pos d -> (batch pos) d"))
    return rearrange(rows, "(batch pos) vocab -> batch pos vocab", batch=len(out))


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A map to be judged; an `own` one starts from the target's state instead of the source's.

    `beside` is the source state that such a map stands beside in the table.
    """

    name: str
    stitch: Stitch
    own: bool = False
    ridge: float | None = None
    beside: int | None = None


# Fitting


@torch.no_grad()
def _moments(
    pair: ModelPair, documents: Sequence[int], i: int, ends: Sequence[int], own: bool
) -> Moments:
    """Moments of state i against the target's states `ends`, side by side in the columns."""
    parts: list[Moments] = []
    for reading in pair.read(documents):
        model, recording = (pair.target, reading.target) if own else (pair.source, reading.source)
        real = reading.batch.mask.bool()
        x = states_at(model, recording, [i])[i]
        found = states_at(pair.target, reading.target, ends)
        y = torch.cat([found[j][real.to(x.device)].to(x.device) for j in ends], dim=1)
        part = Moments.of(x[real.to(x.device)], y)
        if not (x[real.to(x.device)].isfinite().all() and y.isfinite().all()):
            ends_of = f"state {i} of {model.cfg.model_name} or one that it is mapped to"
            raise MeasureError(f"{ends_of} is NaN or infinite: {NOT_FINITE}")
        parts = [parts[0] + part] if parts else [part]
    return parts[0]


def _fitted(
    pair: ModelPair,
    train: Sequence[int],
    i: int,
    ends: Sequence[int],
    method: str,
    ridge: float | Sequence[float],
    own: bool = False,
) -> tuple[list[_Candidate], Moments]:
    """The map from state i to each of `ends`, with its best ridge; and what they are fitted on."""
    ridges = [float(ridge)] if isinstance(ridge, (int, float)) else list(ridge)
    width = int((pair.target if own else pair.source).cfg.d_model)
    if method == "orthogonal" or len(ridges) == 1:
        refuse_few(pair.tokens(train), width)
        moments = _moments(pair, train, i, ends, own)
        return _candidates(moments, i, ends, method, ridges[0], own), moments
    held = list(train)[: max(1, round(_HELD_OUT * len(train)))]
    kept = list(train)[len(held) :]
    refuse_few(pair.tokens(kept), width)
    fitting = _moments(pair, kept, i, ends, own)
    tried = [c for r in ridges for c in _candidates(fitting, i, ends, method, r, own)]
    judged = pd.DataFrame([facts for facts, *_ in _evaluated(pair, tried, held)])
    _refuse_nan(pair, judged.groupby("target_state")["loss"].min())
    best = judged.loc[judged.groupby("target_state")["loss"].idxmin()]
    ridge_of = dict(zip(best["target_state"], best["ridge"], strict=True))
    moments = fitting + _moments(pair, held, i, ends, own)
    again = {r: _candidates(moments, i, ends, method, r, own) for r in set(ridge_of.values())}
    return [again[ridge_of[j]][place] for place, j in enumerate(ends)], moments


def _refuse_nan(pair: ModelPair, losses: Iterable[float]) -> None:
    if not np.isfinite([*losses]).all():
        raise MeasureError(f"a loss of {pair.target.cfg.model_name} is NaN: {NOT_FINITE}")


def _candidates(
    moments: Moments, i: int, ends: Sequence[int], method: str, ridge: float, own: bool
) -> list[_Candidate]:
    name = "same_model" if own else method
    found = []
    for part, j in zip(moments.split(len(ends)), ends, strict=True):
        stitch = Stitch(fit_weight(part, method, ridge), part.x_mean, part.y_mean, i, j)
        found.append(_Candidate(name, stitch, own, ridge if method == "ridge" else None))
    return found


def _baselines(
    pair: ModelPair,
    fitted: Sequence[_Candidate],
    moments: Moments,
    wanted: Sequence[str],
    seed: int,
) -> list[_Candidate]:
    """Maps that know less than the fitted ones from one source state."""
    found: list[_Candidate] = []
    for part, candidate in zip(moments.split(len(fitted)), fitted, strict=True):
        known = candidate.stitch
        if "identity" in wanted and pair.source.cfg.d_model == pair.target.cfg.d_model:
            unmapped = _identity(known.source_state, known.target_state, pair.target)
            found.append(_Candidate("identity", unmapped))
        if "random" in wanted:
            found.append(_Candidate("random", replace(known, weight=random_weight(part, seed))))
        if "mean" in wanted:
            found.append(_Candidate("mean", replace(known, weight=0 * known.weight)))
    return found


def _same_model(
    pair: ModelPair,
    train: Sequence[int],
    i: int,
    ends: Sequence[int],
    method: str,
    ridge: float | Sequence[float],
) -> list[_Candidate]:
    """Maps from the target's own state at the relative depth of the source's state i."""
    alike = round(i * pair.n_target / pair.n_source)
    found, _ = _fitted(pair, train, alike, ends, method, ridge, own=True)
    return [replace(candidate, beside=i) for candidate in found]


def _identity(i: int, j: int, model: TransformerBridge) -> Stitch:
    width, device = int(model.cfg.d_model), device_of(model)
    nothing = torch.zeros(width, device=device)
    return Stitch(torch.eye(width, device=device), nothing, nothing, i, j)


# Judging

Row = tuple[dict[str, Any], Float[np.ndarray, " document"], Float[np.ndarray, " document"]]


@torch.no_grad()
def _evaluated(
    pair: ModelPair, candidates: Sequence[_Candidate], documents: Sequence[int]
) -> list[Row]:
    """For each map: its labels and mean loss, the summed loss of each document, its tokens."""
    sums = np.zeros((len(candidates), len(documents)))
    counts = np.zeros(len(documents))
    place = {document: k for k, document in enumerate(documents)}
    for reading in pair.read(documents):
        columns = [place[document] for document in reading.documents]
        np.add.at(counts, columns, reading.batch.mask.sum(1).numpy() - 1)
        for k, losses in enumerate(_losses(pair, candidates, reading)):
            np.add.at(sums[k], columns, losses)
    return [
        (_facts(candidate) | {"loss": total.sum() / counts.sum()}, total, counts)
        for candidate, total in zip(candidates, sums, strict=True)
    ]


def _facts(candidate: _Candidate) -> dict[str, Any]:
    """The labels of a map; the intact target belongs to no pair of states."""
    pair = dict.fromkeys(_STATES)
    if candidate.name != "intact":
        states = (candidate.stitch.source_state, candidate.stitch.target_state)
        pair = dict(zip(_STATES, states, strict=True))
        pair["source_state"] = states[0] if candidate.beside is None else candidate.beside
    return {**pair, "map": candidate.name, "ridge": candidate.ridge}


def _losses(
    pair: ModelPair, candidates: Sequence[_Candidate], reading: PairBatch
) -> Iterator[Float[np.ndarray, " batch"]]:
    """Summed loss of every row of a batch under each map."""
    read = {
        own: states_at(
            model, recording, [c.stitch.source_state for c in candidates if c.own == own]
        )
        for own, model, recording in (
            (False, pair.source, reading.source),
            (True, pair.target, reading.target),
        )
    }
    home = reading.target.stream
    tokens, mask = (t.to(home.device) for t in (reading.batch.tokens, reading.batch.mask))
    rows, places = torch.nonzero(mask[:, 1:], as_tuple=True)
    with head(pair.target) as logits_of:
        for c in candidates:
            mapped = c.stitch(read[c.own][c.stitch.source_state]).to(home.dtype).to(home.device)
            stream = through(
                pair.target, reading.target, mapped, c.stitch.target_state, pair.n_target
            )
            each = _token_losses(logits_of, stream[rows, places], tokens[rows, places + 1])
            total = torch.zeros(len(tokens), dtype=torch.float64)
            yield total.index_add_(0, rows.cpu(), widened(each.cpu())).numpy()


def _token_losses(
    logits_of: Head, rows: Float[Tensor, "token d_model"], targets: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    dtype = torch.promote_types(rows.dtype, torch.float32)
    parts = [
        torch.nn.functional.cross_entropy(logits_of(some).to(dtype), aims, reduction="none")
        for some, aims in zip(torch.split(rows, _ROWS), torch.split(targets, _ROWS), strict=True)
    ]
    return torch.cat(parts)


def _table(
    pair: ModelPair, rows: Sequence[Row], train: Sequence[int], test: Sequence[int], seed: int
) -> pd.DataFrame:
    """Losses and their rise over the first row, the intact target, with statistics."""
    _, intact, counts = rows[0]
    sums = np.stack([total for _, total, _ in rows], axis=1)
    rises = sums - intact[:, None]
    table = pd.DataFrame([facts for facts, *_ in rows])
    for name, totals in (("loss", sums), ("increase", rises)):
        low, high = statistics.of_ratio(totals, counts, seed=seed)
        table[name] = totals.sum(0) / counts.sum()
        table[f"{name}_low"], table[f"{name}_high"] = low, high
    made = {
        f"{side}{suffix}": identity(model)[fact]
        for side, model in (("source", pair.source), ("target", pair.target))
        for suffix, fact in (("", "model"), ("_revision", "revision"))
    }
    sizes = {
        "n_documents": len(test),
        "n_tokens": int(counts.sum()),
        "train_tokens": pair.tokens(train),
        "seed": seed,
    }
    return typed(table.assign(**made, **sizes).astype({"ridge": float}))


# What is asked for


def _checked(
    pair: ModelPair,
    states: Iterable[tuple[int, int]] | None,
    method: str,
    baselines: Sequence[str],
) -> list[tuple[int, int]]:
    if not ready(pair.target).causal:
        raise UnsupportedModelError(
            f"{pair.target.cfg.model_name} is a masked language model: it has no next-token loss"
        )
    ready(pair.source)
    if method not in METHODS:
        raise PlanError(f"no method {method!r}; there are {', '.join(METHODS)}")
    if unknown := [name for name in baselines if name not in BASELINES]:
        raise PlanError(f"no baseline {unknown[0]!r}; there are {', '.join(BASELINES)}")
    n, m = pair.n_source, pair.n_target
    chosen = [(i, round(i * m / n)) for i in range(n + 1)] if states is None else list(states)
    if not chosen:
        raise PlanError("no states to stitch; give at least one pair (source state, target state)")
    for i, j in chosen:
        for state, last, model in ((i, n, pair.source), (j, m, pair.target)):
            if not 0 <= state <= last:
                raise PlanError(
                    f"state {state} does not exist; {model.cfg.model_name} has states 0..{last}"
                )
    return chosen
