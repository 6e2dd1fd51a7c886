"""Where a measure has no value: NaN, left out of the means, counted, and never a number."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor

from painters_interp.measures import (
    ALONG_DEPTH,
    BETWEEN_STATES,
    MEASURES,
    Curve,
    DocumentPair,
    DocumentStates,
    Massive,
    Matrix,
    Pooled,
    Result,
    draw_sample,
)
from painters_interp.measures.zones import zones, zones_along

# Between tokens: alike tokens leave nothing to compare.
OF_TOKENS = ("cka", "rsa", "knn", "procrustes", "cosine_centered")
OF_DIRECTIONS = ("cosine", "angular", "cosine_flat")


def pair(states: Tensor, text: int = 0) -> DocumentPair:
    document = DocumentStates(states, torch.ones(states.shape[1], dtype=torch.bool))
    return DocumentPair(document, document, text, draw_sample(states.shape[1], text, 12, 0))


def measured(name: str, *documents: Tensor) -> Result:
    recipe = MEASURES[name]
    accumulator = recipe.accumulator()
    for text, states in enumerate(documents):
        accumulator.update(pair(states, text))
    return recipe.result(accumulator)


def random_states(seed: int = 0, tokens: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, tokens, 6, generator=generator).cumsum(0).to(dtype)


def alike(state: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A document whose tokens are all alike in one state, up to rounding."""
    states = random_states(seed)
    generator = torch.Generator().manual_seed(seed)
    states = states.to(dtype)
    noise = 1 + torch.finfo(dtype).eps / 4 * torch.randn(states[state].shape, generator=generator)
    states[state] = states[state, :1] * noise.to(dtype)
    return states


def zeroed(state: int, tokens: slice = slice(None), seed: int = 0) -> Tensor:
    states = random_states(seed)
    states[state, tokens] = 0
    return states


