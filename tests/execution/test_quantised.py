"""Quantised models: plans run on what their library computes; what needs plain weights is refused.

The layers here keep whole numbers and a scale, as the int8 layers of bitsandbytes, torchao and
quanto do, without any of these libraries.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.deployment import recipe
from painters_interp.errors import ModelError, UnsupportedModelError
from painters_interp.models import as_model, identity, weights_digest

PLAN = "0-2 4*2 (1|3)@sum 5"


class Int8Linear(nn.Module):
    """A matrix of whole numbers with a scale for each row of it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax(1, keepdim=True) / 127
        whole = (linear.weight / scale).round().to(torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)
        self.register_buffer("scale", scale.detach())

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ (self.weight.to(rows.dtype) * self.scale.to(rows.dtype)).T


class Fixed(Tensor):
    """A weight that its library lets compute in one format."""

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return [], None

    def float(self, *args: Any, **kwargs: Any) -> Tensor:
        raise ValueError("The dtype of a weights Tensor cannot be changed")


def quantised(folder: Path, dtype: torch.dtype = torch.float32) -> TransformerBridge:
    model = tiny.stock("llama", dtype)
    for layer in model.model.layers:
        for part in (layer.mlp, layer.self_attn):
            for name, module in [*part.named_children()]:
                if isinstance(module, nn.Linear):
                    setattr(part, name, Int8Linear(module))
    model.config.quantization_config = {"quant_method": "int8_for_tests"}
    return as_model(model, tiny.tokenizer(folder))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.no_grad()
def test_plans_run_exactly(dtype, tiny_folder):
    model, tokens = quantised(tiny_folder, dtype), tiny.tokens(2, 9)
    assert painters.check(model, PLAN).ok
    scores = painters.token_logprobs(model, [PLAN], tokens)[0]
    with painters.applied(model, PLAN):
        logits = model(tokens).float().log_softmax(-1)[:, :-1]
    expected = logits.gather(-1, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5 if dtype.itemsize == 4 else 0.1)


def test_it_is_known_by_its_whole_numbers_and_by_how_it_is_quantised(tiny_folder):
    model = quantised(tiny_folder)
    assert identity(model)["dtype"] == "float32+int8_for_tests"
    before = weights_digest(model)
    model.original_model.model.layers[3].mlp.down_proj.weight[0, 0] += 1
    assert weights_digest(model) != before


def test_what_needs_its_weights_as_numbers_is_refused(tiny_folder, tmp_path):
    model = quantised(tiny_folder)
    for ask in (
        lambda: painters.models.random_weights(model),
        lambda: painters.models.copied(model),
        lambda: painters.export(model, "0-4", tmp_path / "new"),
    ):
        with pytest.raises(UnsupportedModelError, match=r"is quantised.*load it in floating point"):
            ask()
    assert [*tmp_path.iterdir()] == []


def test_weights_of_one_format_alone_cannot_be_proved_in_half_precision(tiny_folder):
    model = quantised(tiny_folder, torch.bfloat16)
    gate = model.original_model.lm_head._original_component
    gate.weight = nn.Parameter(gate.weight.detach().as_subclass(Fixed))
    with pytest.raises(UnsupportedModelError, match=r"\(Fixed\) compute in bfloat16 alone"):
        painters.check(model, PLAN)
    scores = painters.token_logprobs(model, [PLAN], tiny.tokens(2, 9))
    assert scores.isfinite().all()


def test_a_checkpoint_whose_library_is_not_here_says_so(tmp_path):
    folder = tiny.save("llama", tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "aqlm"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"cannot be loaded from .*(?i:aqlm)") as refused:
        painters.load_model(folder)
    assert "\n" not in str(refused.value)


def test_a_recipe_of_one_names_the_format_that_it_computes_in(tiny_folder, tmp_path):
    model = quantised(tiny_folder)
    model.original_model.config.name_or_path = str(tiny.save("llama", tmp_path / "base"))
    model.cfg.model_name = "base"
    path = recipe(model, "0-2 (3|4) 5", tmp_path / "it")
    assert json.loads(path.read_text())["dtype"] == "float32"
