"""From a `.gguf` file to a float32 safetensors checkpoint with its tokenizer, once."""

import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..terminal import say_aside
from .cache import appearing
from .capacity import refuse_impossible_gguf, unreadable_gguf
from .manifest import verify, write_manifest
from .quiet import without_bars
from .writing import said_of, write_checkpoint


def convert(gguf: Path, folder: Path, name: str) -> Path:
    """Write `gguf`, dequantised to float32, as a checkpoint to `folder` unless it is there.

    Raises ModelError, naming the file, where it is truncated or no GGUF model, and where the
    folder holds something else.
    """
    if folder.is_dir():
        verify(folder, name)
        return folder
    say_aside(f"converting {name} to float32, once, into {folder} ...")
    # The reader's own bar cannot be switched off, only caught.
    with appearing(folder) as part, without_bars(), redirect_stderr(io.StringIO()):
        refuse_impossible_gguf(gguf, name)
        model, tokenizer = _read(gguf, name)
        _write(_unquantised(model), tokenizer, part)
    return folder


def _read(gguf: Path, name: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(**where, config=model.config)
    except Exception as error:  # readers raise whatever a broken file makes them stumble over
        raise unreadable_gguf(name, error) from error
    if info["missing_keys"]:
        raise ModelError(
            f"{name} lacks {len(info['missing_keys'])} weights of {type(model).__name__}; "
            "give a GGUF file that holds the whole model in one part"
        )
    return model, tokenizer


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    place = f"cache folder {folder.parent}"
    with said_of(place, "set PAINTERS_CACHE to a folder with room"):
        write_checkpoint(model, tokenizer, folder)
        write_manifest(folder)


def _unquantised(model: Any) -> Any:
    """The same weights in a model that transformers will save.

    One read from GGUF holds plain float32 tensors but stays marked as quantised, and
    save_pretrained refuses it.
    """
    import torch

    fields = model.config.to_dict()
    fields.pop("quantization_config", None)
    with torch.device("meta"):  # assign=True below: no second copy of the weights
        fresh = type(model)(type(model.config)(**fields))
    fresh.load_state_dict(model.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    return fresh
