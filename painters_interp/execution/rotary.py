"""Rotary embeddings whose frequencies change once a text is long."""

from math import inf
from typing import Any

_BY_LENGTH = ("dynamic", "longrope")


def rotated_alike(config: Any) -> float:
    """Up to how many tokens a position is rotated the same in every text; infinity for any."""
    config = config.get_text_config()
    rotary = getattr(config, "rope_parameters", None) or {}
    for settings in (rotary, *rotary.values()):  # for all layers, or by their type
        if isinstance(settings, dict) and settings.get("rope_type") in _BY_LENGTH:
            named = settings.get("original_max_position_embeddings")
            return float(
                min(named or config.max_position_embeddings, config.max_position_embeddings)
            )
    return inf
