"""Weights exchanged, averaged and compared: held to plans, and to stock Hugging Face models."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from scipy.spatial.distance import cosine
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import applied
from painters_interp.errors import PlanError, UnsupportedModelError
from painters_interp.patching import (
    weight_similarities,
    weight_similarity,
    weights_averaged,
    weights_swapped,
)

N = tiny.N_LAYERS
# Two layers of one type in every family; Gemma 3 has full attention at 2 and 5.
LOW, HIGH, SWAPPED = 1, 3, "0 3 2 1 4 5"
# Where stock Hugging Face keeps a layer and its attention; what is not attention or norm is MLP.
PLACES = {
    "gpt2": ("transformer.h", "attn"),
    "gpt_neox": ("gpt_neox.layers", "attention"),
    "bert": ("bert.encoder.layer", "attention"),
}
MLP = {"bert": ("intermediate", "output")}


@pytest.fixture(scope="module")
def models(tiny_folder: Path) -> dict[str, TransformerBridge]:
    return {family: tiny.build(family, torch.float64, tiny_folder) for family in tiny.FAMILIES}


def logits(model: TransformerBridge) -> torch.Tensor:
    with torch.no_grad():
        return model(tiny.tokens())


def stock_logits(family: str, edit) -> torch.Tensor:
    """Logits of a stock model whose state dict was edited by hand, under the bridge's attention."""
    plain = tiny.stock(family, torch.float64)
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    plain.load_state_dict(edit(state))
    with torch.no_grad():
        return plain(tiny.tokens()).logits


def entered(context) -> None:
    with context:
        pass


def keys_of(family: str, part: str, state: dict[str, torch.Tensor]) -> list[str]:
    """Names of a part's tensors in layer LOW of a stock state dict."""
    layers, attention = PLACES.get(family, ("model.layers", "self_attn"))
    heads = {"attn": (attention,), "mlp": MLP.get(family, ("mlp",))}[part]
    found = [k for k in state for head in heads if k.startswith(f"{layers}.{LOW}.{head}.")]
    assert found
    return found


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_swapping_whole_layers_is_the_plan_that_swaps_their_calls(family, models) -> None:
    model = models[family]
    with applied(model, SWAPPED):
        expected = logits(model)
    with weights_swapped(model, LOW, HIGH):
        found = logits(model)
    assert found.isfinite().all()
    assert torch.equal(found, expected)
    assert not torch.allclose(found, logits(model), atol=1e-3)


