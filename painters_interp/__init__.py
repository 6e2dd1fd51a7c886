"""Transformer layers as painters: what does each layer do to the shared canvas?

Public names are listed once, below, and imported on first use, so that plans, tables and
figures can be used without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plans import Plan as Plan

_PUBLIC = {
    "Plan": "plans",
    "load_model": "models",
    "applied": "execution",
    "check": "execution",
    "token_logprobs": "execution",
    "capture": "streams",
    "similarity": "comparison",
    "evaluate": "evaluation",
    "kl_to_intact": "damage",
    "predict_damage": "damage",
}
_ROOMS = (
    *("comparison", "damage", "errors", "evaluation", "execution", "experiments", "figures"),
    *("generation", "measures", "models", "patching", "plans", "report", "statistics"),
    *("stitching", "storage", "strategies", "streams", "tables", "texts"),
)
_MODULES = {"items": "tables", "scores": "tables", "store": "storage"}

__all__ = [*_PUBLIC, *_ROOMS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}.{name}", __name__)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
