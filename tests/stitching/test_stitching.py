"""Stitching: exact where a map exists, and held to scikit-learn and scipy."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

from painters_interp import storage, token_logprobs
from painters_interp.errors import PlanError, TextError, UnsupportedModelError
from painters_interp.stitching import fit_stitch, stitch, stitched_logits
from painters_interp.stitching.maps import Moments, orthogonal_weight, random_weight, ridge_weight

N = tiny.N_LAYERS


def documents(count: int = 12, length: int = 40) -> list[str]:
    draw = np.random.default_rng(0)
    letters = [chr(code) for code in range(ord("!"), ord("z"))]
    return ["".join(draw.choice(letters, length)) for _ in range(count)]


TEXTS = documents()


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def gpt2(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("gpt2", torch.float64, tiny_folder)


def of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["map"] == name]


def test_the_intact_row_is_the_models_own_loss(llama: TransformerBridge) -> None:
    table = stitch(llama, llama, TEXTS[:1] * 6, [(2, 2)], ridge=0.0)
    [row] = of(table, "intact").to_dict("records")
    tokens = torch.tensor([llama.tokenizer(TEXTS[0])["input_ids"]])
    expected = -float(token_logprobs(llama, ["0-5"], tokens).mean())
    assert row["loss"] == pytest.approx(expected, abs=1e-6)
    assert (row["n_documents"], row["n_tokens"], row["train_tokens"]) == (3, 120, 123)


@pytest.mark.parametrize("family", tiny.DECODERS)
@pytest.mark.parametrize("state", [0, 3, N])
def test_a_model_stitched_to_itself_at_one_depth_loses_nothing(family, state, tiny_folder) -> None:
    model = tiny.build(family, torch.float64, tiny_folder)
    table = stitch(model, model, TEXTS, [(state, state)], ridge=0.0)
    assert abs(of(table, "ridge")["increase"].iloc[0]) < 1e-6
    assert of(table, "identity")["increase"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert abs(of(table, "mean")["increase"].iloc[0]) > 1e-4  # a random model may even gain
    assert of(table, "same_model").empty


def rotated(folder: Path, rotation: torch.Tensor, shift: torch.Tensor) -> TransformerBridge:
    """GPT-2's twin whose residual stream is turned and moved by each layer."""
    model = tiny.build("gpt2", torch.float64, folder)
    for block in model.blocks:
        block.register_forward_hook(lambda _, __, out: turned(out, rotation, shift))
    return model


def turned(output, rotation: torch.Tensor, shift: torch.Tensor):
    stream = output[0] if isinstance(output, tuple) else output
    moved = stream @ rotation + shift
    return (moved, *output[1:]) if isinstance(output, tuple) else moved


def test_a_rotated_copy_of_a_stream_is_recovered_by_the_orthogonal_map(
    gpt2: TransformerBridge, tiny_folder: Path
) -> None:
    rotation = torch.linalg.qr(torch.randn(48, 48, dtype=torch.float64)).Q
    twin = rotated(tiny_folder, rotation, torch.full((48,), 0.3, dtype=torch.float64))
    table = stitch(twin, gpt2, TEXTS, [(1, 1)], method="orthogonal")
    assert abs(of(table, "orthogonal")["increase"].iloc[0]) < 1e-6
    assert abs(of(table, "random")["increase"].iloc[0]) > 1e-4
    found = fit_stitch(twin, gpt2, TEXTS, 1, 1, method="orthogonal")
    assert torch.allclose(found.weight, rotation.T, atol=1e-8)


def test_two_models_of_different_widths(llama: TransformerBridge, tiny_folder: Path) -> None:
    narrow = tiny.build("llama", torch.float64, tiny_folder, hidden_size=32, num_hidden_layers=4)
    table = stitch(narrow, llama, TEXTS, [(2, 1), (2, 3), (4, N)])
    assert set(table["map"]) == {"intact", "ridge", "random", "same_model", "mean"}
    ridge, mean = of(table, "ridge"), of(table, "mean")
    assert list(ridge["source_state"]) == [2, 2, 4]
    assert list(ridge["target_state"]) == [1, 3, 6]
    assert (ridge["increase"].to_numpy() < mean["increase"].to_numpy()).any()
    assert set(of(table, "same_model")["source_state"]) == {2, 4}
    back = stitch(llama, narrow, TEXTS, [(3, 2)], method="orthogonal")
    assert back["loss"].notna().all()


