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
from ..digests import compiled, enclosed, is_installed, members, named_by

# Names of the model and of its files, and what changes while a model only works.
_IDLE = {
    *("name_or_path", "transformers_version", "architectures"),
    *("id2label", "label2id", "return_dict", "output_hidden_states", "output_attentions"),
    *("use_cache", "training", "max_seq_len_cached", "tokenizer_class"),
    *("model_name", "revision", "device", "n_devices", "tokenizer_name"),
    *("original_architecture", "dtype"),
    *IDLE_SETTINGS,
}  # fmt: skip
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
    original, reading = model.original_model, _Reading()
    return {
        "config": reading.attributes(original.config, private=True),
        "writing": reading.plain(getattr(original, "generation_config", None)),
        "bridge": [reading.attributes(model.cfg), getattr(model, "compatibility_mode", False)],
        "modules": {
            name: [
                *(reading.plain(type(module)), reading.plain(type(module).forward)),
                reading.attributes(module, private=_switches(type(module))),
            ]
            for name, module in original.named_modules()
            if not isinstance(module, HookPoint)
        },
    }


def _switches(kind: type) -> bool:
    """Whether modules of this class may hold settings in private: adapters, and the user's own."""
    return not is_installed(kind) or kind.__module__.startswith("peft.")


class _Reading:
    """Values in terms that JSON knows, `_NOTHING` for what is no setting.

    A function or class that is met again is told by its number. `within` are the ids of what holds
    a value, for lists may hold themselves.
    """

    def __init__(self) -> None:
        self._known: dict[FunctionType | type, int] = {}

    def attributes(
        self, holder: Any, private: bool = False, within: frozenset[int] = _NOWHERE
    ) -> dict[str, Any]:
        hidden = _OF_TORCH if private else {n for n in vars(holder) if n.startswith("_")}
        found = {
            name: self.plain(value, within)
            for name, value in without_placing(holder).items()
            if name not in _IDLE and name not in hidden
        }
        return {name: value for name, value in found.items() if value is not _NOTHING}

    def plain(self, value: Any, within: frozenset[int] = _NOWHERE) -> Any:
        if id(value) in within:
            return "itself"
        inside = within | {id(value)}
        match value:
            case _ if isinstance(value, _PLAIN):
                return repr(value)
            case _ if isinstance(value, _SETTINGS):
                return self.attributes(value, private=True, within=inside)
            case nn.Module() | nn.Parameter():  # walked on its own, or hashed with the tensors
                return _NOTHING
            case torch.Tensor() | np.ndarray():
                return _numbers(value)
            case torch.dtype() | torch.Size() | range() | slice():
                return repr(value)
            case Mapping():
                pairs = ((repr(key), self.plain(item, inside)) for key, item in value.items())
                return sorted([key, item] for key, item in pairs if item is not _NOTHING)
            case list() | tuple():
                return self._all(value, inside)
            case set() | frozenset():
                return sorted(map(repr, value))
            case partial():
                return self._all([value.func, value.args, value.keywords], inside)
            case MethodType():
                return self._all([value.__func__, value.__self__], inside)
            case FunctionType() | type():
                return self._defined(value, inside)
            case _ if callable(value) and hasattr(value, "__dict__"):
                held = self.attributes(value, private=True, within=inside)
                return [self.plain(type(value), inside), held]
        return getattr(value, "__qualname__", None) or type(value).__qualname__

    def _all(self, values: Iterable[Any], within: frozenset[int]) -> list[Any]:
        plain = (self.plain(value, within) for value in values)
        return [value for value in plain if value is not _NOTHING]

    def _defined(self, value: FunctionType | type, within: frozenset[int]) -> list[Any]:
        """What a function does, with what it finds; of a class all that it holds.

        Of those that are installed the module is known by its version.
        """
        if value in self._known:
            return ["as before", self._known[value]]
        self._known[value] = len(self._known)
        own: list[Any] = [value.__qualname__]
        if isinstance(value, FunctionType):
            own.append(compiled(value.__code__))
            found: list[Any] = [value.__defaults__, value.__kwdefaults__, enclosed(value)]
            found += [] if is_installed(value) else [named_by(value)]
        else:
            found = [] if is_installed(value) else [value.__bases__, members(value)]
        return [*own, self._all(found, within)]


def _numbers(value: Any) -> str:
    """A digest of a tensor or an array that is no parameter and no buffer."""
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return repr(value)
        value = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(value.tobytes()).hexdigest()
