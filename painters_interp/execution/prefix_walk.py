"""Many plans at once: beginnings that plans share are computed once.

The plans form a prefix tree over steps. The residual stream is kept at each fork, the tree is
walked depth first, and blocks are called directly with the arguments that the model itself would
have given them. The result equals `applied`, which the tests hold to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import several
from ..errors import TextError, UnsupportedModelError
from ..models import Model, as_model, device_of, refuse_headless
from ..plans import Plan, Step
from ..texts import TokenIds, as_tokens
from .anatomy import Arguments, Family, bounded
from .application import as_plan, ready
from .guards import measuring, user_hooks, without_hooks
from .slots import InjectorSlot, Recorded, RecorderSlot
from .stepping import after_step
from .sublayers import refuse_halves
from .watched import logits_at, refuse_hooked_head

Advance = Callable[[int], object]
Head = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row vocab"]]
# From the logits of some plans at some of the rows (a slice of them) to what is kept of each.
Read = Callable[[Float[Tensor, "plan row vocab"], slice], Float[Tensor, "plan row number"]]

# Logits held at a time: 128 MiB of float32, some hundred rows, for which the head is fast.
_LOGITS_AT_ONCE = 2**25
# Plans that wait for the head together, where the rows of one alone are more than that.
_PLANS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Recording:
    """A batch as the layers would see it: the embedding output and each layer's arguments.

    Sequences packed in one row have no `tokens`.
    """

    stream: Float[Tensor, "batch pos d_model"]
    calls: tuple[Arguments, ...]
    tokens: Int[Tensor, "batch pos"] | None = None
    mask: Int[Tensor, "batch pos"] | None = None


@dataclass(frozen=True, eq=False)
class Scores:
    """Per plan and target: log-probability in nats, and whether the target was the argmax."""

    logprobs: Float[Tensor, "plan target"]
    greedy: Bool[Tensor, "plan target"]


def record(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None = None,
    **inputs: Tensor,
) -> Recording:
    """What every layer would be called with on this batch; no layer runs.

    `inputs` are what else the model takes, such as `token_type_ids`.
    """
    family = ready(model)
    calls: list[Arguments] = []
    last = len(model.blocks) - 1
    slots = [RecorderSlot(family, calls, last=i == last) for i in range(last + 1)]
    with family.exchanged(nn.ModuleList(slots)), suppress(Recorded):
        model(tokens, attention_mask=mask, **inputs)
    stream = slots[-1].stream
    assert stream is not None
    return Recording(stream, bounded(call.without_cache() for call in calls), tokens, mask)


@contextmanager
def head(model: TransformerBridge) -> Iterator[Head]:
    """The model's own final norm, head, soft caps and scales, as a function of residual rows.

    Hooks of the user do not see these passes. Raises UnsupportedModelError for hooks that ought
    to, and for an encoder without a head.
    """
    refuse_headless(model)
    hooked = refuse_hooked_head(model)
    family: Family = ready(model)
    slots = nn.ModuleList([InjectorSlot(family) for _ in model.blocks])
    injector = slots[-1]
    device = device_of(model)

    def logits(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        injector.stream = rows.unsqueeze(1)
        dummy = torch.zeros((len(rows), 1), dtype=torch.long, device=device)
        with without_hooks(model) if hooked else nullcontext():
            out: Tensor = model(dummy)
        return out.squeeze(1)

    with family.exchanged(slots):
        yield logits


@dataclass(eq=False)
class _Node:
    """A distinct beginning: the plans that end here, and the steps that go on."""

    ends: list[int] = field(default_factory=list)
    children: dict[Step, "_Node"] = field(default_factory=dict)


def _prefix_tree(plans: Sequence[Plan]) -> _Node:
    root = _Node()
    for index, plan in enumerate(plans):
        node = root
        for step in plan.steps:
            node = node.children.setdefault(step, _Node())
        node.ends.append(index)
    return root


def residuals_alive(plans: Sequence[Plan]) -> int:
    """How many residual streams `walk` holds at once, at most: its memory, in units of a batch.

    One for each fork on the way to the current step, and the one that the step makes; 31 for the
    paper's suite of 626 plans on 30 layers.
    """
    most, alive = 0, 1  # a stream is alive as long as a child of its node waits
    waiting: list[tuple[_Node, bool]] = [(_prefix_tree(plans), True)]
    while waiting:
        most = max(most, alive + 1)
        node, last = waiting.pop()
        children = [*node.children.values()]
        alive += bool(children) - last
        waiting += [(child, child is children[-1]) for child in reversed(children)]
    return most


def walk(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    advance: Advance = lambda calls: None,
) -> Iterator[tuple[list[int], Float[Tensor, "batch pos d_model"]]]:
    """Yield the final residual stream of every distinct plan, with the indices of its plans.

    Streams come in the order of the walk, before the final norm. At most one stream per fork on
    the current path is alive. `advance` is told the token-layer calls of each step.
    """
    for plan in plans:
        refuse_halves(model, plan)
    blocks = list(model.blocks)
    tokens = recording.stream.shape[0] * recording.stream.shape[1]

    # A stack, not recursion: plans may be thousands of steps deep. The stream of a node is
    # computed when the node is taken off, so siblings waiting on the stack cost only a reference.
    waiting: list[tuple[_Node, Step | None, Tensor]] = [
        (_prefix_tree(plans), None, recording.stream)
    ]
    while waiting:
        node, step, stream = waiting.pop()
        if step is not None:
            given = [recording.calls[call.layer] for call in step.calls]
            stream = after_step(step, stream, blocks, given)
            advance(step.size * tokens)
        if node.ends:
            yield node.ends, stream
        waiting += [(child, s, stream) for s, child in reversed(node.children.items())]


@torch.no_grad()
def read_out(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    sources: Int[Tensor, "row 2"],
    reader: Callable[[Head], Read],
    advance: Advance = lambda calls: None,
) -> Float[Tensor, "plan row number"]:
    """Numbers read from each plan's logits at the residual rows (batch, pos) of `sources`.

    `reader` is given the head and returns what to keep of a piece of logits, which are float32
    (float64 for a float64 model). Logits are computed at `sources` only, for several finished
    plans together, so that the head's weights are read once for all of them. On a model with hooks
    of the user every plan runs by itself, and instead of a head `reader` is given the identity.
    """
    dtype = torch.promote_types(recording.stream.dtype, torch.float32)
    most = max(1, _LOGITS_AT_ONCE // int(model.cfg.d_vocab))
    if user_hooks(model):
        read, numbers = reader(lambda logits: logits), []
        for plan in plans:
            logits = logits_at(model, plan, recording.tokens, recording.mask, sources)
            numbers.append(_read(lambda rows: rows, read, logits[None], dtype, most)[0])
            advance(len(plan.calls) * recording.stream.shape[0] * recording.stream.shape[1])
        return torch.stack(numbers)
    at_once = most // max(1, len(sources)) or _PLANS_AT_ONCE
    finished: list[tuple[list[int], Tensor]] = []
    found: dict[int, Tensor] = {}

    def read_finished() -> None:
        rows = torch.stack([rows for _, rows in finished])
        numbers_of = _read(logits_of, read, rows, dtype, most)
        for (indices, _), numbers in zip(finished, numbers_of, strict=True):
            found.update(dict.fromkeys(indices, numbers))
        finished.clear()

    for plan in plans:  # before something else stands in the place of the layers
        refuse_halves(model, plan)
    with head(model) as logits_of:
        read = reader(logits_of)
        for indices, stream in walk(model, plans, recording, advance):
            finished.append((indices, stream[sources[:, 0], sources[:, 1]]))
            if len(finished) == at_once:
                read_finished()
        if finished:
            read_finished()
    return torch.stack([found[index] for index in range(len(plans))])


def _read(
    logits_of: Head,
    read: Read,
    rows: Float[Tensor, "plan row d_model"],
    dtype: torch.dtype,
    most: int,
) -> Float[Tensor, "plan row number"]:
    """At most so many rows at a time, in even parts, and of these as many plans as fit."""
    parts = []
    size = ceil(rows.shape[1] / ceil(rows.shape[1] / most))
    for start in range(0, rows.shape[1], size):
        span = slice(start, start + size)
        at_once = max(1, most // rows[:, span].shape[1])
        found = []
        for some in torch.split(rows[:, span], at_once):
            logits = logits_of(some.flatten(0, 1)).to(dtype)
            found.append(read(logits.reshape(*some.shape[:2], -1), span))
        parts.append(torch.cat(found))
    return torch.cat(parts, dim=1)


def score_targets(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    sources: Int[Tensor, "target 2"],
    targets: Int[Tensor, " target"],
    advance: Advance = lambda calls: None,
) -> Scores:
    """Score each target token from the residual row (batch, pos) that predicts it, under each plan.

    Logits are computed at `sources` only.
    """

    def read(logits: Tensor, span: slice) -> Tensor:
        target = targets[span, None].expand(len(logits), -1, 1)
        logprobs = logits.gather(-1, target) - logits.logsumexp(-1, keepdim=True)
        hits = logits.argmax(-1, keepdim=True) == target
        return torch.cat([logprobs, hits.to(logprobs)], dim=-1)

    found = read_out(model, plans, recording, sources, lambda logits_of: read, advance)
    return Scores(found[..., 0], found[..., 1].bool())


def token_logprobs(
    model: Model,
    plans: Plan | str | Sequence[Plan | str],
    tokens: TokenIds,
    attention_mask: TokenIds | None = None,
) -> Float[Tensor, "plan batch next"]:
    """Log-probability in nats of every token given the real tokens before it, under each plan.

    Entry t is log p(token t+1 | real tokens up to t), in float32 (float64 for a float64 model);
    NaN where token t+1 is padding or has only padding before it. Positions are derived from the
    mask, so left and right padding give the same numbers.

    Raises UnsupportedModelError for masked language models, which have no next token, and
    TextError for tokens that are not a batch of sequences of two tokens or more, or that the model
    has no embeddings of.
    """
    model = as_model(model)
    if not ready(model).causal:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is a masked language model: it has no next-token "
            "probabilities. Use `applied` and read its logits at masked positions"
        )
    tokens = as_tokens(model, tokens)
    if tokens.shape[1] < 2:
        raise TextError(f"tokens have shape {tuple(tokens.shape)}; (batch, pos >= 2) is needed")
    if attention_mask is not None:
        attention_mask = torch.as_tensor(attention_mask).to(tokens)
    real = torch.ones_like(tokens) if attention_mask is None else attention_mask
    checked = [as_plan(plan, model) for plan in several(plans, str, Plan)]
    # The row that predicts token t+1 is the last real token at or before t.
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    previous = torch.where(real.bool(), positions, -1).cummax(dim=1).values[:, :-1]
    batch, pos = torch.nonzero(real[:, 1:].bool() & (previous >= 0), as_tuple=True)
    sources = torch.stack([batch, previous[batch, pos]], dim=1)
    with measuring(model):
        recording = record(model, tokens, attention_mask)
        scores = score_targets(model, checked, recording, sources, tokens[batch, pos + 1])
    shape = (len(checked), tokens.shape[0], tokens.shape[1] - 1)
    out = scores.logprobs.new_full(shape, torch.nan)
    out[:, batch, pos] = scores.logprobs
    return out
