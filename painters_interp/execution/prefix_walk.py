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
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..models import device_of, refuse_headless
from ..plans import Plan, Step
from .anatomy import Family
from .application import ready
from .faces import Face
from .guards import user_hooks, without_hooks
from .layer_arguments import Arguments, bounded
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

    They are for the layers of `face`; None stands for the hooked one. Sequences packed in one row
    have no `tokens`.
    """

    stream: Float[Tensor, "batch pos d_model"]
    calls: tuple[Arguments, ...]
    tokens: Int[Tensor, "batch pos"] | None = None
    mask: Int[Tensor, "batch pos"] | None = None
    face: Face | None = None


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


def record_on(
    face: Face | None,
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None = None,
) -> Recording:
    """The same for the layers of another face of `model`; None stands for the hooked one."""
    if face is None:
        return record(model, tokens, mask)
    stream, calls = face.recorded(face.inputs(tokens, mask))
    return Recording(stream, tuple(call.without_cache() for call in calls), tokens, mask, face)


@contextmanager
def head(model: TransformerBridge, face: Face | None = None) -> Iterator[Head]:
    """The model's own final norm, head, soft caps and scales, as a function of residual rows.

    Hooks of the user do not see these passes. Raises UnsupportedModelError for hooks that ought
    to, and for an encoder without a head.
    """
    refuse_headless(model)
    hidden = refuse_hooked_head(model)
    if face is not None:
        yield face.logits
        return
    family: Family = ready(model)
    slots = nn.ModuleList([InjectorSlot(family) for _ in model.blocks])
    injector = slots[-1]
    device = device_of(model)

    def logits(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        injector.stream = rows.unsqueeze(1)
        dummy = torch.zeros((len(rows), 1), dtype=torch.long, device=device)
        with without_hooks(model) if hidden else nullcontext():
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
    blocks = list(model.blocks) if recording.face is None else recording.face.blocks
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
    with head(model, recording.face) as logits_of:
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
