"""Shared fixtures: everything runs offline, on tiny random models or the fetched default."""

import os

# Before any import of the libraries that read it: a missing model must fail, not be downloaded.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tiny models gain nothing from more threads, and lose much where test workers share the cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny models' tokenizer lies; pass it to `tiny.build`."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def default_model() -> Any:
    """The bundled default on the CPU in float32, shared: leave it as you found it."""
    from painters_interp.models import load_model

    return load_model("smollm2-135m", device="cpu")
