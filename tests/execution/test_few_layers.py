"""The layers that a probe runs: two of every kind."""

import pytest
import tiny
import torch

from painters_interp.execution.application import in_float32
from painters_interp.execution.kinds import few_layers


@pytest.mark.parametrize(
    ("family", "plan"), [("llama", "0 1"), ("gpt2", "0 1"), ("bert", "0 1"), ("gemma3", "0-2 5")]
)
def test_are_two_of_every_kind(family, plan, tiny_folder):
    assert str(few_layers(tiny.build(family, torch.float32, tiny_folder))) == plan


def test_a_layer_of_another_make_is_of_another_kind(tiny_folder):
    model = tiny.build("llama", torch.float32, tiny_folder)
    model.blocks[3].original_component.self_attn.is_causal = False
    assert str(few_layers(model)) == "0 1 3"


def test_the_others_are_not_copied_in_another_format(tiny_folder):
    model = tiny.build("llama", torch.bfloat16, tiny_folder)
    before = {id(p): p.data_ptr() for p in model.original_model.parameters()}
    with in_float32(model, few_layers(model)):
        assert {p.dtype for p in model.blocks[1].parameters()} == {torch.float32}
        assert {p.dtype for p in model.blocks[2].parameters()} == {torch.bfloat16}
    assert {id(p): p.data_ptr() for p in model.original_model.parameters()} == before
