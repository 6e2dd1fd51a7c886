"""`check`: prove on the user's own model that a plan runs exactly."""

from dataclasses import dataclass
from html import escape
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from .. import strategies as s
from ..models import Model, as_model, device_of, has_head, of_planned
from ..plans import Plan
from ..terminal import folded
from .application import applied, as_plan, ready
from .guards import measuring
from .prefix_walk import head, record, walk
from .sublayers import splittable
from .widening import in_float32

TOLERANCE = 1e-3
# What a plan may differ by where rounding alone is that large: so many times the gap that it makes,
# but never more than what is no rounding any more.
_SLACK, _MOST = 10, 2e-2
_LENGTHS = (24, 17)
_PREFILL = 7


@dataclass(frozen=True, repr=False)
class CheckReport:
    """Largest differences in log-probability (nats), judged in float32 or the model's float64.

    Of an encoder without a head, in the numbers of its final states.
    `cached_gap`: prefill and token-by-token decoding against one uncached pass (None for
    encoders). `runner_gap`: shared prefixes against `applied`. `padding_gap`: left- and
    right-padded batches against single sequences. `own_gap`: the cached gap (for encoders the
    runner gap) in half precision, for information only; None for a model that is not in it.
    `tolerance`: 1e-3; where a gap is larger, what rounding explains (2e-2 at most), which is ten
    times the gap of the intact model, or of the plan between one pass and passes over each
    beginning of the text, which need no cache, padding or runner.
    """

    plan: Plan
    cached_gap: float | None
    runner_gap: float
    padding_gap: float
    own_gap: float | None
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether every gap is within the tolerance; a gap that is not a number is not."""
        gaps = [self.runner_gap, self.padding_gap]
        gaps += [] if self.cached_gap is None else [self.cached_gap]
        return all(gap <= self.tolerance for gap in gaps)

    def __repr__(self) -> str:
        named = ("cached_gap", "runner_gap", "padding_gap", "own_gap")
        gaps = [(name.removesuffix("_gap"), getattr(self, name)) for name in named]
        told = ", ".join(f"{name} {gap:.1e}" for name, gap in gaps if gap is not None)
        verdict = "ok" if self.ok else "NOT OK"
        told = f"{self.plan} (gaps {told} nats; tolerance {self.tolerance:g})"
        return folded(f"CheckReport {verdict}: {told}", hang=4)

    def _repr_html_(self) -> str:
        sign = "\N{CHECK MARK}" if self.ok else "\N{BALLOT X}"
        return f"{sign} <code>{escape(repr(self))}</code>{self.plan._repr_html_()}"


@torch.no_grad()
@of_planned
def check(model: Model, plan: Plan | str) -> CheckReport:
    """Compare `plan` on `model` with itself, computed in three different ways.

    Runs on two seeded random sequences, half precision in float32 (bfloat16 alone differs by more
    than any error this looks for), one layer widened at a time; weights are put back bit for bit.

    Args:
        model: a bridge, a Hugging Face model, or a name.
        plan: what it is to run.

    Returns:
        The largest differences in log-probability (nats), and whether all are `.ok`.

    Raises:
        PlanError: a plan of another depth, or one that is applied already.
        UnsupportedModelError: layers that cannot be exchanged, or offloaded half precision.

    Example:
        >>> check(model, plan).ok
        True
    """
    model = as_model(model)
    plan = as_plan(plan, model)
    causal = ready(model).causal
    long, short = _sequences(model)
    with measuring(model), in_float32(model):
        with applied(model, plan):
            plain = _logprobs(model, long)
            brief = _logprobs(model, short)
            cached = _gap(_decoded(model, long), plain) if causal else None
            padding = max(
                _gap(_padded(model, long, short, left=left), brief) for left in (True, False)
            )
        runner = _gap(_shared(model, plan, long), plain)
        gaps = [gap for gap in (cached, runner, padding) if gap is not None]
        sound = all(gap <= TOLERANCE for gap in gaps)
        tolerance = TOLERANCE if sound else _explained(model, plan, long, short, causal)
    own = _own_gap(model, plan, long, causal)
    return CheckReport(plan, cached, runner, padding, own, tolerance)


def _explained(
    model: TransformerBridge, plan: Plan, long: Tensor, short: Tensor, causal: bool
) -> float:
    """The tolerance that knows how far a model is from itself where nothing but rounding differs.

    Layers that follow others than they were trained to amplify it, so the plan is asked, too.
    """
    gaps = [_gap(_padded(model, long, short, left=False), _logprobs(model, short))]
    if causal:
        gaps.append(_gap(_decoded(model, long), _logprobs(model, long)))
        with applied(model, plan):
            gaps.append(_gap(_from_beginnings(model, long), _logprobs(model, long)))
    rounding = max((gap for gap in gaps if gap == gap), default=0.0)
    return min(max(TOLERANCE, _SLACK * rounding), _MOST)


def _from_beginnings(
    model: TransformerBridge, tokens: Int[Tensor, "1 pos"]
) -> Float[Tensor, "pos vocab"]:
    """Log-probabilities, each row the last of a pass over the tokens up to there."""
    ends = range(1, tokens.shape[1] + 1)
    return torch.stack([_logprobs(model, tokens[:, :end])[-1] for end in ends])


def _own_gap(
    model: TransformerBridge, plan: Plan, tokens: Int[Tensor, "1 pos"], causal: bool
) -> float | None:
    if all(p.itemsize >= torch.float32.itemsize for p in model.original_model.parameters()):
        return None
    with measuring(model), applied(model, plan):
        plain = _logprobs(model, tokens)
        other = _decoded(model, tokens) if causal else None
    return _gap(_shared(model, plan, tokens) if other is None else other, plain)


def specimens(model: TransformerBridge) -> list[Plan]:
    """Plans with every kind of step that `model` can run.

    Skip first, middle and last; swap; reverse; repeat; parallel; looped; summed; damped; a damped
    block; tracks; halves.
    """
    n = len(model.blocks)
    if n < 4:
        return [s.full(n), *(s.drop(n, i) for i in range(n) if n > 1)]
    a, b, window = n // 2 - 1, n // 2, s.middle(n, 0)
    texts = [f"0-{a} ({b}|{n - 1})@sum", f"0-{a} {b}@0.5*2", f"0 [1-{a + 1}]@0.5*2 {n - 1}"]
    texts += [f"([0-{a}]|[{b}-{n - 1}]) {n - 1}"]
    texts += [f"0.attn 1-{a} {b}.mlp"] if splittable(model) else []
    return [
        s.full(n),
        *(s.drop(n, i) for i in (0, b, n - 1)),
        s.swap(n, 0, 1),
        s.reverse(n, window),
        s.repeat_center(n, window),
        s.parallel(n, window),
        s.looped_parallel(n, window, times=3),
        *(Plan.parse(text, n) for text in texts),
    ]


def _sequences(model: TransformerBridge) -> tuple[Int[Tensor, "1 long"], Int[Tensor, "1 short"]]:
    """Random tokens, none of them a pad, of lengths that fit the context."""
    generator, pad = torch.Generator().manual_seed(0), _pad(model)
    context = min(int(model.cfg.n_ctx), model.tokenizer.model_max_length)
    width = min(_LENGTHS[0], context)
    lengths = (width, max(1, width * _LENGTHS[1] // _LENGTHS[0]))
    long, short = (
        torch.randint(0, int(model.cfg.d_vocab) - 1, (1, n), generator=generator) for n in lengths
    )
    device = device_of(model)
    return (long + (long >= pad)).to(device), (short + (short >= pad)).to(device)


def _pad(model: TransformerBridge) -> int:
    """The token that pads: some models count positions by it."""
    named = (model.original_model.config.pad_token_id, model.tokenizer.pad_token_id)
    return next((p for p in named if p is not None and 0 <= p < model.cfg.d_vocab), 0)


def _logprobs(model: TransformerBridge, tokens: Tensor, **kwargs: object) -> Tensor:
    return _compared(model, model(tokens, **kwargs))[0]


def _compared(model: TransformerBridge, output: Tensor) -> Tensor:
    """Log-probabilities from logits; final states, where there is no head, as they are."""
    return output.log_softmax(-1) if has_head(model) else output


def _decoded(model: TransformerBridge, tokens: Int[Tensor, "1 pos"]) -> Float[Tensor, "pos vocab"]:
    """Log-probabilities from a prefill of a few tokens and then one token at a time.

    Called as the model's own `generate` calls it: some take a cache under a name of their own, and
    some count positions from 0 unless they are told.
    """
    root = model.original_model
    names = signature(root.forward).parameters
    past = "past_key_values" if "past_key_values" in names else "cache_params"
    rows: list[Tensor] = []
    cache: dict[str, Any] = {}
    prefill = min(_PREFILL, max(1, tokens.shape[1] // 2))
    columns = torch.arange(tokens.shape[1], device=tokens.device)[None]
    for start, end in [(0, prefill), *((t, t + 1) for t in range(prefill, tokens.shape[1]))]:
        told = {"position_ids": columns[:, start:end]} if "position_ids" in names else {}
        out = root(tokens[:, start:end], use_cache=True, return_dict=True, **told, **cache)
        cache = {past: getattr(out, past)}
        rows.append(out.logits.log_softmax(-1)[0])
    return torch.cat(rows)


def _padded(model: TransformerBridge, long: Tensor, short: Tensor, *, left: bool) -> Tensor:
    """Log-probabilities of `short`, read out of a batch in which it is padded."""
    width, length = long.shape[1], short.shape[1]
    real = slice(width - length, width) if left else slice(0, length)
    tokens = torch.cat([long, torch.full_like(long, _pad(model))])
    mask = torch.zeros_like(tokens)
    tokens[1, real], mask[0], mask[1, real] = short[0], 1, 1
    return _compared(model, model(tokens, attention_mask=mask))[1, real]


def _shared(model: TransformerBridge, plan: Plan, tokens: Tensor) -> Tensor:
    """Log-probabilities through the runner, every position."""
    [(_, stream)] = walk(model, [plan], record(model, tokens))
    if not has_head(model):
        return stream[0]
    with head(model) as logits_of:
        return logits_of(stream[0]).log_softmax(-1)


def _gap(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; NaN, which no tolerance accepts, if anything is not a number.

    What both exclude (-inf) does not differ.
    """
    return float((a - b).abs().masked_fill(a == b, 0).max())
