"""The layers that a probe runs: two of every kind."""

import pytest
import tiny
import torch

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
