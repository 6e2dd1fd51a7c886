"""Similarity: two measures held against naive loops, and `similarity`, which feeds them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, capture, progress, similarity
from painters_interp.comparison import calls_needed
from painters_interp.errors import MeasureError, TextError
from painters_interp.measures import MEASURES, Cosine, FlatCosine, Matrix, Measure

N = tiny.N_LAYERS
TEXTS = ["the quick brown fox", "jumps", "over the lazy dog and runs away"]


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def llama64(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture
def states() -> Tensor:
    """Random streams, shape (5 states, 3 rows, 7 positions, d_model 4)."""
    return torch.randn(5, 3, 7, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> Tensor:
    """Which tokens count; the rows differ in length, and the first token is left out of one."""
    lengths = torch.tensor([7, 4, 2])
    mask = (torch.arange(7) < lengths[:, None]).long()
    mask[1, 0] = 0
    return mask


def after(measure: Measure, *update: object) -> np.ndarray:
    """Per-document matrices after one update."""
    measure.update(*update)  # type: ignore[arg-type]
    return measure.result().per_document


def cosine_token_by_token(states: Tensor, mask: Tensor) -> np.ndarray:
    """The definition: per row, the mean over its tokens of the cosine between every two states."""
    rows = []
    for row in range(states.shape[1]):
        tokens = [t for t in range(states.shape[2]) if mask[row, t]]
        rows.append(np.mean([cosine_similarity(states[:, row, t]) for t in tokens], axis=0))
    return np.stack(rows)


class TestCosine:
    def test_is_the_mean_of_the_cosines_of_the_tokens(self, states, mask):
        found = after(Cosine(), states, mask, (0, 1, 2))
        assert_allclose(found, cosine_token_by_token(states, mask), atol=1e-6)

    def test_padding_does_not_count_whatever_stands_there(self, states, mask):
        clean = after(Cosine(), states, mask, (0, 1, 2))
        for garbage in (1e30, torch.inf, torch.nan):
            dirty = states.masked_fill(~mask.bool()[None, :, :, None], garbage)
            assert_allclose(after(Cosine(), dirty, mask, (0, 1, 2)), clean, atol=1e-6)

    def test_a_document_in_pieces_weighs_by_tokens(self, states, mask):
        pieces = after(Cosine(), states, mask, (4, 4, 9))
        a, b, c = cosine_token_by_token(states, mask)
        assert mask.sum(1).tolist() == [7, 3, 2]
        assert_allclose(pieces, [(7 * a + 3 * b) / 10, c], atol=1e-6)

    def test_pieces_may_come_in_different_batches(self, states, mask):
        measure = Cosine()
        for row in range(3):
            measure.update(states[:, [row]], mask[[row]], (0,))
        together = after(Cosine(), states, mask, (0, 0, 0))
        assert_allclose(measure.result().per_document, together, atol=1e-6)

    def test_a_row_without_a_counted_token_is_no_document(self, states, mask):
        mask[1] = 0
        assert len(after(Cosine(), states, mask, (0, 1, 2))) == 2

    def test_ignores_the_length_of_vectors(self, states, mask):
        scale = torch.rand(5, 3, 7, 1) + 0.1
        found = after(Cosine(), states * scale, mask, (0, 1, 2))
        assert_allclose(found, after(Cosine(), states, mask, (0, 1, 2)), atol=1e-6)


class TestFlatCosine:
    def test_is_the_cosine_of_the_flattened_sequences_as_published(self, states, mask):
        found = after(FlatCosine(), states, mask, (0, 1, 2))
        for row in range(3):
            assert_allclose(found[row], cosine_similarity(states[:, row].flatten(1)), atol=1e-6)

    def test_padding_counts(self, states, mask):
        found = after(FlatCosine(), states, mask, (0, 1, 2))
        dirty = states.masked_fill(~mask.bool()[None, :, :, None], 9)
        changed = after(FlatCosine(), dirty, mask, (0, 1, 2))
        assert abs(changed - found)[1:].max() > 0.1

    def test_pieces_weigh_alike_whatever_their_length(self, states, mask):
        a, b, c = after(FlatCosine(), states, mask, (0, 1, 2))
        pieces = after(FlatCosine(), states, mask, (0, 0, 1))
        assert_allclose(pieces, [(a + b) / 2, c], atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
class TestEveryMeasure:
    def test_the_diagonal_is_1_and_the_matrix_symmetric(self, measure, states, mask):
        found = after(measure(), states, mask, (0, 1, 2))
        assert_allclose(np.diagonal(found, axis1=1, axis2=2), 1, atol=1e-6)
        assert_allclose(found, found.transpose(0, 2, 1), atol=1e-6)

    def test_nothing_counted_is_no_result(self, measure):
        with pytest.raises(MeasureError, match="no document had a token to compare"):
            measure().result()

    def test_half_precision_is_measured_in_float32(self, measure, states, mask):
        half = states.bfloat16()
        found = after(measure(), half, mask, (0, 1, 2))
        assert_allclose(found, after(measure(), half.float(), mask, (0, 1, 2)), atol=1e-6)


def test_one_massive_token_makes_independent_states_look_alike():
    """Why `cosine` exists beside the published measure: 80 tokens, only one of them shared."""
    random = torch.Generator().manual_seed(0)
    states = torch.randn(2, 1, 80, 576, generator=random)
    ordinary = states[0, 0, 1].norm()
    states[:, 0, 0] = torch.randn(576, generator=random)
    states[:, 0, 0] *= 45 * ordinary / states[0, 0, 0].norm()
    mask = torch.ones(1, 80, dtype=torch.long)
    [flat] = after(FlatCosine(), states, mask, (0,))
    [per_token] = after(Cosine(), states, mask, (0,))
    assert flat[0, 1] == pytest.approx(0.96, abs=0.01)
    assert per_token[0, 1] == pytest.approx(0.01, abs=0.01)


def test_the_matrix_is_the_mean_over_documents_labelled_by_state():
    matrix = Matrix(np.array([[[1, 0.2], [0.2, 1]], [[1, 0.6], [0.6, 1]]])).matrix
    expected = pd.DataFrame([[1, 0.4], [0.4, 1]])
    assert_frame_equal(matrix, expected, check_names=False, check_index_type=False)
    assert matrix.index.name == matrix.columns.name == "state"


class TestSimilarity:
    def test_compares_every_state_token_by_token(self, llama):
        (batch,) = capture(llama, TEXTS)
        counted = batch.mask.clone()
        counted[:, 0] = 0
        found = similarity(llama, TEXTS, ["cosine"])["cosine"]
        assert_allclose(found.per_document, cosine_token_by_token(batch.states, counted), atol=1e-6)
        assert found.matrix.shape == (N + 1, N + 1)
        assert list(found.matrix.index) == list(range(N + 1))

    def test_flat_as_published_counts_padding_and_the_first_token(self, llama):
        (batch,) = capture(llama, TEXTS)
        expected = [cosine_similarity(batch.states[:, row].flatten(1)) for row in range(3)]
        for skip_first in (True, False):
            found = similarity(llama, TEXTS, ["cosine_flat"], skip_first=skip_first)
            assert_allclose(found["cosine_flat"].per_document, expected, atol=1e-6)

    def test_the_first_token_counts_only_on_request(self, llama):
        (batch,) = capture(llama, TEXTS)
        found = similarity(llama, TEXTS, ["cosine"], skip_first=False)["cosine"]
        expected = cosine_token_by_token(batch.states, batch.mask)
        assert_allclose(found.per_document, expected, atol=1e-6)

    def test_every_piece_of_a_long_text_has_a_first_token(self, llama):
        long = "abc" * 150  # 451 tokens: pieces of 256 and 195, in one batch
        (batch,) = capture(llama, [long])
        counted = batch.mask.clone()
        counted[:, 0] = 0
        a, b = cosine_token_by_token(batch.states, counted)
        expected = (255 * a + 194 * b) / 449
        found = similarity(llama, [long], ["cosine"])["cosine"]
        assert_allclose(found.per_document, [expected], atol=1e-6)

    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_batch_size_does_not_change_the_cosine(self, llama64, batch_size):
        texts = [*TEXTS, "abc" * 150]
        a = similarity(llama64, texts, ["cosine"])["cosine"].per_document
        b = similarity(llama64, texts, ["cosine"], batch_size=batch_size)["cosine"].per_document
        assert np.isfinite(a).all()
        # Eager attention takes its softmax in float32 here, whose sums depend on the width.
        assert_allclose(a, b, atol=1e-6, rtol=0)

    def test_batch_size_does_not_change_the_cosine_of_an_exact_model(self, tiny_folder):
        gpt2 = tiny.build("gpt2", torch.float64, tiny_folder)
        a, b = (similarity(gpt2, TEXTS, ["cosine"], batch_size=n)["cosine"] for n in (1, 3))
        assert_allclose(a.per_document, b.per_document, atol=1e-12, rtol=0)

    def test_under_a_plan_states_are_steps(self, llama):
        plan = Plan.parse("0 (1-3)*2 5", N)
        found = similarity(llama, TEXTS, ["cosine"], plan)["cosine"]
        (batch,) = capture(llama, TEXTS, plan)
        counted = batch.mask.clone()
        counted[:, 0] = 0
        assert found.matrix.shape == (5, 5)
        expected = cosine_token_by_token(batch.states, counted)
        assert_allclose(found.per_document, expected, atol=1e-6)

    def test_one_pass_serves_all_measures(self, llama):
        both = similarity(llama, TEXTS, list(MEASURES))
        for name in MEASURES:
            alone = similarity(llama, TEXTS, [name])[name]
            assert np.array_equal(both[name].per_document, alone.per_document)

    def test_encoders_are_compared_too(self, tiny_folder):
        bert = tiny.build("bert", torch.float32, tiny_folder)
        matrix = similarity(bert, TEXTS)["cosine"].matrix
        assert_allclose(np.diag(matrix), 1, atol=1e-6)


class TestRefusals:
    def test_an_unknown_measure(self, llama):
        message = "no measure 'cka'; there are cosine, cosine_flat"
        with pytest.raises(MeasureError, match=message):
            similarity(llama, TEXTS, ["cosine", "cka"])

    @pytest.mark.parametrize("measures", ["cosine", []])
    def test_measures_that_are_no_list(self, llama, measures):
        message = "measures must be a list of names out of cosine, cosine_flat"
        with pytest.raises(MeasureError, match=message):
            similarity(llama, TEXTS, measures)

    def test_no_texts(self, llama):
        with pytest.raises(TextError, match="texts must be a list of at least one string"):
            similarity(llama, [])

    def test_a_text_without_a_second_token(self, llama):
        with pytest.raises(TextError, match=r"text 2 \(''\) has 1 token\(s\)"):
            similarity(llama, ["a", "b", ""])


class TestProgress:
    """The bar counts token-layer calls, the unit it shares with scoring."""

    @pytest.mark.parametrize(("plan", "calls"), [(None, N), ("0 (1-3)*2 5", 8)])
    @pytest.mark.parametrize("batch_size", [1, 2, 8])
    def test_ends_at_the_number_of_calls_needed(self, llama, monkeypatch, plan, calls, batch_size):
        told: list[int] = []
        expected = calls_needed(llama, TEXTS, plan, batch_size)
        with progress.progress("outer", expected):
            bar = progress._open.get()
            monkeypatch.setattr(bar, "update", told.append)
            similarity(llama, TEXTS, plan=plan, batch_size=batch_size)
        assert sum(told) == expected
        assert len(told) == -(-len(TEXTS) // batch_size)

    def test_padding_passes_through_the_layers_too(self, llama):
        widths = [20, 6, 32]  # <s> and a token for each character
        assert calls_needed(llama, TEXTS, batch_size=1) == sum(widths) * N
        assert calls_needed(llama, TEXTS) == 3 * max(widths) * N
        assert calls_needed(llama, TEXTS, "0 (1|2)", batch_size=1) == sum(widths) * 3

    def test_pieces_are_counted(self, llama):
        assert calls_needed(llama, ["abc" * 150], batch_size=1) == (256 + 195) * N
