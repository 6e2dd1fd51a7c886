"""Rooms hold what transformers' own caches hold, written in place; rows are found in arguments."""

import pytest
import torch
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from painters_interp.errors import UnsupportedModelError
from painters_interp.execution.layer_arguments import Arguments
from painters_interp.generation.rooms import Room, average
from painters_interp.generation.selection import axes, selected


@pytest.mark.parametrize("window", [None, 4])
def test_a_room_shows_attention_what_a_cache_would(window: int | None) -> None:
    room = Room(12, window)
    own = DynamicLayer() if window is None else DynamicSlidingWindowLayer(window)
    storage = set()
    for new in (3, 1, 1, 1, 2, 1, 1):
        assert room.get_mask_sizes(new) == own.get_mask_sizes(new)
        keys, values = torch.randn(2, 3, new, 5), torch.randn(2, 3, new, 7)
        for mine, theirs in zip(room.update(keys, values), own.update(keys, values), strict=True):
            assert torch.equal(mine, theirs)
        assert room.get_seq_length() == own.get_seq_length()
        storage.add(room.keys.data_ptr())
    assert len(storage) == 1


def test_rows_that_stay_keep_their_keys() -> None:
    room = Room(4)
    keys = torch.randn(3, 2, 2, 5)
    room.update(keys, keys)
    room.keep(torch.tensor([0, 2]))
    assert torch.equal(room.keys[..., :2, :], keys[[0, 2]])


def test_members_of_a_group_share_their_mean() -> None:
    rooms = [Room(3), Room(3)]
    for number, room in enumerate(rooms):
        keys = torch.full((2, 1, 3, 1), float(number))
        room.update(keys, keys)
    average([(rooms[0], slice(0, 1)), (rooms[1], slice(1, 2))], 1, 3)
    assert rooms[0].keys.flatten().tolist() == [0, 0.5, 0.5, 0, 0, 0]
    assert rooms[1].values.flatten().tolist() == [1, 1, 1, 1, 0.5, 0.5]


def arguments(rows: int) -> Arguments:
    """Ids in front, heads folded into rows, rows in the second axis, and none at all."""
    count = torch.arange(rows)
    folded = (count[:, None] * 10 + torch.arange(3)).reshape(rows * 3, 1, 1)
    return Arguments((count[:, None],), {"alibi": folded, "t": (count[None], torch.zeros(1, 4))})


def test_rows_are_found_on_whatever_axis_they_are() -> None:
    where = axes(arguments(2), arguments(3))
    found = selected(arguments(5), where, torch.tensor([4, 1]))
    assert found.args[0].tolist() == [[4], [1]]
    assert found.kwargs["alibi"].flatten().tolist() == [40, 41, 42, 10, 11, 12]
    assert found.kwargs["t"][0].tolist() == [[4, 1]]
    assert found.kwargs["t"][1].shape == (1, 4)


def test_a_tensor_whose_rows_cannot_be_told_is_refused() -> None:
    odd = [Arguments((torch.zeros(rows, rows),), {}) for rows in (2, 3)]
    with pytest.raises(UnsupportedModelError, match=r"\(2, 2\) for two rows"):
        axes(*odd)
