"""Patchscopes: a hidden state explained by the model itself (arXiv 2401.06102)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting
from ..errors import PatchError
from ..execution import measuring, run
from ..models import Model, as_model
from ..notices import NOT_FINITE
from ..texts import pad_of
from .prompts import Text, prompt, refuse_masked, state_list


@torch.no_grad()
@counting(max_new_tokens=1)
def patchscope(
    model: Model,
    source_prompt: Text,
    source_position: int,
    source_state: int,
    target_prompt: Text,
    target_position: int,
    target_state: int,
    max_new_tokens: int = 20,
    mapping: Callable[[Tensor], Tensor] = lambda state: state,
) -> str:
    """What the model writes after the target prompt when it reads a state of the source there.

    The state takes its place while the target prompt is read; tokens written later see it through
    the keys and values of that position. State k is the stream before layer k; n_layers is the one
    after the last. Decoding is greedy.

    Args:
        model: Whatever `load_model` takes or returns.
        source_prompt: The prompt that gives the state.
        source_position: Where in it.
        source_state: Which state.
        target_prompt: The prompt that takes it.
        target_position: Where in it.
        target_state: Which state is replaced.
        max_new_tokens: How many tokens are written.
        mapping: From the state that is taken to the one that is put in, both of shape (d_model,).

    Returns:
        The new text only.

    Raises:
        PatchError: for positions and states that do not fit, and where a logit is NaN.
        UnsupportedModelError: masked language models.

    Example:
        >>> written = patchscope(model, "a cat", -1, 3, "one two", -1, 3, max_new_tokens=2)
        >>> len(written)
        2
    """
    model = as_model(model)
    refuse_masked(model)
    source, target = prompt(model, source_prompt), prompt(model, target_prompt)
    taken, put = source.at(source_position), target.at(target_position)
    state_list([source_state, target_state], len(model.blocks), range(0))
    room = int(model.cfg.n_ctx) - len(target)
    if not 0 < max_new_tokens <= room:
        raise PatchError(
            f"max_new_tokens={max_new_tokens}; 1 to {room} fit behind the target prompt {target}"
        )
    with measuring(model):
        given = mapping(run(model, source.tokens, None).states[source_state, taken])
    with measuring(model), _replaced(model, target_state, put, given):
        out = model.original_model.generate(
            target.tokens,
            attention_mask=torch.ones_like(target.tokens),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad_of(model),
            return_dict_in_generate=True,
            output_logits=True,
        )
    if torch.stack(out.logits).isnan().any():
        raise PatchError(f"a logit behind the prompt {target} is NaN: {NOT_FINITE}")
    new = out.sequences[0, len(target) :]
    text: str = model.tokenizer.decode(new, skip_special_tokens=True)
    return text


def _replaced(
    model: TransformerBridge, state: int, position: int, given: Float[Tensor, " d_model"]
) -> AbstractContextManager[Any]:
    """In here the first pass, which reads the prompt, finds the given state at the position."""
    waiting = [True]

    def patch(stream: Tensor, hook: Any) -> Tensor:
        if not waiting:
            return stream
        waiting.clear()
        patched = stream.clone()
        patched[:, position] = given
        return patched

    last = state == len(model.blocks)
    point = f"blocks.{state - last}.hook_resid_{'post' if last else 'pre'}"
    hooks: AbstractContextManager[Any] = model.hooks(fwd_hooks=[(point, patch)])
    return hooks
