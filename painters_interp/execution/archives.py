"""What tells the kept results of one model from those of all others."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from ..models import tokenizer_digest, weights_digest
from ..models.fingerprint import model_columns
from ..storage import provenance
from .guards import refuse_hooks_kept

# Of the parts of a store: what another one wrote is not read.
_FORMAT = 1


@dataclass(frozen=True)
class Archive:
    """A folder of kept results, and the facts that tell those of one model from all others."""

    folder: Path
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, model: TransformerBridge, folder: str | Path, rooms: Sequence[str]) -> "Archive":
        """Where results of `model` are kept; its weights are hashed, about a second per GB.

        `rooms` are those of this package whose code the results depend on. Raises
        UnsupportedModelError for hooks on the model.
        """
        refuse_hooks_kept(model)
        facts: dict[str, Any] = model_columns(model)
        facts["weights"] = weights_digest(model)
        facts["tokenizer"] = tokenizer_digest(model.tokenizer)
        facts |= {"packages": provenance()["packages"], "code": _code_digest(tuple(rooms))}
        return cls(Path(folder), facts | {"format": _FORMAT})


@lru_cache
def _code_digest(rooms: tuple[str, ...]) -> str:
    """Digest of this package's own code, which changes between versions, too."""
    package = files(__package__.partition(".")[0])
    digest = hashlib.sha256()
    for room in rooms:
        for content in _sources(package / room):
            digest.update(content)
    return digest.hexdigest()[:16]


def _sources(place: Traversable) -> Iterator[bytes]:
    for entry in sorted(place.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith(".py"):
            yield entry.name.encode() + entry.read_bytes()
