"""Measures as pure accumulators, held against scikit-learn, scipy and the bare definitions."""

from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from painters_interp.errors import MeasureError
from painters_interp.measures import (
    ALONG_DEPTH,
    BETWEEN_STATES,
    MEASURES,
    DocumentPair,
    DocumentStates,
    Massive,
    Matrix,
    Result,
    draw_sample,
)
from painters_interp.statistics import resamplings

LENGTHS = (14, 9, 11)


def random_states(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.fixture
def states() -> Tensor:
    """Random streams, shape (5 states, 3 rows, 14 positions, d_model 6), each near the last."""
    return random_states(5, 3, 14, 6).cumsum(0)


@pytest.fixture
def counted() -> Tensor:
    """Which tokens count; the rows differ in length, and the first token is left out of one."""
    mask = torch.arange(14) < torch.tensor(LENGTHS)[:, None]
    mask[1, 0] = False
    return mask


def documents(
    states: Tensor,
    counted: Tensor,
    texts: tuple[int, ...] = (0, 1, 2),
    columns: Tensor | None = None,
    mean: Tensor | None = None,
) -> list[DocumentPair]:
    """One pair for each row of a batch, (state, row, pos, d_model)."""
    pairs = []
    for row, text in enumerate(texts):
        rows = DocumentStates(states[:, row], counted[row].bool(), mean)
        other = (
            rows if columns is None else DocumentStates(columns[:, row], counted[row].bool(), mean)
        )
        pairs.append(DocumentPair(rows, other, text, draw_sample(rows.count, text, 10, seed=0)))
    return pairs


def measured(name: str, *batches: list[DocumentPair]) -> Result:
    recipe = MEASURES[name]
    accumulator = recipe.accumulator()
    for pairs in batches:
        for pair in pairs:
            accumulator.update(pair)
    return recipe.result(accumulator)


def per_document(name: str, pairs: list[DocumentPair]) -> np.ndarray:
    return measured(name, pairs).per_document


def blocks(states: Tensor, counted: Tensor) -> list[np.ndarray]:
    """Each document's counted tokens, (state, token, d_model)."""
    return [states[:, row, counted[row]].numpy() for row in range(len(counted))]


class TestCosine:
    def test_is_the_mean_of_the_cosines_of_the_tokens(self, states, counted):
        expected = [
            np.mean([cosine_similarity(block[:, t]) for t in range(block.shape[1])], axis=0)
            for block in blocks(states, counted)
        ]
        assert_allclose(per_document("cosine", documents(states, counted)), expected, atol=1e-12)

    def test_ignores_the_length_of_vectors(self, states, counted):
        scale = torch.rand(5, 3, 14, 1) + 0.1
        found = per_document("cosine", documents(states * scale, counted))
        assert_allclose(found, per_document("cosine", documents(states, counted)), atol=1e-6)


class TestCentredCosine:
    def test_subtracts_the_given_mean_of_each_state(self, states, counted):
        mean = random_states(5, 6, seed=1)
        found = per_document("cosine_centered", documents(states, counted, mean=mean))
        shifted = states - mean[:, None, None]
        assert_allclose(found, per_document("cosine", documents(shifted, counted)), atol=1e-12)

    def test_or_the_mean_of_each_document(self, states, counted):
        expected = []
        for block in blocks(states, counted):
            own = block - block.mean(axis=1, keepdims=True)
            each = [cosine_similarity(own[:, t]) for t in range(own.shape[1])]
            expected.append(np.mean(each, axis=0))
        found = per_document("cosine_centered", documents(states, counted))
        assert_allclose(found, expected, atol=1e-12)


class TestAngular:
    def test_is_the_angle_over_pi_averaged_over_tokens(self, states, counted):
        expected = [
            np.mean(
                [np.arccos(np.clip(cosine_similarity(block[:, t]), -1, 1)) / np.pi
                 for t in range(block.shape[1])],
                axis=0,
            )
            for block in blocks(states, counted)
        ]  # fmt: skip
        assert_allclose(per_document("angular", documents(states, counted)), expected, atol=1e-7)

    def test_a_state_is_at_no_distance_from_itself_in_float32_too(self, states, counted):
        found = per_document("angular", documents(states.float(), counted))
        assert (np.diagonal(found, axis1=1, axis2=2) == 0).all()


class TestFlatCosine:
    def test_is_the_cosine_of_the_flattened_sequences_as_published(self, states, counted):
        found = per_document("cosine_flat", documents(states, counted))
        for row in range(3):
            assert_allclose(found[row], cosine_similarity(states[:, row].flatten(1)), atol=1e-12)

    def test_padding_counts(self, states, counted):
        dirty = states.masked_fill(~counted[None, :, :, None], 9)
        found, changed = (
            per_document("cosine_flat", documents(s, counted)) for s in (states, dirty)
        )
        assert abs(changed - found)[1:].max() > 0.1

    def test_pieces_weigh_alike_whatever_their_length(self, states, counted):
        a, b, c = per_document("cosine_flat", documents(states, counted))
        pieces = per_document("cosine_flat", documents(states, counted, (0, 0, 1)))
        assert_allclose(pieces, [(a + b) / 2, c], atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_sums_are_exact_also_where_one_token_outweighs_all_others(self, dtype):
        """700 tokens of 300 dimensions, the first a thousand times as large, in float32."""
        states = random_states(3, 1, 700, 300, seed=4).cumsum(0)
        states[:, :, 0] *= 1000
        states = states.to(dtype)
        everywhere = torch.ones(1, 700, dtype=torch.bool)
        narrow, wide = (
            per_document("cosine_flat", documents(s, everywhere, (0,)))
            for s in (states, states.double())
        )
        assert_allclose(narrow, wide, atol=2e-7)


class TestCKA:
    def test_is_the_ratio_of_unbiased_estimates(self):
        """HSIC as the U-statistic over all quadruples of distinct tokens, of one document of 6."""
        states = random_states(2, 1, 6, 3).cumsum(0)
        x, y = states[0, 0].numpy(), states[1, 0].numpy()

        def hsic(a: np.ndarray, b: np.ndarray) -> float:
            k, m = a @ a.T, b @ b.T
            terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                     for i, j, q, r in permutations(range(6), 4)]  # fmt: skip
            return float(np.mean(terms))

        expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
        found = measured("cka", documents(states, torch.ones(1, 6), (0,)))
        assert found.matrix.loc[0, 1] == pytest.approx(expected, abs=1e-10)

    def test_means_over_documents_come_before_the_ratio(self, states, counted):
        found = measured("cka", documents(states, counted))
        cross = found.per_document.mean(axis=0)
        scale = np.sqrt(np.outer(np.diag(cross), np.diag(cross)))
        assert_allclose(found.matrix, cross / scale, atol=1e-12)

    def test_ignores_rotation_and_scale_of_one_side(self, states, counted):
        rotation = torch.linalg.qr(random_states(6, 6, seed=2)).Q
        turned = 3.0 * states @ rotation
        a = measured("cka", documents(states, counted)).matrix
        b = measured("cka", documents(states, counted, columns=turned)).matrix
        assert_allclose(a, b, atol=1e-10)

    def test_unrelated_states_have_none_on_average(self):
        """What debiasing is for: 12 tokens in 40 dimensions, where the plain estimate says 0.8."""
        x, y = (random_states(2, 200, 12, 40, seed=seed) for seed in (0, 1))
        found = measured("cka", documents(x, torch.ones(200, 12), tuple(range(200)), columns=y))
        assert abs(found.matrix).to_numpy().max() < 0.05

    def test_long_documents_are_read_in_parts(self):
        states, ones = random_states(3, 1, 600, 4).cumsum(0), torch.ones(1, 600)
        whole = measured("cka", documents(states, ones, (0,)))
        parts = [states[:, :, a : a + 200] for a in (0, 200, 400)]
        by_hand = measured("cka", *(documents(part, ones[:, :200], (0,)) for part in parts))
        assert_allclose(whole.matrix, by_hand.matrix, atol=1e-12)


class TestOnSamples:
    """RSA, nearest neighbours and Procrustes, on the same sample of a document's tokens."""

    def samples(self, states: Tensor, counted: Tensor) -> list[np.ndarray]:
        return [pair.sampled[0].numpy() for pair in documents(states, counted)]

    def test_rsa_is_the_rank_correlation_of_distances(self, states, counted):
        states[:, 0, 3] = states[:, 0, 4]  # the same token twice: its distances are tied
        found = per_document("rsa", documents(states, counted))
        for matrix, sample in zip(found, self.samples(states, counted), strict=True):
            expected = spearmanr([pdist(state) for state in sample], axis=1).statistic
            assert_allclose(matrix, expected, atol=1e-12)

    def test_knn_is_the_overlap_of_neighbours(self, states, counted):
        found = per_document("knn", documents(states, counted))
        for matrix, sample in zip(found, self.samples(states, counted), strict=True):
            near = [NearestNeighbors(n_neighbors=5).fit(s).kneighbors()[1] for s in sample]
            expected = [[np.mean([len(set(p) & set(q)) / 5 for p, q in zip(a, b, strict=True)])
                         for b in near] for a in near]  # fmt: skip
            assert_allclose(matrix, expected, atol=1e-12)

    def test_procrustes_is_what_the_best_rotation_leaves(self, states, counted):
        found = per_document("procrustes", documents(states, counted))
        for matrix, sample in zip(found, self.samples(states, counted), strict=True):
            disparity = [[procrustes(a, b)[2] for b in sample] for a in sample]
            assert_allclose(matrix**2, 1 - np.array(disparity), atol=1e-8)

    @pytest.mark.parametrize(("name", "fewest"), [("rsa", 4), ("knn", 7), ("procrustes", 3)])
    def test_documents_of_too_few_tokens_are_left_out(self, states, name, fewest):
        counted = torch.arange(14) < torch.tensor([fewest, fewest - 1, 14])[:, None]
        assert measured(name, documents(states, counted)).documents == (0, 2)


class TestAlongDepth:
    def test_block_influence_is_one_less_the_cosine(self, states, counted):
        cosine = per_document("cosine", documents(states, counted))
        expected = 1 - np.diagonal(cosine, offset=1, axis1=1, axis2=2)
        assert_allclose(
            per_document("block_influence", documents(states, counted)), expected, atol=1e-12
        )

    @pytest.mark.parametrize(
        ("name", "of"),
        [
            ("residual_norm", lambda x: np.linalg.norm(x, axis=-1)),
            (
                "update_ratio",
                lambda x: (
                    np.linalg.norm(np.diff(x, axis=0), axis=-1) / np.linalg.norm(x[:-1], axis=-1)
                ),
            ),
            (
                "update_cosine",
                lambda x: (
                    (np.diff(x, axis=0) * x[:-1]).sum(-1)
                    / np.linalg.norm(np.diff(x, axis=0), axis=-1)
                    / np.linalg.norm(x[:-1], axis=-1)
                ),
            ),
        ],
    )
    def test_is_the_mean_over_tokens(self, states, counted, name, of):
        expected = [of(block).mean(axis=-1) for block in blocks(states, counted)]
        assert_allclose(per_document(name, documents(states, counted)), expected, atol=1e-12)

    def test_variance_is_over_tokens_and_averaged_over_dimensions(self, states, counted):
        expected = [block.var(axis=1, ddof=1).mean(-1) for block in blocks(states, counted)]
        assert_allclose(per_document("variance", documents(states, counted)), expected, atol=1e-12)

    def test_effective_rank_is_that_of_the_covariance_of_all_tokens(self, states, counted):
        found = measured("effective_rank", documents(states, counted)).curve
        for state, value in found.items():
            values = np.linalg.eigvalsh(np.cov(states[state, counted].numpy().T))
            shares = values / values.sum()
            assert value == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=1e-8)

    def test_a_cloud_in_a_plane_has_effective_rank_2(self):
        plane = random_states(1, 1, 4000, 2) @ torch.eye(2, 6, dtype=torch.float64)
        found = measured("effective_rank", documents(plane, torch.ones(1, 4000), (0,)))
        assert found.curve[0] == pytest.approx(2, abs=0.01)

    def test_linearity_is_the_adjusted_share_of_explained_variance(self, states, counted):
        found = measured("linearity", documents(states, counted)).curve
        x = states[:, counted].numpy()
        n, d = x.shape[1:]
        for layer, value in found.items():
            fit = LinearRegression().fit(x[layer], x[layer + 1])
            left = ((x[layer + 1] - fit.predict(x[layer])) ** 2).sum()
            whole = ((x[layer + 1] - x[layer + 1].mean(0)) ** 2).sum()
            expected = 1 - left / whole * (n - 1) / (n - d - 1)
            assert value == pytest.approx(expected, abs=1e-5)

    def test_linearity_needs_more_tokens_than_dimensions(self):
        few = random_states(3, 1, 6, 6)
        assert measured("linearity", documents(few, torch.ones(1, 6), (0,))).curve.isna().all()