def test_by_default_states_go_to_the_same_relative_depth(
    llama: TransformerBridge, tiny_folder: Path
) -> None:
    deep = tiny.build("llama", torch.float64, tiny_folder, num_hidden_layers=3)
    table = of(stitch(llama, deep, TEXTS, ridge=0.01, baselines=()), "ridge")
    assert list(table["source_state"]) == [0, 1, 2, 3, 4, 5, 6]
    assert list(table["target_state"]) == [0, 0, 1, 2, 2, 2, 3]


def test_weights_equal_those_of_scikit_learn_and_scipy() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(300, 10)) * 5 + 7, draw.normal(size=(300, 6)) + 3
    y[:, 0] += x[:, 3]
    parts = [slice(0, 40), slice(40, 41), slice(41, 300)]
    first, *rest = [Moments.of(torch.tensor(x[p]), torch.tensor(y[p])) for p in parts]
    moments = first + rest[0] + rest[1]
    centred, aims = x - x.mean(0), y - y.mean(0)
    assert np.allclose(moments.xx, centred.T @ centred)
    assert np.allclose(moments.xy, centred.T @ aims)
    assert np.allclose(moments.yy, (aims**2).sum(0))
    plain = LinearRegression().fit(x, y).coef_.T
    assert np.allclose(ridge_weight(moments, 0.0), plain)
    penalty = 0.3 * np.trace(centred.T @ centred) / 10
    assert np.allclose(ridge_weight(moments, 0.3), Ridge(alpha=penalty).fit(x, y).coef_.T)
    square = Moments.of(torch.tensor(x[:, :6]), torch.tensor(y))
    rotation, scale = orthogonal_procrustes(centred[:, :6], aims)
    scale /= (centred[:, :6] ** 2).sum()
    assert np.allclose(orthogonal_weight(square), rotation * scale)


def test_a_random_map_keeps_the_targets_total_variance() -> None:
    x, y = torch.randn(200, 8, dtype=torch.float64), 3 * torch.randn(200, 5, dtype=torch.float64)
    weight = random_weight(Moments.of(x, y), seed=0)
    mapped = (x - x.mean(0)) @ weight
    assert mapped.var(0).sum() == pytest.approx(float(y.var(0).sum()))
    assert not torch.equal(weight, random_weight(Moments.of(x, y), seed=1))
    inner = weight.T @ weight
    assert torch.allclose(inner / inner[0, 0], torch.eye(5, dtype=torch.float64), atol=1e-12)


def test_the_ridge_is_chosen_on_training_documents(llama: TransformerBridge, gpt2) -> None:
    several = of(stitch(gpt2, llama, TEXTS, [(3, 3)], ridge=(1e-8, 1e4)), "ridge")
    assert several["ridge"].iloc[0] in (1e-8, 1e4)
    single = of(stitch(gpt2, llama, TEXTS, [(3, 3)], ridge=several["ridge"].iloc[0]), "ridge")
    assert several["loss"].iloc[0] == pytest.approx(single["loss"].iloc[0], abs=1e-9)


def test_a_fitted_stitch_is_a_value_of_its_own(llama: TransformerBridge, gpt2) -> None:
    found = fit_stitch(gpt2, llama, TEXTS, 2, 4, ridge=1e-4)
    assert (found.source_state, found.target_state) == (2, 4)
    tokens = tiny.tokens(2, 7)
    logits = stitched_logits(gpt2, llama, found, tokens)
    assert logits.shape == (2, 7, tiny.VOCAB)
    same = fit_stitch(llama, llama, TEXTS, 3, 3, ridge=0.0)
    with torch.no_grad():
        assert torch.allclose(stitched_logits(llama, llama, same, tokens), llama(tokens), atol=1e-6)
    blank = replace(same, weight=0 * same.weight)
    assert torch.allclose(blank(torch.randn(3, 48).double()), same.target_mean.expand(3, 48))


