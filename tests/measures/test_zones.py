"""Zones: contiguous groups of states from a matrix or a curve, with their stability."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from painters_interp.errors import MeasureError
from painters_interp.measures import Curve, Matrix
from painters_interp.measures.zones import Zones, zones, zones_along

TRUE = Zones(10, (2, 7))


def blocks(noise: float = 0.0, documents: int = 20, seed: int = 0) -> Matrix:
    """Three groups, alike inside (0.9) and unlike between (0.2)."""
    same = TRUE.labels[:, None] == TRUE.labels[None, :]
    clean = np.where(same, 0.9, 0.2)
    noisy = clean + noise * np.random.default_rng(seed).normal(size=(documents, 10, 10))
    return Matrix(noisy, tuple(range(documents)))


def test_finds_the_groups_of_a_block_matrix():
    found = zones(blocks())
    assert found.boundaries == (2, 7)
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]
    assert found.stability == 1


def test_a_data_frame_has_no_stability():
    found = zones(blocks().matrix)
    assert found.boundaries == (2, 7)
    assert np.isnan(found.stability)


def test_a_distance_says_so():
    matrix = 1 - blocks().matrix
    assert zones(matrix, distance=True).boundaries == (2, 7)


def test_noise_lowers_the_stability():
    little, much = zones(blocks(0.3)).stability, zones(blocks(8.0)).stability
    assert much < 0.8 < little


def test_a_curve_is_divided_where_it_jumps():
    values = np.array([5, 5.2, 0.4, 0.5, 0.3, 0.4, 2.0, 2.1])
    assert zones_along(pd.Series(values)).boundaries == (2, 6)
    each = values + 0.01 * np.random.default_rng(0).normal(size=(9, 8))
    assert zones_along(Curve(each, tuple(range(9)), "layer")).stability == 1


def test_zones_of_states_are_zones_of_the_layers_that_write_them():
    assert TRUE.of_layers.labels.tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 2]
    # The embedding output alone: no layer writes it.
    assert Zones(5, (1, 4)).of_layers == Zones(4, (3,))


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_agreement_is_symmetric_and_1_for_equal_zones(a, b):
    first, second = (Zones(10, tuple(sorted(chosen))) for chosen in (a, b))
    assert first.agreement(second) == pytest.approx(second.agreement(first))
    assert first.agreement(first) == 1


@given(st.integers(0, 1000), st.integers(2, 10))
def test_there_are_as_many_zones_as_asked_for(seed, groups):
    matrix = pd.DataFrame(np.random.default_rng(seed).random((10, 10)))
    found = zones(matrix, groups)
    assert sorted(set(found.labels)) == list(range(groups))
    assert (np.diff(found.labels) >= 0).all()


@pytest.mark.parametrize(
    ("matrix", "groups", "message"),
    [
        (np.ones((3, 4)), 2, "this one is 3 x 4"),
        (np.full((3, 3), np.nan), 2, "9 of its entries NaN"),
        (np.ones((3, 3)), 4, "groups=4; 3 states can be divided into 2 to 3"),
        (np.ones((3, 3)), 1, "groups=1"),
    ],
)
def test_what_cannot_be_divided_is_refused(matrix, groups, message):
    with pytest.raises(MeasureError, match=message):
        zones(pd.DataFrame(matrix), groups)


def test_zones_of_states_and_of_layers_do_not_compare():
    with pytest.raises(MeasureError, match="of_layers"):
        TRUE.agreement(TRUE.of_layers)
