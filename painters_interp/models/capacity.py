"""Whether a checkpoint can hold the model that its header promises, asked before it is built."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .quiet import first_line

# What a config counts out, one module or tensor for each: layers, blocks, experts.
_COUNTS = re.compile(r"^((n|num)_(\w+_)?|encoder_|decoder_)(layers?|blocks?|experts?)$")
_LAYERS = re.compile(r"(layers?|blocks?)$")
_LEAST_WEIGHT = 2  # bytes
_WITHOUT_WEIGHTS = 100_000  # more than any model has; that the weights are missing is said later


def refuse_impossible_config(folder: Path, name: str) -> None:
    """Raise ModelError where a config counts more layers than the files have tensors.

    Its own class would try to build them, for ever. Experts, which may share one tensor, are held
    against the size of the files.
    """
    files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    room = sum(file.stat().st_size for file in files) // _LEAST_WEIGHT if files else None
    tensors = [_tensors(file) for file in files]
    for key, count in _counts(_config(folder)):
        most = _WITHOUT_WEIGHTS if room is None else room
        if tensors and _LAYERS.search(key):
            most = min(most, sum(most if n is None else n for n in tensors))
        if count > max(most, 1):
            raise ModelError(
                f"{name} cannot be loaded from {folder}: config.json promises {key} = {count:,}, "
                f"and the weights beside it are {most:,} at most"
            )


def refuse_impossible_gguf(path: Path, name: str) -> None:
    """Raise ModelError where a GGUF header counts more blocks or experts than the file can hold."""
    reader = _bounded_reader(path, name)
    size = path.stat().st_size
    for key, field in reader.fields.items():
        word = key.rpartition(".")[2]
        if word not in ("block_count", "expert_count"):
            continue
        count, most = int(field.contents()), size
        if word == "block_count":
            most = len(reader.tensors)
        if count > most:
            raise ModelError(
                f"{name} cannot be read as a GGUF model: it promises {key} = {count:,}, and holds "
                f"{most:,} at most"
            )


def _bounded_reader(path: Path, name: str) -> Any:
    import numpy as np
    from gguf import GGUFReader, GGUFValueType

    class Reader(GGUFReader):  # type: ignore[misc]
        """One that does not read what lies behind its file's end: the original does, for ever."""

        def _get(self, offset: Any, dtype: Any, count: Any = 1, *args: Any, **options: Any) -> Any:
            if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("it ends before its header does")
            return super()._get(offset, dtype, count, *args, **options)

        def _get_field_parts(self, orig_offs: Any, raw_type: Any) -> Any:
            if raw_type == GGUFValueType.ARRAY:
                [kind] = self._get(orig_offs, np.uint32)
                [count] = self._get(orig_offs + 4, np.uint64)
                item = self.gguf_scalar_to_np.get(GGUFValueType(kind), np.uint64)  # or a length
                self._get(orig_offs + 12, item, count)
            return super()._get_field_parts(orig_offs, raw_type)

    try:
        return Reader(path)
    except Exception as error:  # whatever a broken file makes it stumble over
        raise unreadable_gguf(name, error) from error


def unreadable_gguf(name: str, error: Exception) -> ModelError:
    """One line for a file that is no GGUF model."""
    return ModelError(
        f"{name} cannot be read as a GGUF model ({first_line(error)}); "
        "is the file complete, and of an architecture that transformers can load?"
    )


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # said by what reads it next
        return {}
    return config if isinstance(config, dict) else {}


def _counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What a config counts, those of its parts (text, vision) too."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif isinstance(value, int) and _COUNTS.match(key):
            yield key, value


def _tensors(file: Path) -> int | None:
    """The number of tensors in a safetensors file, from its header; None where it has none."""
    if file.suffix != ".safetensors":
        return None
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            return None
        try:
            return len(json.loads(stream.read(length)).keys() - {"__metadata__"})
        except (ValueError, AttributeError):
            return None