def test_intervals_are_over_test_documents_and_paired(llama: TransformerBridge) -> None:
    table = stitch(llama, llama, TEXTS, [(2, 4)])
    assert (table["loss_low"] <= table["loss"]).all()
    assert (table["loss"] <= table["loss_high"]).all()
    [row] = of(table, "intact").to_dict("records")
    assert row["increase_low"] == row["increase"] == row["increase_high"] == 0


def test_the_table_reads_back_from_disk(llama: TransformerBridge, tmp_path: Path) -> None:
    table = stitch(llama, llama, TEXTS, [(2, 2)])
    storage.write_table(table, tmp_path / "stitching", {})
    back = storage.read_table(tmp_path / "stitching")
    assert list(back["map"]) == list(table["map"])
    assert back["source_state"].dtype == "Int64"


def test_bad_input_is_refused(llama: TransformerBridge, gpt2, tiny_folder: Path) -> None:
    with pytest.raises(PlanError, match=r"state 7 does not exist; tiny-llama has states 0\.\.6"):
        stitch(gpt2, llama, TEXTS, [(2, 7)])
    with pytest.raises(PlanError, match="no method 'linear'; there are ridge, orthogonal"):
        stitch(gpt2, llama, TEXTS, [(2, 2)], method="linear")
    with pytest.raises(PlanError, match="no baseline 'zero'; there are identity"):
        stitch(gpt2, llama, TEXTS, [(2, 2)], baselines=["zero"])
    with pytest.raises(PlanError, match="no states to stitch"):
        stitch(gpt2, llama, TEXTS, [])
    few = r"33 tokens cannot fit a map from 48 dimensions; at least 49 are needed"
    with pytest.raises(TextError, match=few):
        stitch(gpt2, llama, ["a text of ten"[:10]] * 6, [(2, 2)], ridge=0.0)
    with pytest.raises(TextError, match="give at least three: two to fit, one to judge"):
        stitch(gpt2, llama, TEXTS[:2], [(2, 2)])
    with pytest.raises(TextError, match=r"test_share=1\.0 is not a share"):
        stitch(gpt2, llama, TEXTS, [(2, 2)], test_share=1.0)
    masked = tiny.build("bert", torch.float64, tiny_folder)
    with pytest.raises(UnsupportedModelError, match="is a masked language model"):
        stitch(llama, masked, TEXTS, [(2, 2)])


def test_tokenizers_that_differ_on_the_texts_are_refused(
    llama: TransformerBridge, tiny_folder: Path, tmp_path: Path
) -> None:
    other = tiny.build("gpt2", torch.float64, tiny_folder)
    tiny.tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    facts = json.loads(file.read_text())
    vocabulary = facts["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    file.write_text(json.dumps(facts))
    other.tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(TextError, match="is other tokens to tiny-gpt2 than to tiny-llama; stitch"):
        stitch(other, llama, TEXTS, [(2, 2)])


def test_a_model_in_training_is_measured_without_dropout_and_left_so(gpt2: TransformerBridge):
    inner = [m for m in gpt2.original_model.modules() if isinstance(m, torch.nn.Dropout)]
    tokens, asked = tiny.tokens(2, 9), (gpt2, gpt2, TEXTS, 2, 3)
    fitted = fit_stitch(*asked, ridge=1e-4)
    rows = stitch(gpt2, gpt2, TEXTS, [(2, 3)], ridge=1e-4)["loss"]
    logits = stitched_logits(gpt2, gpt2, fitted, tokens)
    try:
        for dropout in inner:
            dropout.p = 0.5
        gpt2.train()
        assert torch.equal(fit_stitch(*asked, ridge=1e-4).weight, fitted.weight)
        assert (stitch(gpt2, gpt2, TEXTS, [(2, 3)], ridge=1e-4)["loss"] == rows).all()
        assert torch.equal(stitched_logits(gpt2, gpt2, fitted, tokens), logits)
        assert gpt2.training
        assert all(dropout.training for dropout in inner)
    finally:
        gpt2.eval()
        for dropout in inner:
            dropout.p = 0.0
