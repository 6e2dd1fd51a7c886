"""A model whose numbers are not finite: whatever is asked of it blames that, and nothing else."""

from pathlib import Path

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp import patching
from painters_interp.errors import PaintersError
from painters_interp.stitching import fit_stitch, stitch

TEXTS = ["abc def ghi jkl", "hello there you", "one two three", "seven eight nine ten"]
ASKED = {
    "a map from it": lambda broken, sound: fit_stitch(broken, sound, TEXTS * 4, 5, 5),
    "a map behind which it goes on": lambda broken, sound: fit_stitch(
        sound, broken, TEXTS * 4, 2, 2
    ),
    "its loss under maps": lambda broken, sound: stitch(
        sound, broken, TEXTS * 4, [(2, 2)], ridge=0.1
    ),
    "what it writes": lambda broken, sound: patching.patchscope(broken, "abc", 1, 2, "def", 1, 2),
    "learning": lambda broken, sound: painters.heal(broken, "0-2 4 5", TEXTS),
    "a checkpoint": lambda broken, sound: painters.export(broken, "0-4", "nowhere"),
    "a cheap plan by loss": lambda broken, sound: painters.search(
        broken, TEXTS, calls=5, objective="loss"
    ),
    "a cheap plan": lambda broken, sound: painters.search(broken, TEXTS, calls=5),
    "a score": lambda broken, sound: painters.search(broken, tasks="probe_facts", calls=5, limit=8),
    "similarity": lambda broken, sound: painters.similarity(broken, TEXTS),
}


@pytest.fixture(scope="module")
def broken(tiny_folder: Path) -> TransformerBridge:
    model = tiny.build("llama", torch.float32, tiny_folder)
    with torch.no_grad():
        model.original_model.model.layers[3].mlp.down_proj.weight.fill_(torch.nan)
    return model


@pytest.mark.filterwarnings("ignore:.* is NaN for", "ignore:.* are not numbers")
@pytest.mark.parametrize("asked", ASKED)
def test_is_told_so(broken, tiny_folder, asked):
    sound = tiny.shared("llama", torch.float32, tiny_folder)
    with pytest.raises(PaintersError, match="the model computes numbers that are not finite"):
        ASKED[asked](broken, sound)
