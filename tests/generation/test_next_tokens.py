"""The likeliest next tokens under many plans are those of the model inside `applied`."""

from pathlib import Path

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.errors import PaintersError, UnsupportedModelError
from painters_interp.generation import next_tokens

PLANS = {"intact": "0-5", "skip": "0-1 3-5", "looped": "0 (1-3)*2 5", "again": "0-5"}
pytestmark = pytest.mark.filterwarnings("ignore:hooks on layer")
PROMPTS = ["abc", "a longer one", "x"]


@pytest.fixture
def model(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.mark.parametrize("hooked", [False, True])
def test_are_those_of_the_model_under_each_plan(model: TransformerBridge, hooked: bool) -> None:
    if hooked:
        model.blocks[4].hook_out.add_hook(lambda tensor, hook: tensor * 2)
    table = next_tokens(model, PLANS, PROMPTS, top=2)
    assert table["label"].tolist() == [label for label in PLANS for _ in range(6)]
    assert table["prompt"].tolist() == [p for _ in PLANS for p in PROMPTS for _ in range(2)]
    for (label, prompt), rows in table.groupby(["label", "prompt"]):
        with painters.applied(model, PLANS[label]):
            ids = model.tokenizer(prompt, return_tensors="pt").input_ids
            best = model(ids)[0, -1].log_softmax(-1).topk(2)
        assert rows["rank"].tolist() == [0, 1]
        assert rows["token"].tolist() == [model.tokenizer.decode(int(i)) for i in best.indices]
        assert rows["logprob"].tolist() == pytest.approx(best.values.tolist(), abs=1e-6)


def test_where_a_logit_is_nan_there_is_no_token(model: TransformerBridge) -> None:
    model.blocks[2].hook_out.add_hook(lambda tensor, hook: tensor * torch.nan)
    with pytest.warns(UserWarning, match="the next token is NaN for 1 of 2 rows"):
        table = next_tokens(model, {"intact": "0-5", "around": "0-1 3-5"}, "abc", top=1)
    assert table["token"].isna().tolist() == table["logprob"].isna().tolist() == [True, False]


def test_what_cannot_be_read_is_refused(model: TransformerBridge, tiny_folder: Path) -> None:
    for prompts, top, said in [
        ("", 1, "prompt 0 is empty"),
        ("a" * 400, 1, "has 401 tokens, which exceed the model's context of 256"),
        ("a", 97, "top=97 is more tokens than the vocabulary's 96"),
        ("a", 0, "top=0 is too small"),
        ("a", True, "top=True is no whole number"),
    ]:
        with pytest.raises(PaintersError, match=said):
            next_tokens(model, "0-5", prompts, top=top)
    with pytest.raises(UnsupportedModelError, match="no next-token probabilities"):
        next_tokens(tiny.shared("bert", torch.float64, tiny_folder), "0-5", "abc")
