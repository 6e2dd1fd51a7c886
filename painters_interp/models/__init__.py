"""Getting a hooked model: the bundled default, a hub id, a folder, a `.gguf` file, one in memory.

What loads weights is imported on first use, so that listing and fetching need no torch;
`__init__.pyi` says the same to editors and type checkers.
"""

import lazy_loader

_NAMES = {
    "copies": ["copied", "refuse_copying", "stock_copy"],
    "device": ["device_of", "lacks_float64", "memory_of", "numbers", "widened"],
    "door": ["Model", "as_model", "load_model"],
    "edits": ["edited_weight"],
    "headless": ["has_head", "refuse_headless"],
    "fingerprint": ["identity", "tokenizer_digest", "weights_digest"],
    "nulls": ["random_weights"],
    "standing": ["StandsForModel", "of_planned", "under_plan"],
    "sources": ["catalog", "fetch"],
    "wrapping": ["wrapped"],
}

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
