"""Half precision judged in float32: what the model in float32 computes, one layer at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
import zoo
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import check
from painters_interp.execution.widening import in_float32
from painters_interp.models import as_model

ARCHITECTURES = ["Llama", "Gemma 3", "MPT", "OPT, projected", "DeepSeek V3", "Qwen3-Next", "BERT"]
HALVES = [torch.bfloat16, torch.float16]


def held(model: TransformerBridge) -> dict[int, tuple[int, torch.dtype]]:
    """Each tensor of the model, where its numbers lie and what they are."""
    tensors = [*model.original_model.parameters(), *model.original_model.buffers()]
    return {id(t): (t.data_ptr(), t.dtype) for t in tensors}


def wide(model: TransformerBridge) -> Iterator[str]:
    """The matrices of the model that are in float32 now."""
    named = model.original_model.named_parameters()
    yield from (name for name, p in named if p.ndim > 1 and p.dtype == torch.float32)


def bridged(name: str, dtype: torch.dtype, folder: Path) -> TransformerBridge:
    return as_model(zoo.stock(name, dtype), tiny.tokenizer(folder))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_gives_the_numbers_of_the_model_in_float32(name, dtype, tiny_folder):
    narrow, tokens = bridged(name, dtype, tiny_folder), tiny.tokens(2, 9)
    whole = bridged(name, dtype, tiny_folder)
    whole.original_model.float()
    before = held(narrow)
    with in_float32(narrow):
        found = narrow(tokens)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, whole(tokens), rtol=0, atol=0)
    assert held(narrow) == before


def test_widens_a_layer_only_while_it_runs(tiny_folder):
    model, seen = tiny.build("llama", torch.bfloat16, tiny_folder), {}
    for index, block in enumerate(model.blocks):
        block.mlp.register_forward_hook(
            lambda *_, index=index: seen.update({index: [*wide(model)]})
        )
    with in_float32(model), torch.no_grad():
        assert [*wide(model)] == []
        model(tiny.tokens())
        assert [*wide(model)] == []
    assert all(f".{index}." in name for index, names in seen.items() for name in names)
    assert len(seen) == tiny.N_LAYERS
    assert all(seen.values())


@torch.no_grad()
def test_the_weights_come_back_also_after_an_exception(tiny_folder):
    model = tiny.build("llama", torch.bfloat16, tiny_folder)
    before = held(model)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    hook = model.blocks[2].mlp.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt), in_float32(model):
        model(tiny.tokens())
    hook.remove()
    assert held(model) == before
    assert not any(block._forward_pre_hooks for block in model.blocks)
    assert check(model, "0-5").ok
