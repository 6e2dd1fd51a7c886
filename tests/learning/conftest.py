"""A tiny encoder that tells two texts of a pair apart, and examples that it can learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from painters_interp.models import load_model


@pytest.fixture(scope="session")
def pairing(tiny_folder: Path) -> Any:
    """The tiny tokenizer, which joins two texts as BERT's does, and says which is which."""
    raw = tiny.tokenizer(tiny_folder).backend_tokenizer
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", model_input_names=names, **tiny.SPECIAL
    )


@pytest.fixture(scope="session")
def encoder(pairing: Any) -> Any:
    """A BERT without a head, in float64."""
    return load_model(tiny.stock("bert", torch.float64).base_model, tokenizer=pairing)


@pytest.fixture(scope="session")
def decoder(tiny_folder: Path) -> Any:
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture(scope="session")
def letters() -> pd.DataFrame:
    """Words of few letters; the label is whether they end with one of the first."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdef"), rng.integers(2, 9))) for _ in range(60)]
    return pd.DataFrame({"text": words, "label": [int(word[-1] in "abc") for word in words]})
