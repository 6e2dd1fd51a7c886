"""From what a user calls a model to the folder that holds its checkpoint."""

from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelError
from . import bundled
from .cache import cache_folder
from .conversion import convert
from .manifest import content_hash
from .quiet import first_line


class Checkpoint(NamedTuple):
    """A folder to load from, the name that tables show, and the revision where it is known.

    `origin` is what `load_model` finds it under again, from wherever it is called.
    """

    name: str
    folder: Path
    revision: str | None
    origin: str


def fetch(
    name_or_path: str | Path, revision: str | None = None, trust_remote_code: bool = False
) -> Path:
    """Make sure that a model is on disk.

    Args:
        name_or_path: As in `load_model`.
        revision: Of a hub id: a commit, tag or branch.
        trust_remote_code: Whether code that comes with a model may run.

    Returns:
        The folder that it can be loaded from.

    Raises:
        ModelError: where it cannot be found, downloaded or read.

    Example:
        >>> folder = painters.export(model, "0-5", tmp_path / "mine")
        >>> fetch(folder) == folder
        True
    """
    return locate(name_or_path, revision, trust_remote_code).folder


def catalog() -> list[dict[str, str]]:
    """What `load_model` accepts, one row each: name, source, licence, location, state.

    Returns:
        A row for each bundled model and for each kind of name.

    Example:
        >>> [row["name"] for row in catalog()][-3:]
        ['ORG/NAME', 'DIRECTORY', 'FILE.gguf']
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    own = "the model's own"
    rows: list[tuple[str, str, str, str, bool | None]] = [
        (model.name, model.says, model.licence, str(here := model.location()), here.is_dir())
        for model in bundled.MODELS.values()
    ]
    rows += [
        ("ORG/NAME", "Hugging Face hub id, with revision=...", own, HF_HUB_CACHE, None),
        ("DIRECTORY", "checkpoint with config.json, weights, tokenizer", own, "in place", None),
        ("FILE.gguf", "converted once to float32", own, str(cache_folder() / "gguf-*"), None),
    ]
    return [
        {"name": name, "source": source, "licence": licence, "location": place, "state": state}
        for name, source, licence, place, here in rows
        for state in ["" if here is None else "cached" if here else f"run `painters fetch {name}`"]
    ]


def locate(name_or_path: str | Path, revision: str | None, trust_remote_code: bool) -> Checkpoint:
    """`fetch` together with what the model is to be called."""
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if (model := bundled.MODELS.get(name)) is not None:
        _refuse_revision(name, revision)
        return Checkpoint(name, bundled.fetch_bundled(model), model.version, name)
    if not on_hub(name_or_path):
        _refuse_revision(name, revision)
        return _local(path, name)
    folder = _from_hub(name, revision, trust_remote_code)
    return Checkpoint(name, folder, folder.name, name)  # snapshots are named by their commit


def on_hub(name_or_path: str | Path) -> bool:
    """Whether this means a model of the hub: it is neither bundled nor a path."""
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    local = path.suffix == ".gguf" or path.exists() or _must_be_path(name_or_path)
    return name not in bundled.MODELS and not (name and local)


def _must_be_path(name: str | Path) -> bool:
    text = str(name)
    return isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise ModelError(f"{name}: revision={revision!r} applies to hub ids only; leave it out")


def _local(path: Path, name: str) -> Checkpoint:
    if path.is_dir():
        if not (path / "config.json").is_file():
            if (path / "adapter_config.json").is_file():
                raise ModelError(
                    f"directory {name} holds an adapter of peft without its model; merge the two "
                    "(PeftModel.from_pretrained(model, folder).merge_and_unload()), and give that"
                )
            raise ModelError(
                f"directory {name} has no config.json; give the folder of a checkpoint"
            )
        return Checkpoint(path.resolve().name, path, None, str(path.resolve()))
    if not path.is_file():
        raise ModelError(f"there is no file or directory {name}{_suggestion(path.name)}")
    if path.suffix != ".gguf":
        raise ModelError(f"{name} is no .gguf file; give the directory that holds a checkpoint")
    key = content_hash(path)[:16]
    folder = convert(path, cache_folder() / f"gguf-{key}", name)
    return Checkpoint(path.name, folder, f"sha256:{key}", str(path.resolve()))


def _suggestion(name: str) -> str:
    close = get_close_matches(name.lower(), [*bundled.MODELS], cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


_WANTED = ["*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.safetensors", "README.md"]
# Other formats of the same weights lie in subfolders, or beside them under this name.
_UNWANTED = ["*/*", "consolidated*"]
_ANSWER_WITHIN = 10.0  # seconds


def _from_hub(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    """The snapshot folder of a hub model, downloaded where it is missing or out of date."""
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def download(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=[*_WANTED, *patterns],
                ignore_patterns=_UNWANTED,
            )
        )

    code = ["*.py"] if trust_remote_code else []
    try:
        # Downloads wait for ever on a network that swallows packets, as many clusters' do.
        HfApi().model_info(name, revision=revision, timeout=_ANSWER_WITHIN)
        folder = download(*code)
        if not any(folder.glob("*.safetensors")):  # older models
            folder = download(*code, "pytorch_model*.bin")
        return folder
    except HFValidationError as error:
        raise _hub_error(name, revision, error) from error
    except Exception as error:  # as many types as there are ways to lose a connection
        config = try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(config, str):
            return Path(config).parent
        raise _hub_error(name, revision, error) from error


def _hub_error(name: str, revision: str | None, error: Exception) -> ModelError:
    """One line for what went wrong at the hub, with what to do about it."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.HFValidationError):
        return ModelError(f"{name!r} is no model name: {first_line(error)}{_suggestion(name)}")
    if isinstance(error, errors.GatedRepoError):
        return ModelError(f"{name} is gated: accept its terms on the hub and set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"the hub has no model {name} (a private one needs HF_TOKEN){_suggestion(name)}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(f"{name} has no revision {revision!r} on the hub")
    reason = first_line(error)
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
    return ModelError(
        f"{name} is not in the local cache and the model hub was not reached ({reason}); "
        f"run `painters fetch {name}` where there is a network, give a checkpoint directory, "
        f"or use the bundled {bundled.DEFAULT.name!r}{_suggestion(name)}"
    )
