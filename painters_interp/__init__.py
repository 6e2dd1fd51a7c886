"""Transformer layers as painters: what does each layer do to the shared canvas?

Public names and rooms are imported on first use, so that plans, tables and figures can be used
without loading torch. `__init__.pyi` says the same to editors and type checkers.
"""

import lazy_loader

__version__ = "0.2.0"

_ROOMS = (
    *(
        "comparison",
        "damage",
        "deployment",
        "errors",
        "evaluation",
        "execution",
        "experiments",
        "figures",
    ),
    *("generation", "learning", "measures", "models", "patching", "plans", "report", "statistics"),
    *("stitching", "storage", "strategies", "streams", "studies", "sweeps", "tables", "texts"),
)
_NAMES = {
    "comparison": ["similarity"],
    "damage": ["kl_to_intact", "predict_damage"],
    "deployment": ["export", "latency", "planned", "recipe", "search"],
    "evaluation": ["evaluate", "task"],
    "generation": ["generate"],
    "experiments": ["cost"],
    "learning": ["classify", "heal", "readers"],
    "execution": ["applied", "check", "token_logprobs"],
    "models": ["load_model"],
    "plans": ["Plan"],
    "report": ["read_run"],
    "storage": ["store"],
    "streams": ["capture"],
    "sweeps": ["sweep"],
    "tables": ["items", "scores"],
}

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, _ROOMS, _NAMES)
