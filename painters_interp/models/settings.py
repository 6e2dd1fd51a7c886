"""What decides a model's answers besides its tensors: config, and what its modules hold."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn
from transformer_lens.hook_points import HookPoint
from transformers import GenerationConfig, PreTrainedConfig

from ..borrowed.of_accelerate import without_placing
from ..borrowed.of_transformers import IDLE_SETTINGS

# Names of the model and of its files, and what changes while a model only works.
_IDLE = {
    *("name_or_path", "transformers_version", "architectures"),
    *("id2label", "label2id", "return_dict", "output_hidden_states", "output_attentions"),
    *("use_cache", "training", "max_seq_len_cached", "tokenizer_class"),
    *("model_name", "revision", "device", "n_devices", "tokenizer_name"),
    *("original_architecture", "dtype"),
    *IDLE_SETTINGS,
}  # fmt: skip
# What functions of these find in their modules is the same as long as their versions are.
_LIBRARIES = ("torch", "transformers", "transformer_lens", "accelerate", "peft", "painters_interp")
_PLAIN = (bool, int, float, complex, str, type(None))
_SETTINGS = (PreTrainedConfig, GenerationConfig)
_NOTHING = object()
_OF_TORCH = frozenset(vars(nn.Module()))  # tensors, which are hashed by themselves, and hooks
_NOWHERE: frozenset[int] = frozenset()


def settings(model: Any) -> dict[str, Any]:
    """The config, how texts are written, and every module's class, numbers and functions.

    A norm's epsilon, an attention's scale and a forward that somebody exchanged are in no tensor
    and often in no config. Hooks are not looked at, nor whether the model trains, nor by which
    devices its layers are spread.
    """
    original = model.original_model
    return {
        "config": _attributes(original.config, private=True),
        "writing": _plain(getattr(original, "generation_config", None)),
        "bridge": [_attributes(model.cfg), getattr(model, "compatibility_mode", False)],
        "modules": {
            name: [
                *(type(module).__qualname__, _plain(type(module).forward)),
                _attributes(module, private=_switches(type(module))),
            ]
            for name, module in original.named_modules()
            if not isinstance(module, HookPoint)
        },
    }


def _switches(kind: type) -> bool:
    """Whether modules of this class may hold settings in private: adapters, and the user's own."""
    library = kind.__module__.partition(".")[0]
    return library == "peft" or library not in _LIBRARIES


def _attributes(
    holder: Any, private: bool = False, within: frozenset[int] = _NOWHERE
) -> dict[str, Any]:
    found = {
        name: _plain(value, within)
        for name, value in without_placing(holder).items()
        if name not in _IDLE and (name not in _OF_TORCH if private else not name.startswith("_"))
    }
    return {name: value for name, value in found.items() if value is not _NOTHING}


def _plain(value: Any, within: frozenset[int] = _NOWHERE) -> Any:
    """`value` in terms that JSON knows; `_NOTHING` for what is no setting.

    `within` are the ids of what holds it, for functions and lists may hold themselves.
    """
    if id(value) in within:
        return "itself"
    inside = within | {id(value)}
    match value:
        case _ if isinstance(value, _PLAIN):
            return repr(value)
        case _ if isinstance(value, _SETTINGS):
            return _attributes(value, private=True, within=inside)
        case nn.Module() | nn.Parameter():  # walked on its own, or hashed with the tensors
            return _NOTHING
        case torch.Tensor() | np.ndarray():
            return _numbers(value)
        case torch.dtype() | torch.Size() | range() | slice():
            return repr(value)
        case Mapping():
            pairs = ((repr(key), _plain(item, inside)) for key, item in value.items())
            return sorted([key, item] for key, item in pairs if item is not _NOTHING)
        case list() | tuple():
            return _all_plain(value, inside)
        case set() | frozenset():
            return sorted(map(repr, value))
        case partial():
            return _all_plain([value.func, value.args, value.keywords], inside)
        case MethodType():
            return _all_plain([value.__func__, value.__self__], inside)
        case FunctionType():
            return _function(value, inside)
        case type():
            return value.__qualname__
        case _ if callable(value) and hasattr(value, "__dict__"):
            return [type(value).__qualname__, _attributes(value, private=True, within=inside)]
    return getattr(value, "__qualname__", None) or type(value).__qualname__


def _all_plain(values: Iterable[Any], within: frozenset[int]) -> list[Any]:
    return [item for value in values if (item := _plain(value, within)) is not _NOTHING]


def _function(value: Any, within: frozenset[int]) -> list[Any]:
    code = value.__code__
    cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
    constants = [repr(item) for item in code.co_consts if isinstance(item, _PLAIN)]
    found = [value.__defaults__, value.__kwdefaults__, cells]
    if value.__module__.partition(".")[0] not in _LIBRARIES:
        around = value.__globals__
        found += [around[name] for name in code.co_names if name in around]
    return [
        *(value.__qualname__, code.co_code.hex(), list(code.co_names), constants),
        _all_plain(found, within),
    ]


def _numbers(value: Any) -> str:
    """A digest of a tensor or an array that is no parameter and no buffer."""
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return repr(value)
        value = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(value.tobytes()).hexdigest()


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
