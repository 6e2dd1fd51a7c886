"""What a block adds each time it is run again: how long its steps are, and how they turn."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..execution import ready
from ..measures import Curve
from ..models import Model, as_model, numbers
from ..notices import say_nan
from ..plans import Plan
from ..progress import progress
from ..strategies import damped_block
from ..streams import see_states
from ..texts import Texts, as_texts, batched, in_pieces

_TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 8192}


@torch.no_grad()
def loop_turns(
    model: Model, texts: Texts, first: int, last: int, times: int, scale: float = 1.0
) -> dict[str, Curve]:
    """Run layers first..last again and again, and measure the step that each pass makes.

    Place k is the pass k, from 0. `loop_step` is the length of its step over that of the stream
    that it reads; `loop_turn` the cosine of its step with the one before, which the first pass
    has none of (NaN). Means over tokens, without the first of a text, then over texts.

    Args:
        model: see `as_model`; hooks on it act.
        texts: one string or any number of them.
        first: the first layer of the block.
        last: its last layer.
        times: passes, 2 or more.
        scale: what the block's update is multiplied by.

    Returns:
        Both curves by name, with their values per text.

    Raises:
        PlanError: a block, a scale or a number of passes that is none.
        TextError: texts that cannot be read.

    Example:
        >>> turns = painters.patching.loop_turns(model, texts, 2, 3, times=4)
        >>> bool(turns["loop_step"].curve.gt(0).all())
        True
    """
    model = as_model(model)
    ready(model)
    plan = damped_block(len(model.blocks), first, last, scale, max(2, times))
    wanted = _places(plan, first, max(2, times))
    texts = as_texts(texts)
    pieces, owners = in_pieces(model, texts)
    sums, counts = np.zeros((2, len(texts), max(2, times))), np.zeros((len(texts), 1))
    batches = batched(model, pieces, _TOKENS_AT_ONCE)
    total = sum(batch.tokens.numel() for batch in batches) * len(plan.calls)
    with progress("loops", total) as advance:
        for batch in batches:
            seen: dict[int, Tensor] = {}
            counted = batch.real(but_first=1)

            def keep(
                state: int, stream: Tensor, into: dict[int, Tensor] = seen, of: Tensor = counted
            ) -> None:
                if state in wanted:
                    into[state] = stream[of]

            see_states(model, batch.tokens, batch.mask, plan, keep)
            found = numbers(_turns([seen[place] for place in wanted]))
            documents = batch.documents(owners, [length - 1 for length in batch.lengths])
            np.add.at(sums.transpose(1, 0, 2), documents, found.transpose(2, 0, 1))
            np.add.at(counts, documents, 1)
            advance(batch.tokens.numel() * len(plan.calls))
    means = sums / counts
    broken = int(np.isnan(means[0]).any(axis=1).sum())
    say_nan(f"a step of the loop {str(plan)!r}", broken, len(texts), "texts")
    everyone = tuple(range(len(texts)))
    names = ("loop_step", "loop_turn")
    return {name: Curve(m, everyone, "pass", name) for name, m in zip(names, means, strict=True)}


def loop_calls(model: Model, texts: Texts, first: int, last: int, times: int) -> int:
    """What `loop_turns` takes, without padding.

    Args:
        model: Whatever `load_model` takes or returns.
        texts: The documents.
        first: The first layer of the loop.
        last: Its last layer.
        times: The number of turns.

    Returns:
        Token-layer calls.

    Raises:
        TextError: texts that cannot be read.

    Example:
        >>> loop_calls(model, texts, 2, 3, times=2) > 0
        True
    """
    model = as_model(model)
    pieces, _ = in_pieces(model, as_texts(texts))
    plan = damped_block(len(model.blocks), first, last, 1.0, times)
    return sum(map(len, pieces)) * len(plan.calls)


def _places(plan: Plan, first: int, times: int) -> list[int]:
    """The states before each pass and behind the last: a pass is a step, or one for each layer."""
    each = (plan.depth - (plan.n_layers - _length(plan, times))) // times
    return [first + k * each for k in range(times + 1)]


def _length(plan: Plan, times: int) -> int:
    """Layers of the block, of a plan that calls it so many times and all others once."""
    return (len(plan.calls) - plan.n_layers) // (times - 1)


def _turns(
    states: Sequence[Float[Tensor, "token d_model"]],
) -> Float[Tensor, "2 pass token"]:
    """Relative lengths of the steps between states, and cosines of neighbours."""
    wide = torch.stack(list(states)).double()
    steps = wide[1:] - wide[:-1]
    lengths = steps.norm(dim=-1)
    cosines = (steps[1:] * steps[:-1]).sum(dim=-1) / (lengths[1:] * lengths[:-1])
    none = torch.full_like(lengths[:1], torch.nan)
    return torch.stack([lengths / wide[:-1].norm(dim=-1), torch.cat([none, cosines])])
