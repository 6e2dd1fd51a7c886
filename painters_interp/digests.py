"""Digests that tell what is kept from what else is: the same in every run, on every machine."""

import json
from hashlib import sha256
from typing import Any


def digest(facts: Any) -> str:
    """Sixteen hexadecimal digits of facts that JSON can write, in whatever order they are named."""
    return text_digest(json.dumps(facts, sort_keys=True, default=str))


def text_digest(text: str) -> str:
    """Sixteen hexadecimal digits of a text."""
    return sha256(text.encode()).hexdigest()[:16]