@pytest.mark.parametrize("name", MEASURES)
class TestEveryMeasure:
    def test_the_order_of_documents_does_not_matter(self, name, states, counted):
        pairs = documents(states, counted)
        forth, back = measured(name, pairs), measured(name, pairs[::-1])
        assert_allclose(values(back), values(forth), atol=1e-9)

    def test_half_precision_is_measured_in_float32(self, name, states, counted):
        half = states.bfloat16()
        found = values(measured(name, documents(half, counted)))
        assert_allclose(found, values(measured(name, documents(half.float(), counted))), atol=1e-6)

    def test_nothing_counted_is_no_result(self, name):
        recipe = MEASURES[name]
        with pytest.raises(MeasureError, match=r"no text had enough tokens|no two tokens counted"):
            recipe.result(recipe.accumulator())


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "cosine_flat"])
class TestAllButThePublishedOne:
    def test_padding_does_not_count_whatever_stands_there(self, name, states, counted):
        clean = values(measured(name, documents(states, counted)))
        for garbage in (1e30, torch.inf, torch.nan):
            dirty = states.masked_fill(~counted[None, :, :, None], garbage)
            assert_allclose(values(measured(name, documents(dirty, counted))), clean, atol=1e-12)

    def test_a_row_without_a_counted_token_is_no_document(self, name, states, counted):
        counted[1] = False
        rest = documents(states[:, [0, 2]], counted[[0, 2]], (0, 2))
        found = values(measured(name, documents(states, counted)))
        assert_allclose(found, values(measured(name, rest)), atol=1e-12)


