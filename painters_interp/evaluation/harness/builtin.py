"""The built-in probes as files, which lm-eval reads by their paths."""

import atexit
import shutil
import tempfile
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

PROBES = ("probe_cloze", "probe_facts", "probe_arithmetic", "probe_grammar", "probe_order")
# To be written token by token, which takes far longer: on request.
WRITTEN_PROBES = ("probe_word_problems",)
BUILT_IN = (*PROBES, *WRITTEN_PROBES)
_ENDINGS = (".yaml", ".jsonl", ".py")


@lru_cache(maxsize=1)
def probe_folder() -> Path:
    """The folder of the probes; until the process ends, where the package lies in an archive."""
    return on_disk(files("painters_interp.evaluation") / "probes")


def on_disk(folder: Traversable) -> Path:
    """A folder of the package as one of the file system: itself, or a copy of its files."""
    if isinstance(folder, Path):
        return folder
    copy = Path(tempfile.mkdtemp(prefix="painters-probes-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for file in folder.iterdir():
        if file.name.endswith(_ENDINGS):
            (copy / file.name).write_bytes(file.read_bytes())
    return copy