@pytest.mark.parametrize("name", OF_TOKENS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_tokens_all_alike_in_a_state_leave_its_row_and_column_undefined(name, dtype):
    found = measured(name, alike(1, dtype=dtype)).matrix
    assert found.loc[1].isna().all()
    assert found[1].isna().all()
    rest = found.drop(index=1, columns=1)
    assert rest.notna().all(axis=None)
    assert_allclose(np.diag(rest), 1, atol=1e-5)


@pytest.mark.parametrize("name", OF_TOKENS)
def test_such_a_document_is_left_out_there_and_counts_elsewhere(name):
    both = measured(name, random_states(1), alike(1), random_states(2))
    without = measured(name, random_states(1), random_states(2))
    assert_allclose(both.matrix.loc[1], without.matrix.loc[1], atol=1e-6)
    assert both.defined[1].tolist() == [2] * 4
    assert both.defined[0].tolist() == [3, 2, 3, 3]


def test_cka_of_a_part_of_the_documents_is_a_ratio_over_the_same_documents():
    a, b, c = random_states(1), alike(1), random_states(2)
    found = measured("cka", a, b, c).matrix.to_numpy()
    assert_allclose(np.diag(found), 1, atol=1e-6)
    assert_allclose(found[1], measured("cka", a, c).matrix.to_numpy()[1], atol=1e-6)


@pytest.mark.parametrize("name", OF_DIRECTIONS)
def test_a_state_of_zeros_has_no_direction(name):
    found = measured(name, zeroed(2)).matrix
    assert found.loc[2].isna().all()
    assert found[2].isna().all()
    assert found.drop(index=2, columns=2).notna().all(axis=None)


@pytest.mark.parametrize("name", ["cosine", "angular"])
def test_a_zero_token_is_left_out_of_its_documents_mean(name):
    some = measured(name, zeroed(2, slice(0, 5))).matrix
    rest = measured(name, random_states()[:, 5:]).matrix
    assert_allclose(some.loc[2], rest.loc[2], atol=1e-6)
    assert_allclose(some.loc[0, 1], measured(name, random_states()).matrix.loc[0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "places"),
    [("block_influence", [1, 2]), ("update_ratio", [2]), ("update_cosine", [2])],
)
def test_curves_over_a_state_of_zeros(name, places):
    found = measured(name, zeroed(2)).curve
    assert found.index[found.isna()].tolist() == places
    assert np.isfinite(found.drop(places)).all()


def test_a_layer_that_adds_nothing_has_an_update_of_no_direction_and_length_0():
    states = random_states()
    states[2] = states[1]
    assert measured("update_cosine", states).curve.isna().tolist() == [False, True, False]
    assert measured("update_ratio", states).curve.loc[1] == 0
    assert measured("block_influence", states).curve.loc[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("state", [0, 1, 3])
def test_pooled_measures_of_alike_tokens(state):
    documents = [alike(state, seed=0)] * 3
    rank = measured("effective_rank", *documents).curve
    assert rank.index[rank.isna()].tolist() == [state]
    share = measured("linearity", *documents).curve
    assert share.index[share.isna()].tolist() == sorted({state - 1, state} & {0, 1, 2})


def test_variance_and_norm_of_alike_tokens_are_numbers():
    states = random_states()
    states[1] = 0
    assert measured("variance", states).curve.loc[1] == 0
    assert measured("residual_norm", states).curve.loc[1] == 0


@pytest.mark.parametrize("name", sorted(MEASURES))
@given(seed=st.integers(0, 10_000), state=st.integers(0, 3), data=st.data())
def test_never_infinite_and_never_out_of_range(name, seed, state, data):
    kind = data.draw(st.sampled_from([alike, zeroed]))
    documents = [kind(state, seed=seed), random_states(seed + 1)]
    result = measured(name, *documents[: data.draw(st.integers(1, 2))])
    if isinstance(result, Matrix):
        values = result.matrix.to_numpy()
        assert (np.diag(values)[np.isfinite(np.diag(values))] == 0).all() or name != "angular"
    else:
        values = result.curve.to_numpy()
    assert not np.isinf(values).any()
    if name in BETWEEN_STATES and name != "cka":
        assert (np.abs(values[np.isfinite(values)]) <= 1 + 1e-6).all()


def test_intervals_know_how_many_documents_there_are():
    documents = [random_states(1), alike(1), *map(random_states, (2, 4, 5)), alike(1, seed=3)]
    found = measured("rsa", *documents)
    low, high = found.interval(resamples=50)
    assert low.loc[1, 0] <= found.matrix.loc[1, 0] <= high.loc[1, 0]
    assert low.notna().all(axis=None)
    alone = measured("rsa", *documents[2:]).interval(resamples=50)
    assert alone.low.loc[1].isna().all()
    assert alone.low.loc[0, 2] <= alone.high.loc[0, 2]


class TestNearestNeighbours:
    def test_tokens_that_tie_for_the_last_place_share_it(self):
        """Whatever their order, and a state always agrees with itself."""
        states = random_states()
        states[:, 6:] = states[:, :1]  # seven equal tokens
        found = measured("knn", states).matrix
        turned = measured("knn", states.flip(1)).matrix
        assert_allclose(found, turned, atol=1e-12)
        assert_allclose(np.diag(found), 1)


class TestMassive:
    def test_a_document_of_zero_embeddings_has_none(self):
        states = zeroed(0, slice(1, None))
        states[0, 0] = 5  # the one token that is not zero
        mask = torch.ones(12, dtype=torch.long)
        assert not Massive().update(states, mask, mask, 0).any()


class TestZones:
    def test_samples_without_a_value_say_nothing(self):
        per_document = np.stack([np.eye(5)] * 4 + [np.full((5, 5), np.nan)])
        found = zones(Matrix(per_document, (0, 1, 2, 3, 4)), resamples=40)
        assert 0 <= found.stability <= 1
        curve = np.stack([np.array([0.0, 1, 3, 7, 12])] * 4 + [np.full(5, np.nan)])
        assert zones_along(Curve(curve, (0, 1, 2, 3, 4), "layer"), resamples=40).stability == 1


def test_every_measure_is_spoken_of_here():
    assert {*OF_TOKENS, *OF_DIRECTIONS} == {*BETWEEN_STATES}
    assert isinstance(measured("linearity", random_states()), Pooled)
    assert {*ALONG_DEPTH} == {
        "block_influence", "residual_norm", "update_ratio", "update_cosine", "variance",
        "effective_rank", "linearity",
    }  # fmt: skip