def values(result: Result) -> np.ndarray:
    return (result.matrix if isinstance(result, Matrix) else result.curve).to_numpy()


@pytest.mark.parametrize("name", BETWEEN_STATES)
class TestEveryMatrix:
    def test_is_symmetric_with_a_diagonal_of_identity(self, name, states, counted):
        found = measured(name, documents(states, counted)).matrix.to_numpy()
        assert_allclose(np.diag(found), 0 if name == "angular" else 1, atol=1e-7)
        assert_allclose(found, found.T, atol=1e-9)

    def test_rows_and_columns_may_be_different_streams(self, name, states, counted):
        """Columns that are the first three states: the left part of the matrix with itself."""
        own = measured(name, documents(states, counted)).matrix
        found = measured(name, documents(states, counted, columns=states[:3])).matrix
        assert found.shape == (5, 3)
        if name != "cosine_flat":
            assert_allclose(found, own.iloc[:, :3], atol=1e-7)

    def test_the_interval_is_a_bootstrap_over_documents(self, name, states, counted):
        states = torch.cat([states, states[:, :1] ** 2], dim=1)
        counted = torch.cat([counted, counted[:1]])
        found = measured(name, documents(states, counted, (0, 1, 2, 3)))
        low, high = found.interval(level=0.8, resamples=200, seed=1)
        again = found.resampled(resamplings(4, 200, seed=1))
        assert_allclose(low, np.quantile(again, 0.1, axis=0), atol=1e-12)
        assert_allclose(high, np.quantile(again, 0.9, axis=0), atol=1e-12)
        assert ((low - 1e-9 <= found.matrix) & (found.matrix <= high + 1e-9)).to_numpy().all()

    @pytest.mark.parametrize("few", [1, 2, 3])
    def test_few_documents_have_no_interval(self, name, states, counted, few):
        found = measured(name, documents(states[:, :few], counted[:few], tuple(range(few))))
        assert found.interval().low.isna().all(axis=None)


