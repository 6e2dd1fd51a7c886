"""What goes into a model while a plan is applied: masks that pads need, and what is refused.

TransformerLens reads padding off token ids, which is wrong for a text that begins with its own
end-of-text token, and starts and stops at layers, which a plan may call twice or never.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial, update_wrapper
from inspect import signature
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..errors import PlanError, TextError

_MISSING = object()
# They would rewrite, or write down, a model that stands in another order.
_SWITCHES = (
    *("enable_compatibility_mode", "process_weights", "state_dict", "load_state_dict"),
    "__deepcopy__",  # nothing would take the plan off the copy
)
_HF_SWITCHES = (
    *("set_attn_implementation", "save_pretrained", "resize_token_embeddings"),
    "__deepcopy__",
)
_LEFT = "pad them on the left and pass attention_mask=... (1 on real tokens)"
_ASK = "pass attention_mask=... (1 on real tokens)"


@contextmanager
def guarded(model: TransformerBridge) -> Iterator[None]:
    """Let the model's own entrances see every pad, and refuse what a plan has no meaning for.

    Whatever stood in their place, set by the user or not, is back on exit.
    """
    root = model.original_model
    with ExitStack() as stack:
        for name in _SWITCHES:
            stack.enter_context(_replaced(model, name, _refused(name)))
        for name in _HF_SWITCHES:
            stack.enter_context(_replaced(root, name, _refused(name)))
        guards = [(model, name, guard) for name, guard in _GUARDS.items()]
        if hasattr(root, "generate"):  # encoders write no texts
            guards.append((root, "generate", _plain_generate))
        for owner, name, guard in guards:
            entrance = _in_front_of(getattr(owner, name), model, guard)
            stack.enter_context(_replaced(owner, name, entrance))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = owner.__dict__.get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)
        if own is not _MISSING:
            setattr(owner, name, own)


@cache
def _refused(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PlanError(
            f"{name.strip('_')} would change, copy or write down a model whose layers stand in the "
            "order of a plan; leave the `with applied(...)` block, or close() the planned model, "
            "first"
        )

    return refuse


def _in_front_of(entrance: Callable[..., Any], model: TransformerBridge, guard: Any) -> Any:
    """`entrance`, with a `guard` that is given the model, the entrance and what comes in."""
    return update_wrapper(partial(guard, model, entrance), entrance)


def _forward(
    model: TransformerBridge, forward: Callable[..., Any], /, input: Any, *args: Any, **kwargs: Any
) -> Any:
    names = [*signature(TransformerBridge.forward).parameters][2:]  # but for self and the input
    kwargs |= dict(zip(names, args, strict=False))
    _refuse_layers(kwargs)
    _refuse_unread_past(model, kwargs)
    if kwargs.get("attention_mask") is None and kwargs.get("past_key_values") is None:
        side = kwargs.get("padding_side")
        if _several(input):
            input, mask = _padded(model, input, kwargs.get("prepend_bos"), side)
            kwargs["attention_mask"] = mask
        elif isinstance(input, Tensor) and not input.is_floating_point():
            loss = kwargs.get("return_type") in ("loss", "both")
            _refuse_pads(model, input, trailing=loss)
    return forward(input, **kwargs)


def _cached(
    model: TransformerBridge, run: Callable[..., Any], /, input: Any, *args: Any, **kwargs: Any
) -> Any:
    names = [*signature(TransformerBridge.run_with_cache).parameters][2:]
    kwargs |= dict(zip(names, args, strict=False))
    _refuse_layers(kwargs)  # it stops by itself, where the others hand this on
    return run(input, **kwargs)


def _refuse_layers(given: dict[str, Any]) -> None:
    for name in ("start_at_layer", "stop_at_layer"):
        if given.get(name) is not None:
            raise PlanError(
                f"{name} has no meaning under a plan, which may call a layer twice or never; "
                "hook steps.{s}.hook_resid_pre or hook_resid_post instead"
            )


def _refuse_unread_past(model: TransformerBridge, given: dict[str, Any]) -> None:
    """Models of states alone have another name for their cache, and swallow this one."""
    asked = given.get("past_key_values"), given.get("return_type") == "logits_and_cache"
    if asked == (None, False):
        return
    if "cache_params" not in signature(type(model.original_model).forward).parameters:
        return
    raise PlanError(
        f"{model.cfg.model_name} reads no past_key_values and would begin anew; call "
        "original_model(...), and give it as cache_params what that returned under this name"
    )


def _generate(
    model: TransformerBridge,
    generate: Callable[..., Any],
    /,
    input: Any = "",
    *args: Any,
    **kwargs: Any,
) -> Any:
    mask = kwargs.get("attention_mask")
    if _several(input):
        input, kwargs["attention_mask"] = _padded(model, input, kwargs.get("prepend_bos"), "left")
        if kwargs.get("return_type", "input") == "input":
            kwargs["return_type"] = "str"
    elif isinstance(input, Tensor) and not input.is_floating_point():
        told = mask is not None or kwargs.get("padding_side") == "left"
        _refuse_prompts(model, input, mask, told)
    return generate(input, *args, **kwargs)


def _hf_generate(
    model: TransformerBridge,
    generate: Callable[..., Any],
    /,
    input: Any = "",
    *args: Any,
    **kwargs: Any,
) -> Any:
    settings = kwargs.get("generation_kwargs") or {}
    if isinstance(input, Tensor) and not input.is_floating_point():
        mask = settings.get("attention_mask", kwargs.get("attention_mask"))
        _refuse_prompts(model, input, mask, mask is not None)
    return generate(input, *args, **kwargs)


def _plain_generate(
    model: TransformerBridge,
    generate: Callable[..., Any],
    /,
    inputs: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    tokens = kwargs.get("input_ids", inputs)
    if isinstance(tokens, Tensor) and not tokens.is_floating_point():
        mask = kwargs.get("attention_mask")
        _refuse_prompts(model, tokens, mask, mask is not None)
    return generate(inputs, *args, **kwargs)


_GUARDS: dict[str, Callable[..., Any]] = {
    "forward": _forward,
    "generate": _generate,
    "generate_stream": _generate,
    "run_with_cache": _cached,
    "hf_generate": _hf_generate,
}


def _several(input: Any) -> bool:
    """Whether this is a list of texts, which TransformerLens pads."""
    return isinstance(input, (list, tuple)) and len(input) > 1 and isinstance(input[0], str)


def _padded(
    model: TransformerBridge, texts: Sequence[str], prepend_bos: Any, side: str | None
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Texts as TransformerLens pads them, and the mask of what it has padded."""
    side = side or getattr(model.tokenizer, "padding_side", "right")
    options = {"prepend_bos": prepend_bos, "padding_side": side}
    tokens = model.to_tokens([*texts], **options)
    mask = torch.zeros_like(tokens)
    for row, text in zip(mask, texts, strict=True):
        length = model.to_tokens(text, prepend_bos=prepend_bos).shape[1]
        row[slice(-length, None) if side == "left" else slice(length)] = 1
    return tokens, mask


def _refuse_prompts(model: TransformerBridge, tokens: Tensor, mask: Any, told: bool) -> None:
    """Generation goes on from the last column, which must be text in every row."""
    if isinstance(mask, Tensor) and mask.ndim == 2 and not bool(mask[:, -1].all()):
        raise TextError(
            "the prompts are padded on the right, where their continuation would begin behind the "
            "pads; pad them on the left"
        )
    if not told:
        _refuse_pads(model, tokens, trailing=True, advice=_LEFT)


def _refuse_pads(
    model: TransformerBridge, tokens: Tensor, *, trailing: bool, advice: str = _ASK
) -> None:
    """Rows that begin with different numbers of pads (all do with one that is also BOS), or end so.

    Ends are looked at where `trailing`.
    """
    pad = getattr(model.tokenizer, "pad_token_id", None)
    if pad is None or tokens.ndim != 2:
        return
    ends = {"begin": tokens} | ({"end": tokens.flip(1)} if trailing else {})
    for end, rows in ends.items():
        count = (rows == pad).long().cumprod(dim=1).sum(dim=1)
        if bool((count != count[0]).any()):
            raise TextError(
                f"the rows {end} with different numbers of pad tokens, which would be read as "
                f"text; {advice}"
            )
