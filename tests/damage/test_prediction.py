"""From similarity to damage: rank correlations of measures with what plans cost."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from scipy.stats import spearmanr
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import experiments, kl_to_intact, predict_damage, similarity
from painters_interp.damage import relate
from painters_interp.errors import TableError

N = tiny.N_LAYERS
TEXTS = ["the quick brown fox", "jumps over it", "over the lazy dog and runs away", "and so on"]
MEASURES = ["cosine", "cka", "update_ratio"]


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def found(llama):
    return predict_damage(llama, TEXTS, MEASURES, resamples=50)


class TestPoints:
    def test_a_row_for_every_plan_and_measure(self, found):
        plans = N + (N - 1) + sum(N - size + 1 for size in range(2, N // 2 + 1))
        assert len(found.points) == plans * (len(MEASURES) + 1)
        assert found.points["variant"].unique().tolist() == ["drop", "swap", "drop_window"]

    def test_the_cost_is_the_divergence_from_the_intact_model(self, llama, found):
        table = kl_to_intact(llama, experiments.damages(N), TEXTS)
        expected = table[table["layer"].notna()]["kl"]
        np.testing.assert_allclose(
            found.points.query("measure == 'cka'")["kl"], expected, atol=1e-6
        )

    def test_a_matrix_is_read_between_what_enters_and_what_leaves(self, llama, found):
        matrix = similarity(llama, TEXTS, ["cosine"])["cosine"].matrix
        for _, row in found.points.query("measure == 'cosine'").iterrows():
            assert row["value"] == pytest.approx(matrix.loc[row["layer"], row["other"] + 1])

    def test_a_curve_is_summed_over_the_altered_layers(self, llama, found):
        curve = similarity(llama, TEXTS, ["update_ratio"])["update_ratio"].curve
        for _, row in found.points.query("measure == 'update_ratio'").iterrows():
            assert row["value"] == pytest.approx(curve.loc[row["layer"] : row["other"]].sum())


class TestCorrelations:
    def test_are_rank_correlations_within_each_kind_of_plan(self, found):
        assert len(found.correlations) == 3 * (len(MEASURES) + 1)
        for _, row in found.correlations.iterrows():
            points = found.points.query("measure == @row.measure and variant == @row.variant")
            assert row["rho"] == pytest.approx(spearmanr(points["value"], points["kl"]).statistic)
            assert row["low"] <= row["high"]

    def test_the_interval_holds_the_documents_that_were_drawn(self):
        """Half of the documents disagree wholly: rho of a resample is 1 or -1, or in between."""
        value = np.array([[1.0, 2, 3, 4]])
        costs = np.array([[1.0, 2, 3, 4], [8.0, 6, 4, 2]] * 2)
        table = pd.DataFrame({"variant": ["drop"] * 4, "plan": list("abcd")})
        found = relate(
            table, {"x": lambda w: value.repeat(len(w), 0)}, lambda w: w @ costs, documents=4
        )
        row = found.correlations.iloc[0]
        assert (row["low"], row["high"]) == (-1, 1)

    def test_one_document_has_no_interval(self, llama):
        found = predict_damage(llama, TEXTS[:1], ["cosine"], resamples=10)
        assert found.correlations["rho"].notna().all()
        assert found.correlations[["low", "high"]].isna().all(axis=None)


def test_measures_of_states_predict_no_plan(llama):
    with pytest.raises(TableError, match="variance predicts no plan"):
        predict_damage(llama, TEXTS, ["variance"], resamples=10)


def test_a_text_too_short_for_a_measure_is_named(llama):
    with pytest.raises(TableError, match="text 1 is too short for cka"):
        predict_damage(llama, [*TEXTS[:1], "ab"], ["cka"], resamples=10)
