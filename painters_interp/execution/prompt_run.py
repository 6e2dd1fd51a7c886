"""A run that can be taken up again before any step, with the past of its prompt kept.

What a causal model computes at a position does not depend on later ones. So when a stream is
changed from some position on, the keys and values of the positions before it stay as they are,
and only the rest is run again, from the step where the change was made.
"""

import copy
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformers.cache_utils import Cache

from ..errors import out_of_memory
from ..models import device_of
from ..plans import Plan
from ..progress import Advance
from ..strategies import full
from .application import applied, as_plan, ready
from .caches import SlotCache
from .guards import Verdicts, nats_apart, user_hooks
from .kinds import few_layers
from .layer_arguments import Arguments, bounded
from .prefix_walk import head
from .slots import Recorded, RecorderSlot
from .stepping import after_step
from .sublayers import refuse_halves
from .widening import in_float32

_TOLERANCE = 1e-3
# Tokens that go through a layer together: more of them would only fill memory.
_TOKENS_AT_ONCE = 2048
_resumable: Verdicts[bool] = Verdicts()


@dataclass(frozen=True, eq=False)
class PromptRun:
    """One prompt under one plan: its stream before every step, and the past needed to go on.

    `states[k]` is the stream before step k, `states[depth]` the one before the final norm, at all
    positions. `resume` runs positions `start`.. again; `past` holds the earlier ones.
    """

    model: TransformerBridge = field(repr=False)
    plan: Plan
    tokens: Int[Tensor, "1 pos"]
    start: int
    past: Cache | None
    states: Float[Tensor, "state pos d_model"]
    _calls: dict[int, tuple[Arguments, ...]] = field(default_factory=dict, repr=False)

    @property
    def rows_at_once(self) -> int:
        """How many rows `resume` takes through a layer together; more only fill memory."""
        return max(1, _TOKENS_AT_ONCE // (self.tokens.shape[1] - self.start))

    @torch.no_grad()
    def resume(
        self,
        step: int,
        streams: Float[Tensor, "row suffix d_model"],
        advance: Advance = lambda calls: None,
    ) -> Float[Tensor, "row suffix d_model"]:
        """The final streams of rows that are put before `step` at positions `start`.. .

        `advance` is told the token-layer calls of each step.
        """
        parts = torch.split(streams, self.rows_at_once)
        return torch.cat([self._resumed(step, part, advance) for part in parts])

    def _resumed(self, step: int, streams: Tensor, advance: Advance) -> Tensor:
        past = None if self.past is None else _fork(self.past, len(streams))
        slot = sum(s.size for s in self.plan.steps[:step])
        blocks, calls = list(self.model.blocks), self._arguments(len(streams))
        for s in self.plan.steps[step:]:
            slots = range(slot, slot := slot + s.size)
            given = [_seeing(calls[k], past, k) for k in slots]
            streams = after_step(s, streams, blocks, given)
            advance(s.size * streams.shape[0] * streams.shape[1])
        return streams

    def _arguments(self, rows: int) -> tuple[Arguments, ...]:
        """What every slot is called with for so many rows: some masks hold an entry per row."""
        if rows not in self._calls:
            past = None if self.past is None else _fork(self.past, rows)
            tokens = self.tokens[:, self.start :].expand(rows, -1)
            self._calls[rows] = _recorded(self.model, self.plan, tokens, past)[1]
        return self._calls[rows]


@torch.no_grad()
def run(
    model: TransformerBridge, tokens: Int[Tensor, "1 pos"], plan: Plan | str | None, first: int = 0
) -> PromptRun:
    """Run `plan` (None: the intact model) on one prompt, to be resumed with changes from `first`.

    Raises PlanError as `applied` does.
    """
    ready(model)
    plan = full(len(model.blocks)) if plan is None else as_plan(plan, model)
    refuse_halves(model, plan)
    states = _states(model, plan, tokens)
    start = resume_from(model, plan, tokens.shape[1], first)
    past = _prefilled(model, plan, tokens[:, :start]) if start else None
    return PromptRun(model, plan, tokens, start, past, states)


def resume_from(model: TransformerBridge, plan: Plan, length: int, first: int) -> int:
    """From which position a run of `length` tokens is resumed when the first change is at `first`.

    There if the model's layers can go on from keys and values, else at 0: linear layers keep a
    state, encoders look ahead. Hooks of the user always see whole prompts.
    """
    if not first or user_hooks(model):
        return 0
    return first if resumable(model, plan, length) else 0


def resumable(model: TransformerBridge, plan: Plan, length: int) -> bool:
    """Whether runs of `plan` on prompts of up to `length` tokens go on from keys and values.

    Tried once per model and length (rounded up to a power of two) on random tokens, a few layers
    with every kind among them against themselves, in float32, to 1e-3 nats. Not resumed for this
    time is a model whose numbers there are NaN, or for whose trial memory runs out.
    """
    family = ready(model)
    if not family.causal or any(family.recurs[layer] for layer in plan.layer_calls):
        return False
    length = min(max(8, 1 << (length - 1).bit_length()), int(model.cfg.n_ctx))
    return _resumable.told(model, lambda: _agrees(model, length), length, else_=False)


def _agrees(model: TransformerBridge, length: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, model.cfg.d_vocab, (1, length), generator=generator)
    tokens = tokens.to(device_of(model))
    start, plan = length // 2, few_layers(model)
    with in_float32(model):
        states = _states(model, plan, tokens)
        try:
            past = _prefilled(model, plan, tokens[:, :start])
            again = PromptRun(model, plan, tokens, start, past, states).resume(
                0, states[:1, start:]
            )
        except RuntimeError as error:  # a layer that cannot take arguments of such shapes
            if out_of_memory(error):
                raise
            return False
        with head(model) as logits_of:
            found, expected = (logits_of(s) for s in (again[0], states[-1, start:]))
    return nats_apart(found, expected) <= _TOLERANCE  # False for NaN


def _states(
    model: TransformerBridge, plan: Plan, tokens: Int[Tensor, "1 pos"]
) -> Float[Tensor, "state pos d_model"]:
    """The stream before each step and after the last, the whole prompt at once."""
    stream, calls = _recorded(model, plan, tokens, None)
    states, blocks, slot = [stream], list(model.blocks), 0
    for step in plan.steps:
        given = calls[slot : slot + step.size]
        states.append(after_step(step, states[-1], blocks, given))
        slot += step.size
    return torch.cat(states)


def _recorded(
    model: TransformerBridge, plan: Plan, tokens: Tensor, past: Cache | None
) -> tuple[Tensor, tuple[Arguments, ...]]:
    """The embedding output, and what each slot of `plan` would be called with; no layer runs."""
    family = ready(model)
    calls: list[Arguments] = []
    last = len(plan.calls) - 1
    slots = [RecorderSlot(family, calls, last=i == last) for i in range(last + 1)]
    remember = {} if past is None else {"past_key_values": past, "use_cache": True}
    with family.exchanged(nn.ModuleList(slots), plan.layer_calls), suppress(Recorded):
        model(tokens, **remember)
    stream = slots[-1].stream
    assert stream is not None
    if past is None:
        calls = [call.without_cache() for call in calls]
    return stream, bounded(calls)


def _prefilled(model: TransformerBridge, plan: Plan, tokens: Int[Tensor, "1 pos"]) -> Cache:
    """The cache of the first tokens, an entry per slot of `plan`."""
    with applied(model, plan):
        _, past = model(tokens, use_cache=True, return_type="logits_and_cache")
    assert isinstance(past, Cache)
    return past


def _fork(past: Cache, rows: int) -> Cache:
    """A cache that begins like `past` in each of so many rows, and can be written to instead.

    Entries of keys and values are replaced when they grow, never written into, so that a
    shallow copy of each is enough.
    """
    forked = copy.copy(past)
    forked.layers = [copy.copy(layer) for layer in past.layers]
    for layer in forked.layers:
        for name in ("keys", "values"):
            held = getattr(layer, name)
            setattr(layer, name, held.expand(rows, *held.shape[1:]))
    return forked


def _seeing(call: Arguments, past: Cache | None, slot: int) -> Arguments:
    return call if past is None else call.with_cache(SlotCache(past, slot))
