"""KL to the intact model: the same numbers as from full logits under `applied`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch.nn.functional import kl_div
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, divergence, experiments, store
from painters_interp.divergence import kl_to_intact
from painters_interp.errors import PlanError, TextError

N = tiny.N_LAYERS
TEXTS = [
    "a short text",
    "the canvas is shared by all the painters",
    "x y",
    "one more, of some length",
]
PLANS = ["0-5", "0-2 4 3 5", "0-2 4 5", "0 (1-4) 5", "0-3 2-5", "0-4 5@0.5"]


def reference(model: TransformerBridge, plan: str) -> tuple[np.ndarray, np.ndarray]:
    """Per document the sum of KL and the number of tokens, from whole logits, text by text."""
    found = []
    for text in TEXTS:
        tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            intact = model(tokens).log_softmax(-1)
            with applied(model, plan):
                changed = model(tokens).log_softmax(-1)
        each = kl_div(changed, intact, log_target=True, reduction="none").sum(-1)
        found.append(each[0].numpy())
    return np.array([kl.sum() for kl in found]), np.array([len(kl) for kl in found])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_equals_full_logits_under_applied(family: str, tiny_folder: Path) -> None:
    model = tiny.build(family, torch.float64, tiny_folder)
    # One text at a time: eager attention has no padding in float64, see the test after this one.
    table = kl_to_intact(model, PLANS, TEXTS, batch_size=1)
    for plan, kl in zip(PLANS, table["kl"], strict=True):
        sums, counts = reference(model, plan)
        assert kl == pytest.approx(sums.sum() / counts.sum(), abs=1e-6)
    assert abs(table["kl"].iloc[0]) < 1e-12
    assert (table["kl"].iloc[1:] > 1e-4).all()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_padding_changes_nothing(family: str, tiny_folder: Path) -> None:
    model = tiny.build(family, torch.float32, tiny_folder)
    alone = kl_to_intact(model, PLANS, TEXTS, batch_size=1)
    together = kl_to_intact(model, PLANS, TEXTS, batch_size=4)
    assert (alone["kl"] - together["kl"]).abs().max() < 1e-5
    assert together["kl"].notna().all()


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


def test_tokens_in_small_portions_and_plans_in_small_groups_change_nothing(
    llama: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = experiments.plans(experiments.replacements(N))
    whole = kl_to_intact(llama, plans, TEXTS)
    monkeypatch.setattr(divergence, "_ROWS", 7)
    monkeypatch.setattr(divergence, "_TOGETHER", 4)
    again = kl_to_intact(llama, plans, TEXTS, batch_size=3)
    assert np.abs(whole["kl"] - again["kl"]).max() < 1e-6
    assert np.abs(whole["kl_low"] - again["kl_low"]).max() < 1e-6


def test_never_holds_more_logits_than_stated(
    llama: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    monkeypatch.setattr(divergence, "_ROWS", 7)
    watch = llama.unembed.register_forward_hook(lambda _, __, out: rows.append(out.shape[0]))
    kl_to_intact(llama, experiments.plans(experiments.swaps(N)), TEXTS)
    watch.remove()
    assert max(rows) == 7


def test_labels_stay_and_equal_plans_are_computed_once(llama: TransformerBridge) -> None:
    moves = experiments.moves(N)
    table = kl_to_intact(llama, moves, TEXTS)
    assert list(table["plan"]) == list(moves["plan"])
    assert list(table["other"]) == list(moves["other"])
    both = table[table["plan"].eq("0-2 4 3 5")]
    assert len(both) == 2
    assert both["kl"].nunique() == 1
    labelled = kl_to_intact(llama, {"intact": "0-5", "mine": "0-3 5"}, TEXTS)
    assert list(labelled["label"]) == ["intact", "mine"]


def test_what_was_measured_before_is_no_label(llama: TransformerBridge) -> None:
    once = kl_to_intact(llama, experiments.swaps(N, [1, 2, 3]), TEXTS)
    again = kl_to_intact(llama, once, TEXTS)
    pd.testing.assert_frame_equal(once, again)


def test_the_interval_is_a_bootstrap_over_documents(llama: TransformerBridge) -> None:
    [row] = kl_to_intact(llama, ["0-2 4 5"], TEXTS, seed=3).to_dict("records")
    sums, counts = reference(llama, "0-2 4 5")
    draws = np.random.default_rng(3).multinomial(len(TEXTS), [1 / len(TEXTS)] * len(TEXTS), 1000)
    means = (draws @ sums) / (draws @ counts)
    assert row["kl_low"] == pytest.approx(np.quantile(means, 0.025), abs=1e-6)
    assert row["kl_high"] == pytest.approx(np.quantile(means, 0.975), abs=1e-6)
    assert (row["n_documents"], row["n_tokens"]) == (len(TEXTS), counts.sum())


def test_one_document_has_no_interval(llama: TransformerBridge) -> None:
    [row] = kl_to_intact(llama, ["0-2 4 5"], TEXTS[:1]).to_dict("records")
    assert np.isnan(row["kl_low"])
    assert row["kl"] > 0


def test_texts_longer_than_the_context_are_read_in_pieces(tiny_folder: Path) -> None:
    short = tiny.build("llama", torch.float64, tiny_folder, max_position_embeddings=16)
    [row] = kl_to_intact(short, ["0-2 4 5"], ["a long text of many letters", "b c"]).to_dict(
        "records"
    )
    assert row["n_tokens"] == 28 + 4
    assert row["n_documents"] == 2


def test_a_table_of_results_reads_back_from_disk(llama: TransformerBridge, tmp_path: Path) -> None:
    table = kl_to_intact(llama, experiments.block_repeats(N), TEXTS)
    store.write_table(table, tmp_path / "block_repeats", {})
    back = store.read_table(tmp_path / "block_repeats")
    pd.testing.assert_frame_equal(
        back.dropna(axis="columns", how="all"),
        table.dropna(axis="columns", how="all"),
        check_dtype=False,
    )


def test_bad_input_is_refused(llama: TransformerBridge) -> None:
    with pytest.raises(PlanError, match="no plans; give at least one"):
        kl_to_intact(llama, [], TEXTS)
    with pytest.raises(PlanError, match="is for 7 layers; tiny-llama has 6"):
        kl_to_intact(llama, [Plan.parse("0-6", 7)], TEXTS)
    with pytest.raises(TextError, match="texts must be a list"):
        kl_to_intact(llama, ["0-5"], "one text")
    with applied(llama, "0-4"), pytest.raises(PlanError, match="a plan is already applied"):
        kl_to_intact(llama, ["0-5"], TEXTS)
