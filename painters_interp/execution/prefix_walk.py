"""Many plans at once: beginnings that plans share are computed once.

The plans form a prefix tree over steps. The residual stream is kept at each fork, the tree is
walked depth first, or wide where that is faster, and blocks are called directly with the arguments
that the model itself would have given them. The result equals `applied`, which the tests hold to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..models import device_of, refuse_headless
from ..plans import Plan, Step
from ..plans.sharing import Beginning, prefix_tree
from ..progress import Advance
from .anatomy import Family
from .application import ready
from .faces import Face
from .gathered import Copies, walk_wide, widths
from .guards import Verdicts, user_hooks, without_hooks
from .kinds import few_layers
from .layer_arguments import Arguments, bounded
from .slots import InjectorSlot, Recorded, RecorderSlot
from .stepping import after_step
from .sublayers import refuse_halves
from .watched import logits_at, refuse_hooked_head
from .widening import in_float32

Repeated = Callable[[int], tuple[Arguments, ...]]
Head = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row vocab"]]
# From the logits of some plans at some of the rows (a slice of them) to what is kept of each.
Read = Callable[[Float[Tensor, "plan row vocab"], slice], Float[Tensor, "plan row number"]]

# Logits held at a time: 128 MiB of float32, some hundred rows, for which the head is fast.
_LOGITS_AT_ONCE = 2**25
# Plans that wait for the head together, where the rows of one alone are more than that.
_PLANS_AT_ONCE = 16
# Of the largest number in a stream: rounding is a thousand times less.
_TOLERANCE = 1e-4
_alike: Verdicts[bool] = Verdicts()


@dataclass(frozen=True, eq=False)
class Recording:
    """A batch as the layers would see it: the embedding output and each layer's arguments.

    They are for the layers of `face`; None stands for the hooked one. Sequences packed in one row
    have no `tokens`. `repeated` gives the arguments for so many copies of the batch, one below
    the other; it can be asked only where no plan and no head stands in the place of the layers.
    """

    stream: Float[Tensor, "batch pos d_model"]
    calls: tuple[Arguments, ...]
    tokens: Int[Tensor, "batch pos"] | None = None
    mask: Int[Tensor, "batch pos"] | None = None
    face: Face | None = None
    repeated: Repeated | None = None


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
    found = bounded(call.without_cache() for call in calls)
    again = partial(_repeated, None, model, tokens, mask, inputs)
    return Recording(stream, found, tokens, mask, repeated=again)


def record_on(
    face: Face | None,
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None = None,
    **inputs: Tensor,
) -> Recording:
    """The same for the layers of another face of `model`; None stands for the hooked one."""
    if face is None:
        return record(model, tokens, mask, **inputs)
    stream, calls = face.recorded(face.inputs(tokens, mask) | inputs)
    found = tuple(call.without_cache() for call in calls)
    again = partial(_repeated, face, model, tokens, mask, inputs)
    return Recording(stream, found, tokens, mask, face, again)


def _repeated(
    face: Face | None,
    model: TransformerBridge,
    tokens: Tensor,
    mask: Tensor | None,
    inputs: dict[str, Tensor],
    times: int,
) -> tuple[Arguments, ...]:
    """What the layers would be called with on so many copies of a batch."""
    tokens = tokens.repeat(times, 1)
    mask = None if mask is None else mask.repeat(times, 1)
    more = {name: torch.cat([value] * times) for name, value in inputs.items()}
    return record_on(face, model, tokens, mask, **more).calls


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


def walk(
    model: TransformerBridge,
    plans: Sequence[Plan],
    recording: Recording,
    advance: Advance = lambda calls: None,
    copies: Copies | None = None,
) -> Iterator[tuple[list[int], Float[Tensor, "batch pos d_model"]]]:
    """Yield the final residual stream of every distinct plan, with the indices of its plans.

    Streams come in the order of the walk, before the final norm. At most one stream per fork on
    the current path is alive; with `copies`, forks go through a layer together, and more are.
    `advance` is told the token-layer calls of each step.
    """
    for plan in plans:
        refuse_halves(model, plan)
    blocks = list(model.blocks) if recording.face is None else recording.face.blocks
    if copies is not None:
        yield from walk_wide(plans, recording.stream, blocks, copies, advance)
        return
    tokens = recording.stream.shape[0] * recording.stream.shape[1]

    # A stack, not recursion: plans may be thousands of steps deep. The stream of a node is
    # computed when the node is taken off, so siblings waiting on the stack cost only a reference.
    waiting: list[tuple[Beginning, Step | None, Tensor]] = [
        (prefix_tree(plans), None, recording.stream)
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


def copies_of(model: TransformerBridge, recording: Recording, plans: int) -> Copies | None:
    """For a walk of so many plans in which forks go through layers together.

    None where they go one by one. Ask before a head stands in the place of the layers.
    """
    size = recording.stream.shape[0] * recording.stream.shape[1]
    wide, face = widths(recording.stream.device, size, plans), recording.face
    if len(wide) == 1 or recording.repeated is None or (face is None and user_hooks(model)):
        return None
    if not copyable(model, face):
        return None
    return {1: recording.calls} | {times: recording.repeated(times) for times in wide[1:]}


def copyable(model: TransformerBridge, face: Face | None) -> bool:
    """Whether the layers of a face make the same of a batch and of copies of it.

    Tried in float32 on a few layers with every kind among them, with and without padding on the
    left, to 1e-4 of the largest number.
    """
    return _alike.told(model, partial(_agrees, model, face), face is None, else_=False)


@torch.no_grad()
def _agrees(model: TransformerBridge, face: Face | None) -> bool:
    plan = few_layers(model)
    plans = [plan, Plan(plan.steps[::-1], plan.n_layers)]  # both wait for each of the layers once
    length = min(8, int(model.cfg.n_ctx))
    tokens = torch.arange(2 * length, device=device_of(model)).reshape(2, -1) % model.cfg.d_vocab
    left = torch.ones_like(tokens)
    left[0, : length // 3] = 0
    apart = []
    with in_float32(model, *(() if face is None else [(face.root, face.blocks)])):
        for mask in (torch.ones_like(tokens), left):
            recording = record_on(face, model, tokens, mask)
            copies = {times: _repeated(face, model, tokens, mask, {}, times) for times in (1, 2)}
            alone = {end: stream for [end, *_], stream in walk(model, plans, recording)}
            for [end, *_], stream in walk(model, plans, recording, copies=copies):
                pads = (mask == 0)[..., None]
                both = torch.stack([stream - alone[end], alone[end]]).masked_fill(pads, 0)
                apart.append(both.abs().amax(dim=(1, 2, 3)))
    difference, largest = torch.stack(apart).amax(dim=0)
    return float(difference / largest) <= _TOLERANCE  # not for NaN


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
    (float64 for a float64 model), and may be written over. Logits are computed at `sources` only,
    for several finished plans together, so that the head's weights are read once for all of them.
    On a model with hooks of the user every plan runs by itself, and instead of a head `reader` is
    given the identity.
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
    copies = copies_of(model, recording, len(plans))
    with head(model, recording.face) as logits_of:
        read = reader(logits_of)
        for indices, stream in walk(model, plans, recording, advance, copies):
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