class TestWidths:
    @pytest.mark.parametrize("name", ["cka", "rsa", "knn", "procrustes"])
    def test_geometry_is_compared_across_widths(self, name, states, counted):
        wider = torch.nn.functional.pad(states, (0, 3))
        found = measured(name, documents(states, counted, columns=wider)).matrix
        assert_allclose(found, measured(name, documents(states, counted)).matrix, atol=1e-9)

    @pytest.mark.parametrize("name", ["cosine", "cosine_centered", "cosine_flat", "angular"])
    def test_cosines_are_not(self, name, states, counted):
        message = "vectors of one width; these models have 6 and 9 dimensions. Use cka, rsa"
        with pytest.raises(MeasureError, match=message):
            measured(
                name, documents(states, counted, columns=torch.nn.functional.pad(states, (0, 3)))
            )


class TestShuffled:
    def test_every_token_takes_the_place_of_another_of_its_document(self, states, counted):
        before = DocumentStates(states[:, 1], counted[1])
        after = before.shuffled(1, seed=0)
        assert (before.vectors != after.vectors).any(-1).all()
        assert_allclose(before.vectors.sum(1), after.vectors.sum(1), atol=1e-9)

    def test_what_does_not_count_stays(self, states, counted):
        moved = DocumentStates(states[:, 1], counted[1]).shuffled(1, seed=0)
        assert torch.equal(moved.states[:, ~counted[1]], states[:, 1, ~counted[1]])


