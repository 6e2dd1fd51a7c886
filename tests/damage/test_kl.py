"""KL to the intact model: exact against `applied`, whatever the batch and the vocabulary."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, experiments
from painters_interp import strategies as s
from painters_interp.damage import document_divergences, kl_to_intact
from painters_interp.errors import PlanError, TextError
from painters_interp.execution import divergences, prefix_walk, record

N = tiny.N_LAYERS
TEXTS = ("0-5", "0-2 4 5", "0 2 1 3-5", "0 (1-4)*2 5", "5-0", "0-2 (3|4)@sum 5@0.5*2", "0-2 4 5")
PLANS = [Plan.parse(text, N) for text in TEXTS]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def expected(model: TransformerBridge, plan: Plan, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Two whole passes, and torch's own divergence of what they predict."""
    intact = model(tokens, attention_mask=mask).log_softmax(-1)
    with applied(model, plan):
        under = model(tokens, attention_mask=mask).log_softmax(-1)
    return torch.nn.functional.kl_div(under, intact, log_target=True, reduction="none").sum(-1)


def every_row(mask: Tensor) -> Tensor:
    return torch.nonzero(mask)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gpt_neox", "bert"])
def test_equals_two_whole_passes(family: str, tiny_folder: Path) -> None:
    model = tiny.build(family, torch.float64, tiny_folder)
    tokens = tiny.tokens(3, 11)
    rows = every_row(torch.ones_like(tokens))
    found = divergences(model, PLANS, record(model, tokens), rows)
    assert found.dtype == torch.float64
    for plan, kl in zip(PLANS, found, strict=True):
        gap = (kl - expected(model, plan, tokens, None).flatten()).abs().max()
        assert gap < 1e-9, plan
    assert found[0].abs().max() < 1e-12
    assert found[1:].mean(dim=1).min() > 1e-4
    assert torch.equal(found[1], found[-1])  # the same plan, given twice


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str, tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    tokens, mask = tiny.tokens(2, 12), torch.ones(2, 12, dtype=torch.long)
    short = tokens[1, :7].clone()
    real = slice(5, 12) if side == "left" else slice(0, 7)
    mask[1], tokens[1] = 0, 0
    mask[1, real], tokens[1, real] = 1, short
    found = divergences(model, PLANS, record(model, tokens, mask), every_row(mask))
    alone = record(model, short[None])
    wanted = divergences(model, PLANS, alone, every_row(torch.ones(1, 7)))
    torch.testing.assert_close(found[:, 12:], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("rows_at_once", "plans_at_once"), [(1, 1), (4, 3), (7, 16), (1000, 2)])
