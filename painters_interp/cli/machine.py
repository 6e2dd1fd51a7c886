"""`painters doctor`: what is here, what is missing, and how to get it."""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from .. import __version__
from ..terminal import say

_PACKAGES = ("torch", "transformers", "transformer-lens", "lm-eval", "numpy", "pandas", "seaborn")
_EXTRA = re.compile(r"""extra == ["'](.+?)["']""")


def doctor() -> None:
    """Say which versions, devices and models are here, what is missing and how to get it.

    Example: painters doctor
    """
    sections = {
        "versions": _versions(),
        "devices": _devices(),
        "models": _models(),
        "folders": _folders(),
        "network": _network(),
        "extras": _extras(),
    }
    for name, lines in sections.items():
        for k, line in enumerate(lines):
            say(f"{name if k == 0 else '':10}{line}", hang=12)


def _versions() -> list[str]:
    own = f"painters_interp {__version__}"
    return [
        f"{own}, Python {sys.version.split()[0]}",
        *(f"{name} {metadata.version(name)}" for name in _PACKAGES),
    ]


def _devices() -> list[str]:
    import torch

    found = [f"cpu: {torch.get_num_threads()} threads"]
    for k in range(torch.cuda.device_count()):
        free, of = torch.cuda.mem_get_info(k)
        name = torch.cuda.get_device_name(k)
        found.append(f"cuda:{k}: {name}, {free / 2**30:.1f} of {of / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        found.append("mps: an Apple GPU")
    if len(found) == 1:
        found.append("no GPU that torch can see; everything runs on the processor")
    return found


def _models() -> list[str]:
    from ..models import catalog

    lines = []
    for row in catalog():
        if row["state"]:
            lines.append(f"{row['name']}: {row['state']}")
    return lines


def _folders() -> list[str]:
    from huggingface_hub import constants

    from ..models.cache import cache_folder

    places = {"bundled models": cache_folder(), "hub": Path(constants.HF_HUB_CACHE)}
    return [
        f"{name}: {place}{'' if place.is_dir() else ' (not there yet)'}"
        for name, place in places.items()
    ]


def _network() -> list[str]:
    from huggingface_hub import constants

    from ..models.network import hub_answers

    if constants.HF_HUB_OFFLINE:
        return ["HF_HUB_OFFLINE is set: only what is here can be loaded"]
    if hub_answers():
        return [f"{constants.ENDPOINT} answers"]
    silent = f"{constants.ENDPOINT} does not answer: only what is here can be loaded"
    return [silent, "tasks take --data FOLDER; the built-in ones need nothing"]


def _extras() -> list[str]:
    """What `pip install 'painters_interp[...]'` adds: whether it is there, by its packages."""
    asked: dict[str, list[str]] = {}
    for line in metadata.requires("painters_interp") or ():
        needed = Requirement(line)
        if needed.marker is not None and (extra := _EXTRA.search(str(needed.marker))):
            asked.setdefault(extra[1], []).append(needed.name)
    return [
        f"{extra}: here"
        if not (left := [name for name in names if not _here(name)])
        else f"{extra}: without {', '.join(left)}; pip install 'painters_interp[{extra}]'"
        for extra, names in asked.items()
    ]


def _here(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