@pytest.mark.parametrize("part", ["attn", "mlp"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_swapping_a_part_is_a_stock_model_with_that_part_swapped(family, part, models) -> None:
    def edit(state):
        for key in keys_of(family, part, state):
            other = key.replace(f".{LOW}.", f".{HIGH}.", 1)
            state[key], state[other] = state[other], state[key]
        return state

    model = models[family]
    with weights_swapped(model, LOW, HIGH, part):
        found = logits(model)
    assert torch.allclose(found, stock_logits(family, edit), atol=1e-6, rtol=0)
    assert not torch.allclose(found, logits(model), atol=1e-4)


@pytest.mark.parametrize("part", ["attn", "mlp"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_averaging_a_part_is_a_stock_model_with_the_mean_in_each_layer(
    family, part, models
) -> None:
    layers = (0, 1, 3)

    def edit(state):
        for key in keys_of(family, part, state):
            names = [key.replace(f".{LOW}.", f".{layer}.", 1) for layer in layers]
            mean = sum(state[name] for name in names) / len(names)
            state.update(dict.fromkeys(names, mean))
        return state

    with weights_averaged(models[family], layers, part):
        found = logits(models[family])
    assert torch.allclose(found, stock_logits(family, edit), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_very_same_tensors_come_back(family, models) -> None:
    model = models[family]
    tensors = list(model.original_model.state_dict(keep_vars=True).values())
    before = [(tensor.data_ptr(), tensor.clone()) for tensor in tensors]
    for part in ("layer", "attn", "mlp"):
        swapped, averaged = weights_swapped(model, LOW, HIGH, part), weights_averaged(model, [0, 3])
        with pytest.raises(KeyboardInterrupt), swapped, averaged:
            raise KeyboardInterrupt
    for tensor, (place, values) in zip(tensors, before, strict=True):
        assert tensor.data_ptr() == place
        assert torch.equal(tensor, values)


def test_swaps_nest_and_go_with_plans(models) -> None:
    model = models["llama"]
    with weights_swapped(model, 1, 2), weights_swapped(model, 1, 3), applied(model, "0-3 5"):
        found = logits(model)
    with applied(model, "0 3 1 2 5"):
        assert torch.equal(found, logits(model))


def test_averaging_one_layer_or_equal_layers_changes_nothing(models) -> None:
    model = models["qwen3"]
    intact = logits(model)
    with weights_averaged(model, [2]):
        assert torch.equal(logits(model), intact)
    with weights_averaged(model, [1, 2]), weights_averaged(model, [1, 2]):
        twice = logits(model)
    with weights_averaged(model, [1, 2]):
        assert torch.equal(logits(model), twice)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "bert"])
@pytest.mark.parametrize("part", ["layer", "attn", "mlp"])
def test_similarity_is_the_cosine_of_the_stock_models_parameters(family, part, models) -> None:
    plain = dict(tiny.stock(family, torch.float64).named_parameters())
    layers, _ = PLACES.get(family, ("model.layers", ""))
    keys = (
        [k for k in plain if k.startswith(f"{layers}.{LOW}.")]
        if part == "layer"
        else keys_of(family, part, plain)
    )

    def flat(layer: int) -> list[np.ndarray]:
        names = [key.replace(f".{LOW}.", f".{layer}.", 1) for key in keys]
        return [plain[name].detach().numpy().ravel() for name in names]

    joint = weight_similarity(models[family], part, combine="joint")
    mean = weight_similarity(models[family], part)
    for a, b in ((0, 4), (LOW, HIGH)):
        expected = 1 - cosine(np.concatenate(flat(a)), np.concatenate(flat(b)))
        assert joint.loc[a, b] == pytest.approx(expected, abs=1e-12)
        each = [1 - cosine(x, y) for x, y in zip(flat(a), flat(b), strict=True)]
        assert mean.loc[a, b] == pytest.approx(np.mean(each), abs=1e-12)
    assert np.allclose(np.diag(joint), 1)
    assert list(joint.index) == list(joint.columns) == list(range(N))


def test_similarity_by_kind_goes_by_the_models_own_names(models) -> None:
    found = weight_similarities(models["gpt2"], "attn")
    assert list(found) == ["c_attn.weight", "c_attn.bias", "c_proj.weight", "c_proj.bias"]
    swapped = [1, 0, *range(2, N)]
    with weights_swapped(models["gpt2"], 0, 1, "attn"):
        again = weight_similarities(models["gpt2"], "attn")
    for name, matrix in found.items():
        assert np.array_equal(again[name].to_numpy(), matrix.loc[swapped, swapped].to_numpy())


def test_layers_of_different_kinds_are_refused_naming_both(models, tiny_folder) -> None:
    with pytest.raises(UnsupportedModelError, match=r"layers 1 and 2 differ in layer_types: slid"):
        entered(weights_swapped(models["gemma3"], 1, 2))
    wide = tiny.build("llama", torch.float64, tiny_folder)
    for name, tensor in wide.original_model.model.layers[3].mlp.named_parameters():
        tensor.data = tensor.data[:, :-1] if "down_proj" in name else tensor.data[:-1]
    expected = r"layers 0 and 3 differ in mlp.gate_proj.weight: \(96, 48\) and \(95, 48\)"
    with pytest.raises(UnsupportedModelError, match=expected):
        entered(weights_averaged(wide, [0, 3]))
    with pytest.raises(UnsupportedModelError, match=expected):
        weight_similarity(wide)
    query = wide.blocks[0].attn.q.weight.clone()
    with weights_swapped(wide, 0, 3, "attn"):  # the attention still has one shape
        assert torch.equal(wide.blocks[3].attn.q.weight, query)


def test_layers_and_parts_that_do_not_exist_are_refused(models) -> None:
    model = models["llama"]
    with pytest.raises(PlanError, match=r"layer 6 does not exist; tiny-llama has layers 0\.\.5"):
        entered(weights_swapped(model, 0, 6))
    with pytest.raises(PlanError, match="no layers named"):
        entered(weights_averaged(model, []))
    with pytest.raises(UnsupportedModelError, match="no part 'heads'; there are layer, attn, mlp"):
        entered(weights_swapped(model, 0, 1, "heads"))
    with pytest.raises(PlanError, match="combine='max' is not a way"):
        weight_similarity(model, combine="max")