def test_how_rows_and_plans_are_grouped_changes_nothing(
    rows_at_once: int, plans_at_once: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build("gpt2", torch.float64, tiny_folder)
    suite = experiments.plans(experiments.single_layers(N))
    tokens = tiny.tokens(2, 9)
    rows = every_row(torch.ones_like(tokens))
    wanted = divergences(model, suite, record(model, tokens), rows)
    monkeypatch.setattr(prefix_walk, "_LOGITS_AT_ONCE", rows_at_once * model.cfg.d_vocab)
    monkeypatch.setattr(prefix_walk, "_PLANS_AT_ONCE", plans_at_once)
    found = divergences(model, suite, record(model, tokens), rows)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def test_rows_come_in_the_order_asked_for(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    tokens = tiny.tokens(2, 8)
    rows = torch.tensor([[1, 7], [0, 2], [1, 0]])
    found = divergences(model, PLANS[1:2], record(model, tokens), rows)
    whole = expected(model, PLANS[1], tokens, None)
    torch.testing.assert_close(found[0], whole[rows[:, 0], rows[:, 1]], atol=1e-9, rtol=0)


def test_tokens_that_the_intact_model_excludes_add_nothing(tiny_folder: Path) -> None:
    model = tiny.build("gpt2", torch.float64, tiny_folder)
    recording = record(model, tiny.tokens(1, 6))
    rows = torch.tensor([[0, 5]])
    plain = divergences(model, [s.drop(N, 2)], recording, rows)

    def masked(module: object, given: object, logits: Tensor) -> Tensor:
        return torch.cat([logits, torch.full_like(logits, -torch.inf)], dim=-1)

    handle = model.original_model.lm_head.register_forward_hook(masked)
    found = divergences(model, [s.drop(N, 2)], recording, rows)
    handle.remove()
    torch.testing.assert_close(found, plain, atol=1e-12, rtol=0)


def test_the_intact_models_predictions_are_made_once_for_many_plans(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    recording, rows = record(model, tiny.tokens(1, 30)), torch.tensor([[0, t] for t in range(30)])
    suite = experiments.plans(experiments.single_layers(N))
    batches: list[int] = []
    monkeypatch.setattr(prefix_walk, "_LOGITS_AT_ONCE", 128 * model.cfg.d_vocab)

    def count(module, given, logits):
        batches.append(logits.shape[0])

    count.__module__ = "torch"  # hooks of a user would see a pass for each plan
    handle = model.original_model.lm_head.register_forward_hook(count)
    divergences(model, suite, recording, rows)
    handle.remove()
    assert sum(batches) == 30 * (len(suite) + 1)
    assert len(batches) == 1 + -(-len(suite) // 4)  # four plans of 30 rows go through together


# Texts

DOCUMENTS = ["a short text", "the canvas is shared by all the painters", "x y", "one more"]


def reference(model: TransformerBridge, plan: str) -> tuple[np.ndarray, np.ndarray]:
    """Per document the sum of KL and the number of tokens, text by text."""
    each = []
    for text in DOCUMENTS:
        tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
        each.append(expected(model, Plan.parse(plan, N), tokens, None)[0].numpy())
    return np.array([kl.sum() for kl in each]), np.array([len(kl) for kl in each])


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def test_texts_are_documents_of_the_bootstrap(llama: TransformerBridge) -> None:
    [row] = kl_to_intact(llama, ["0-2 4 5"], DOCUMENTS, seed=3).to_dict("records")
    sums, counts = reference(llama, "0-2 4 5")
    draws = np.random.default_rng(3).multinomial(4, [0.25] * 4, 1000)
    means = (draws @ sums) / (draws @ counts)
    assert row["kl"] == pytest.approx(sums.sum() / counts.sum(), rel=1e-4)
    assert row["kl_low"] == pytest.approx(np.quantile(means, 0.025), rel=1e-4)
    assert row["kl_high"] == pytest.approx(np.quantile(means, 0.975), rel=1e-4)
    assert row["kl_stderr"] == pytest.approx(means.std(ddof=1), rel=1e-4)
    assert (row["n_documents"], row["n_tokens"]) == (4, counts.sum())


def test_one_document_has_no_interval(llama: TransformerBridge) -> None:
    table = kl_to_intact(llama, ["0-2 4 5"], DOCUMENTS[:1])
    assert table[["kl_stderr", "kl_low", "kl_high"]].isna().all(axis=None)
    assert table.loc[0, "kl"] > 0


def test_labels_stay_and_a_result_can_be_asked_for_again(llama: TransformerBridge) -> None:
    table = kl_to_intact(llama, experiments.single_layers(N), DOCUMENTS)
    assert table["layer"].tolist() == experiments.single_layers(N)["layer"].tolist()
    assert abs(table.loc[0, "kl"]) < 1e-6
    pd.testing.assert_frame_equal(kl_to_intact(llama, table, DOCUMENTS), table)


def test_texts_longer_than_the_context_are_read_in_pieces(tiny_folder: Path) -> None:
    short = tiny.build("llama", torch.float64, tiny_folder, max_position_embeddings=16)
    sums, tokens = document_divergences(
        short, [s.drop(N, 2)], ["a long text of many letters", "b c"]
    )
    assert tokens.tolist() == [28, 4]
    assert (sums > 0).all()


def test_bad_input_is_refused(llama: TransformerBridge) -> None:
    with pytest.raises(PlanError, match="no plans; give at least one"):
        kl_to_intact(llama, [], DOCUMENTS)
    with pytest.raises(PlanError, match="is for 7 layers, not 6"):
        kl_to_intact(llama, [s.full(7)], DOCUMENTS)
    with pytest.raises(TextError, match="texts must be a list"):
        kl_to_intact(llama, ["0-5"], [])
