"""From a finding to its use: a model that stays under a plan, and what is made of it.

What computes is imported on first use, so that a command line is refused at once;
`__init__.pyi` says the same to editors and type checkers.
"""

import lazy_loader

_NAMES = {
    "budgets": ["calls_within"],
    "checkpoints": ["export"],
    "edits": ["EDITS", "edited"],
    "held": ["PlannedModel", "planned"],
    "reaching": ["reached"],
    "recipes": ["mergekit", "recipe"],
    "rounds": ["Rounds", "explored"],
    "searching": ["Search", "search"],
    "sequences": ["in_sequence"],
    "timing": ["latency"],
}

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
