"""Shapes that the package says are checked while it is tested."""

import inspect

import pytest
import torch
from shapes import shaped_names

from painters_interp.learning import transfer
from painters_interp.measures import documents


@pytest.fixture(autouse=True)
def checked(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--shapes-unchecked"):
        pytest.skip("shapes are left to the eye")


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(Exception, match="Type-check error"):
        documents.same_tokens(torch.ones(3), 0.1)
    with pytest.raises(Exception, match="Type-check error"):
        documents.cosines(torch.ones(2, 3, 4), torch.ones(2, 5, 4))
    with pytest.raises(Exception, match="Type-check error"):
        documents.DocumentStates(torch.ones(2, 3), torch.ones(3, dtype=torch.bool))


def test_so_is_one_that_goes_by_another_name() -> None:
    names = shaped_names([inspect.getsource(transfer), "Rows = tuple[States, int]"])
    assert {"Float", "States", "Hits", "Rows"} <= names
    assert not {"Tensor", "int", "tuple", "transfer"} & names


def test_what_says_none_is_left_as_it_is() -> None:
    assert not hasattr(documents.DocumentStates.refuse_not_finite, "__wrapped__")
    assert hasattr(documents.cosines, "__wrapped__")