class TestMassive:
    @pytest.fixture
    def table(self) -> Massive:
        found = Massive()
        states = random_states(3, 2, 20, 50)
        states[1:, 0, 0, 7] = -5000
        states[2, 1, 4, 9] = 3000
        mask = torch.ones(2, 20, dtype=torch.long)
        tokens = torch.arange(40).reshape(2, 20)
        places = []
        for row, text in enumerate((3, 5)):
            heavy = found.update(states[:, row], mask[row], tokens[row], text)
            places += [(text, pos) for pos in torch.nonzero(heavy).flatten().tolist()]
        assert places == [(3, 0), (5, 4)]
        return found

    def test_names_the_dimensions_and_where_they_stand(self, table):
        assert table.dimensions == [7, 9]
        rows = table.table().set_index(["state", "dimension"])
        assert list(rows.index) == [(1, 7), (2, 7), (2, 9)]
        assert rows.loc[(2, 9), ["text", "position", "token"]].tolist() == [5, 4, 24]
        assert rows.loc[(1, 7), ["tokens", "first", "value"]].tolist() == [1, 1, -5000]
        assert rows.loc[(1, 7), "ratio"] == pytest.approx(5000 / 0.6745, rel=0.1)

    def test_ordinary_streams_have_none(self, states, counted):
        found = Massive()
        mask = counted[0].long()
        assert not found.update(states[:, 0], mask, mask, 0).any()
        assert found.table().empty

    def test_padding_has_none(self):
        states, mask = random_states(2, 20, 50), torch.ones(20, dtype=torch.long)
        states[:, 19], mask[19] = 1e6, 0
        assert not Massive().update(states, mask, mask, 0).any()

    def test_a_state_of_zeros_has_none(self):
        mask = torch.ones(20, dtype=torch.long)
        assert not Massive().update(torch.zeros(2, 20, 50), mask, mask, 0).any()

    def test_dropping_leaves_out_tokens_and_dimensions(self, states, counted):
        heavy = torch.zeros_like(counted[0])
        heavy[2] = True
        reading = DocumentStates(states[:, 0], counted[0], random_states(5, 6)).without(
            (1, 4), heavy
        )
        assert (reading.vectors[..., [1, 4]] == 0).all()
        assert (reading.centred[..., [1, 4]] == 0).all()
        assert reading.count == 13


class TestNotFinite:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_is_named_by_state_and_text(self, states, counted, value):
        states[3, 2, 5, 1] = value
        with pytest.raises(
            MeasureError, match="state 3 of text 9 is NaN or infinite: the model computes"
        ):
            DocumentStates(states[:, 2], counted[2]).refuse_not_finite(9)

    def test_finite_values_whose_sum_is_not_pass(self):
        DocumentStates(
            torch.full((2, 3, 4), 3e38), torch.ones(3, dtype=torch.bool)
        ).refuse_not_finite(0)

    def test_padding_may_be_anything(self, states, counted):
        states[3, 1, 13] = torch.nan
        DocumentStates(states[:, 1], counted[1]).refuse_not_finite(7)


def test_one_massive_token_makes_independent_states_look_alike():
    """Why `cosine` stands beside the published measure: 80 tokens, only one of them shared."""
    states = random_states(2, 1, 80, 576)
    shared = random_states(576, seed=1)
    states[:, 0, 0] = shared * 45 * states[0, 0, 1].norm() / shared.norm()
    one = documents(states, torch.ones(1, 80), (0,))
    assert measured("cosine_flat", one).matrix.loc[0, 1] == pytest.approx(0.96, abs=0.01)
    assert measured("cosine", one).matrix.loc[0, 1] == pytest.approx(0.01, abs=0.01)


@pytest.mark.parametrize("name", ALONG_DEPTH)
def test_a_curve_says_whether_it_is_over_states_or_layers(name, states, counted):
    found = measured(name, documents(states, counted))
    assert found.curve.index.name == found.axis
    assert len(found.curve) == {"state": 5, "layer": 4}[found.axis]
