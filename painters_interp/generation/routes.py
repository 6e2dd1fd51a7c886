"""Which way texts are written: all plans through one schedule, or plan by plan.

The schedule's way is tried on the model first. What it cannot do, the model's own `generate` does
inside `applied`, one plan after another, and that is said once.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GenerationConfig

from ..errors import out_of_memory
from ..execution import Verdicts, applied, face_of, measuring, refuse_unable, user_hooks
from ..execution.faces import Face, hooked
from ..execution.guards import Untold, nats_apart
from ..execution.kinds import few_layers
from ..execution.rotary import rotated_alike
from ..execution.widening import in_float32
from ..models import device_of, memory_of
from ..notices import warn
from ..plans import Plan, Step
from ..plans.sharing import prefix_tree
from ..progress import Advance
from ..texts import pad_of
from .ending import Ending
from .rooms import windows
from .trie import Ids, levels
from .writing import Style, Written, written, written_alone

T = TypeVar("T")
# Bytes for texts after some prompts under some plans.
Needed = Callable[[Sequence[Plan], Sequence[Ids]], int]

# Of a device's memory, for keys, values and logits of texts that are written together; and how many
# bytes at most where a process may be given less than there is.
_SHARE, _MOST = 4, 6 << 30
_ALONE = 8  # prompts that are continued together under one plan
_TOLERANCE = 1e-3
# Settings of generation that leave greedy decoding alone, or that are given.
_GREEDY = {
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "top_h", "eta_cutoff"),
    *("epsilon_cutoff", "eos_token_id", "bos_token_id", "pad_token_id", "max_length"),
    "max_new_tokens",
    *("use_cache", "return_dict_in_generate", "output_attentions", "output_hidden_states"),
    *("output_scores", "output_logits", "transformers_version", "decoder_start_token_id"),
    *("disable_compile", "num_return_sequences", "renormalize_logits", "compile_config"),
}  # fmt: skip

_reasons: Verdicts[str | None] = Verdicts()


@torch.no_grad()
def texts_under(
    model: TransformerBridge,
    plans: Sequence[Plan],
    prompts: Sequence[Ids],
    ending: Ending,
    cache: str = "exact",
    advance: Advance = lambda calls: None,
    memory: int | None = None,
) -> list[list[Written]]:
    """What the model writes greedily after every prompt under every plan.

    Plans and prompts go through one schedule, as many at once as fit into `memory` bytes: fewer
    prompts first, then fewer plans.

    Args:
        model: A model with hooks.
        plans: Plans of this model.
        prompts: Token ids of each prompt, as tuples.
        ending: What ends a text, besides what the model's own settings call an end.
        cache: "exact" or "averaged", as for `applied`.
        advance: Told the token-layer calls that are made or spared, those of pads among them.
        memory: Bytes of keys, values and logits; a quarter of the device's if not given, on a
            processor 6 GiB at most.

    Returns:
        What was written, as [plan][prompt].

    Raises:
        PlanError: a plan that the model cannot run.

    Example:
        >>> from painters_interp.generation import Ending
        >>> [[written]] = texts_under(
        ...     model, [painters.Plan.parse("0-2 5", 6)], [(1, 8, 9)], Ending(new=2)
        ... )
        >>> len(written.tokens)
        2
    """
    refuse_unable(model, plans, cache)  # before anything runs
    own = model.original_model.generation_config.eos_token_id
    eos = {*ending.eos, *(own if isinstance(own, list) else [own] if own is not None else [])}
    style = Style(
        replace(ending, eos=tuple(sorted(eos))), model.tokenizer, pad_of(model), cache == "averaged"
    )
    # Equal prompts have equal texts; prompts of one length are padded least together.
    order = sorted(dict.fromkeys(prompts), key=lambda ids: (-len(ids), ids))
    longest = max(map(len, prompts), default=0) + ending.new
    memory = room_on(device_of(model)) if memory is None else memory
    with measuring(model):
        way = way_to_write(model, plans, longest)
        if isinstance(way, Way):
            shared = replace(style, shares=way.shares)
            found = _together(model, way.face, plans, order, shared, advance, memory)
        else:
            warn(f"texts are written plan by plan: {way}")
            rows = _ALONE if longest <= rotated_alike(model.original_model.config) else 1
            found = [_one_by_one(model, plan, order, style, rows, advance) for plan in plans]
    place = {ids: k for k, ids in enumerate(order)}
    return [[texts[place[ids]] for ids in prompts] for texts in found]


def _together(
    model: TransformerBridge,
    face: Face,
    plans: Sequence[Plan],
    prompts: Sequence[Ids],
    style: Style,
    advance: Advance,
    memory: int,
) -> list[list[Written]]:
    seen = windows(face.root.config)
    assert seen is not None

    def write(chosen: Sequence[int], some: Sequence[int]) -> list[list[Written]]:
        under, after = [plans[plan] for plan in chosen], [prompts[prompt] for prompt in some]
        return written(face, under, after, style, seen, advance)

    needed = partial(bytes_needed, model, style)
    return in_parts(plans, prompts, needed, memory, write, lambda text: text.tokens is None)


def in_parts(
    plans: Sequence[Plan],
    prompts: Sequence[Ids],
    needed: Needed,
    memory: int,
    work: Callable[[Sequence[int], Sequence[int]], list[list[T]]],
    lost: Callable[[T], bool],
) -> list[list[T]]:
    """What `work` finds for some plans and prompts, by their indices, put together for all.

    `prompts` are expected longest first. What is `lost` behind padding is tried again without.
    """
    found: dict[tuple[int, int], T] = {}

    def add(chosen: Sequence[int], some: Sequence[int]) -> None:
        for plan, under in zip(chosen, work(chosen, some), strict=True):
            found.update({(plan, k): item for k, item in zip(some, under, strict=True)})

    parts = [*batches(plans, prompts, needed, memory)]
    _say_split(plans, prompts, needed, parts)
    for some, chosen in parts:
        add(chosen, some)
        for prompt in some:
            # Layers that mask by themselves may make NaN of pads, in float64.
            again = [plan for plan in chosen if lost(found[plan, prompt])]
            if again and len(prompts[prompt]) < len(prompts[some[0]]):
                add(again, [prompt])
    return [[found[plan, k] for k in range(len(prompts))] for plan in range(len(plans))]


def _one_by_one(
    model: TransformerBridge,
    plan: Plan,
    prompts: Sequence[Ids],
    style: Style,
    rows: int,
    advance: Advance,
) -> list[Written]:
    found: list[Written] = []
    for start in range(0, len(prompts), rows):
        some = prompts[start : start + rows]
        texts = written_alone(model, plan, some, style, advance)
        for ids, text in zip(some, texts, strict=True):
            padded = len(ids) < len(some[0])
            again = text.tokens is None and padded
            found += written_alone(model, plan, [ids], style) if again else [text]
    return found


def room_on(device: torch.device) -> int:
    """Bytes that texts may take if nobody says how many."""
    share = memory_of(device) // _SHARE
    return min(share, _MOST) if device.type == "cpu" else share


def batches(
    plans: Sequence[Plan], prompts: Sequence[Ids], needed: Needed, memory: int
) -> Iterator[tuple[range, range]]:
    """Prompts and plans, by their indices, that fit into `memory` together.

    All plans with as many prompts as fit; where one prompt is too much, as many plans as fit.
    Prompts are expected longest first.
    """

    def under(some: Sequence[Ids], chosen: Sequence[Plan]) -> int:
        return needed(chosen, some)

    start = 0
    while start < len(prompts):
        count = _most(prompts[start:], partial(needed, plans), memory)
        some, first = prompts[start : start + count], 0
        while first < len(plans):
            taken = _most(plans[first:], partial(under, some), memory)
            yield range(start, start + count), range(first, first + taken)
            first += taken
        start += count


def _most(left: Sequence[T], size: Callable[[Sequence[T]], int], memory: int) -> int:
    """How many of the first of `left` fit; 1 where none does."""
    if size(left) <= memory:
        return len(left)
    more = range(1, len(left))
    return max(1, bisect_left(more, True, key=lambda count: size(left[:count]) > memory))


def _say_split(
    plans: Sequence[Plan],
    prompts: Sequence[Ids],
    needed: Needed,
    parts: Sequence[tuple[range, range]],
) -> None:
    """Warn of texts that are not all written together, with the memory that is reserved."""
    if len(parts) < 2:
        return
    most = max(
        needed([plans[k] for k in chosen], [prompts[k] for k in some]) for some, chosen in parts
    )
    warn(
        f"texts are written in {len(parts)} parts of up to {most / 2**20:,.2f} MiB of keys, values "
        f"and logits; all together would take {needed(plans, prompts) / 2**20:,.2f} MiB"
    )


def bytes_needed(
    model: TransformerBridge, style: Style, plans: Sequence[Plan], prompts: Sequence[Ids]
) -> int:
    """Memory for all texts: keys and values of every call, logits, an attention map."""
    config, new = model.cfg, style.ending.new
    itemsize = int(next(model.original_model.parameters()).element_size())
    heads = getattr(config, "n_key_value_heads", None) or config.n_heads
    each = 2 * int(heads) * int(config.d_head) * itemsize
    width = max(map(len, prompts))
    sliding = {
        layer
        for layer, seen in enumerate(windows(model.original_model.config) or ())
        if seen is not None and seen < width + new
    }
    if not style.shares or style.averaged:
        sliding = {*range(len(model.blocks))}
    calls = Counter(call.layer in sliding for plan in plans for call in plan.calls)
    begun = Counter(
        call.layer in sliding for step, _ in prefix_tree(plans).inner() for call in step.calls
    )
    known = sum(len(level.rows) * level.new for level in levels(prompts)) if begun[False] else 0
    columns = len(prompts) * (calls[True] * (width + new) + calls[False] * new)
    logits = 3 * int(config.d_vocab) * max(4, itemsize)
    return each * (columns + begun[False] * known) + logits * len(plans) * len(prompts)


@dataclass(frozen=True, eq=False)
class Way:
    """A face on which texts are written, and whether rows may know their beginnings together."""

    face: Face
    shares: bool


def way_to_write(
    model: TransformerBridge, plans: Sequence[Plan] = (), longest: int = 0, given: bool = False
) -> Way | str:
    """The fastest way in which a schedule of `plans` writes texts of up to `longest` tokens.

    If there is none, the reason. A way is tried with what decoding adds to reading: keys and
    values that are remembered, and rows of several plans and lengths. Where texts are `given`, no
    settings of the model decide what is written.
    """
    if reason := _unfit(model, longest, given):
        return reason
    fast, slow = face_of(model, plans), hooked(model)
    ways = [Way(fast, True), Way(fast, False)] if fast.root is not slow.root else []
    for way in (*ways, Way(slow, False)):
        tried = partial(_difference, model, way)
        known = (way.face.known, way.shares)
        unknown = "nothing shows whether they could be written together"
        if (reason := _reasons.told(model, tried, known, else_=unknown)) is None:
            return way
    return str(reason)


def _unfit(model: TransformerBridge, longest: int, given: bool) -> str | None:
    """What keeps every face of `model` from writing by a schedule, without a trial."""
    if names := user_hooks(model):
        return f"the model carries hooks ({', '.join(names[:3])}), which see one plan at a time"
    if not given and (changed := _not_greedy(model.original_model.generation_config)):
        return f"its generation_config asks for more than the likeliest token ({changed})"
    if longest > (alike := rotated_alike(model.original_model.config)):
        return (
            f"beyond {alike:.0f} tokens its rotary embeddings depend on how long a text is, "
            "so that texts of several lengths would disturb each other"
        )
    if windows(model.original_model.config) is None:
        return "some of its layers keep states instead of keys and values"
    return None


def _not_greedy(config: GenerationConfig) -> str:
    plain = vars(GenerationConfig())
    changed = [
        f"{name}={value!r}"
        for name, value in vars(config).items()
        if not name.startswith("_") and name not in _GREEDY and value != plain.get(name)
    ]
    return ", ".join(changed)


def _difference(model: TransformerBridge, way: Way) -> str | None:
    """What differs when a few layers of a face write through a schedule, in float32.

    None for nothing: logits are those of the hooked model, read in one pass for each text.
    """
    few = few_layers(model)
    together = Step.of(*few.layer_calls)
    plans = [few, Plan(few.steps[::-1], few.n_layers), Plan((together,), few.n_layers)]
    context = int(min(model.cfg.n_ctx, rotated_alike(model.original_model.config)))
    generator = torch.Generator().manual_seed(0)
    size = max(1, min(20, (context - 4) // 2))
    draw = torch.randint(1, int(model.cfg.d_vocab), (3, size), generator=generator).tolist()
    prompts = [(*draw[0], *draw[1][:4]), (*draw[0], *draw[2][:2]), tuple(draw[2][: size // 2 + 1])]
    ending, face = Ending(min(3, context - size - 4) or 1), way.face
    style = Style(ending, model.tokenizer, pad_of(model), shares=way.shares)
    logits: list[Tensor] = []
    try:
        stacks = () if face.root is model.original_model else ((face.root, face.blocks),)
        with in_float32(model, *stacks):
            seen = windows(face.root.config)
            assert seen is not None
            texts = written(face, plans, prompts, style, seen, see=logits.append)
            found = torch.stack(logits, dim=1)
            for index, (plan, told) in enumerate(zip(plans, texts, strict=True)):
                for place, (prompt, text) in enumerate(zip(prompts, told, strict=True)):
                    row = found[index * len(prompts) + place]
                    gap = _gap(model, plan, (*prompt, *(text.tokens or ())), row)
                    if not gap <= _TOLERANCE:
                        return f"logits through a schedule differ by {gap:.2g} for this model"
    except Exception as error:  # whatever a layer does with arguments that it does not expect
        if isinstance(error, Untold) or out_of_memory(error):
            raise
        return f"its layers cannot be called row by row ({type(error).__name__}: {error})"
    return None


def _gap(
    model: TransformerBridge,
    plan: Plan,
    tokens: Sequence[int],
    logits: Float[Tensor, "token vocab"],
) -> float:
    """How far logits of the last tokens lie from those of one pass, in nats."""
    ids = torch.tensor([tokens], device=device_of(model))
    with applied(model, plan):
        out: Any = model.original_model(ids, attention_mask=torch.ones_like(ids))
    return nats_apart(logits, out.logits[0, -len(logits) - 1 : -1])
