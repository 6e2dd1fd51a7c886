"""Gradients and formats under exchanged weights: those of the weights that were there, or none."""

import pytest
import tiny
import torch
from accelerate.hooks import ModelHook, add_hook_to_module

from painters_interp.errors import UnsupportedModelError
from painters_interp.patching import weights_averaged, weights_swapped

TOKENS = tiny.tokens(1, 9)


@pytest.fixture
def llama(tiny_folder):
    return tiny.build("llama", torch.float32, tiny_folder)


def loss(model):
    return model.original_model(TOKENS, labels=TOKENS).loss


def contexts(model):
    return weights_swapped(model, 1, 4), weights_averaged(model, [1, 4])


@pytest.mark.parametrize("which", [0, 1])
class TestBackward:
    def test_inside_gives_the_gradients_of_what_was_there(self, llama, tiny_folder, which):
        with contexts(llama)[which]:
            edited = {n: p.detach().clone() for n, p in llama.original_model.named_parameters()}
            loss(llama).backward()
        plain = tiny.build("llama", torch.float32, tiny_folder).original_model
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                parameter.copy_(edited[name])
        plain(TOKENS, labels=TOKENS).loss.backward()
        expected = {name: p.grad for name, p in plain.named_parameters()}
        for name, parameter in llama.original_model.named_parameters():
            assert torch.equal(parameter.grad, expected[name]), name

    def test_after_the_block_is_refused(self, llama, which):
        with contexts(llama)[which]:
            late = loss(llama)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            late.backward()

    def test_in_a_second_block_is_refused(self, llama, which):
        with contexts(llama)[which]:
            late = loss(llama)
        with (
            contexts(llama)[which],
            pytest.raises(RuntimeError, match="modified by an inplace operation"),
        ):
            late.backward()

    def test_of_the_intact_model_goes_on_after_a_block(self, llama, which):
        before = loss(llama)
        with contexts(llama)[which], torch.no_grad():
            loss(llama)
        before.backward()
        assert llama.original_model.get_input_embeddings().weight.grad is not None

    def test_under_gradient_checkpointing_is_refused_before_anything_changes(self, llama, which):
        root = llama.original_model.train()
        root.gradient_checkpointing_enable()
        before = {n: p.detach().clone() for n, p in root.named_parameters()}
        with (
            pytest.raises(UnsupportedModelError, match="gradient checkpointing"),
            contexts(llama)[which],
        ):
            pass
        assert all(torch.equal(p, before[n]) for n, p in root.named_parameters())


def test_a_format_asked_for_inside_holds_for_every_layer(llama):
    with weights_swapped(llama, 1, 4):
        llama.original_model.double()
    assert {p.dtype for p in llama.original_model.parameters()} == {torch.float64}


def test_offloaded_weights_are_refused_by_name(llama):
    weight = llama.blocks[4].mlp.gate.original_component
    weight.weight = torch.nn.Parameter(weight.weight.to("meta"))
    add_hook_to_module(weight, ModelHook())  # as accelerate does, whose hooks fetch the numbers
    with pytest.raises(UnsupportedModelError, match="is offloaded"), weights_swapped(llama, 1, 4):
        pass
