"""Sequences merged into one row: the same numbers, fewer tokens, and refused where it is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan
from painters_interp.execution import ROWS, head, laid_out, pack, packable, pad, walk
from painters_interp.execution.packing import TREES, grow
from painters_interp.notices import PaintersWarning

SEQUENCES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=8), min_size=1, max_size=8)
PLANS = [Plan.parse(text, tiny.N_LAYERS) for text in ("0-5", "0 3 2 5", "0 (1-4)*2 5", "1-5")]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def sequences() -> list[list[int]]:
    """Branches early and late, a sequence inside another, and one that shares nothing."""
    trunk, early, late, other = tiny.tokens(4, 30, seed=9).tolist()
    return [trunk, trunk[:4] + early[4:20], trunk[:25] + late[25:], other[:12], trunk[:17]]


class TestTree:
    @given(SEQUENCES)
    def test_has_a_node_for_every_distinct_beginning(self, sequences: list[list[int]]) -> None:
        tree = grow(sequences)
        beginnings = {tuple(s[:k]) for s in sequences for k in range(1, len(s) + 1)}
        assert len(tree.positions) == len(beginnings)
        nodes = {
            tuple(s[: t + 1]): path[t]
            for s, path in zip(sequences, tree.paths, strict=True)
            for t in range(len(s))
        }
        assert len(set(nodes.values())) == len(nodes)

    @given(SEQUENCES)
    def test_a_token_sees_its_own_past_and_nothing_else(self, sequences: list[list[int]]) -> None:
        tree = grow(sequences)
        for path in tree.paths:
            assert tree.positions[list(path)].tolist() == list(range(len(path)))
            for t, node in enumerate(path):
                assert set(tree.seen[node].nonzero().flatten().tolist()) == set(path[: t + 1])


class TestPacks:
    @given(SEQUENCES, st.integers(4, 40))
    @pytest.mark.parametrize("layout", [ROWS, TREES], ids=["rows", "trees"])
    def test_hold_every_sequence_once_and_fit(
        self, layout: object, sequences: list[list[int]], room: int
    ) -> None:
        packs = layout.packs(sequences, room)  # type: ignore[attr-defined]
        assert sorted(i for pack in packs for i in pack) == list(range(len(sequences)))
        for members in packs:
            size = layout.size([sequences[i] for i in members])  # type: ignore[attr-defined]
            longest = max(len(sequences[i]) for i in members)
            assert size <= room or len(members) == 1 or (layout is TREES and size <= 2 * longest)

    def test_a_sequence_that_shares_most_of_itself_joins_beyond_the_room(self) -> None:
        """Two items with examples before them, four choices each, and one that stands alone."""
        first, second = list(range(100)), list(range(500, 600))
        choices = [[*shots, n, n + 1] for shots in (first, second) for n in range(200, 208, 2)]
        packs = TREES.packs([*choices, list(range(900, 950))], room=40)
        assert [set(members) for members in packs] == [{0, 1, 2, 3}, {4, 5, 6, 7}, {8}]
        assert [len(members) for members in ROWS.packs(choices, room=40)] == [1] * 8

    def test_what_shares_a_long_beginning_is_not_packed_without_end(self) -> None:
        sequences = [list(range(100)) + [n] * 20 for n in range(200, 240)]
        packs = TREES.packs(sequences, room=40)
        sizes = [TREES.size([sequences[i] for i in members]) for members in packs]
        assert max(sizes) == 240
        assert sum(sizes) < 0.4 * sum(map(len, sequences))

    @given(SEQUENCES)
    def test_the_size_of_a_tree_is_its_nodes(self, sequences: list[list[int]]) -> None:
        [members] = TREES.packs(sequences, room=10**6)
        ordered = [sequences[i] for i in members]
        assert TREES.size(ordered) == len(grow(ordered).positions)


def logprobs(model: TransformerBridge, placed: object, plan: Plan) -> Tensor:
    rows, columns = torch.tensor([p for path in placed.places for p in path]).T  # type: ignore[attr-defined]
    [(_, stream)] = walk(model, [plan], placed.recording)  # type: ignore[attr-defined]
    with head(model) as logits_of:
        return logits_of(stream[rows, columns]).log_softmax(-1)


@pytest.mark.parametrize("family", tiny.DECODERS)
def test_packed_sequences_score_as_single_ones(
    family: str, tiny_folder: Path, sequences: list[list[int]]
) -> None:
    """Thirty tokens: far beyond the sliding window of 8 that some of these families have."""
    model = tiny.build(family, torch.float32, tiny_folder)
    assert packable(model, 30)
    packed, rows = pack(model, sequences), pad(model, sequences)
    assert packed.recording.stream.shape[1] < sum(map(len, sequences))
    for plan in PLANS:
        found, expected = logprobs(model, packed, plan), logprobs(model, rows, plan)
        assert found.isfinite().all()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_single_token_can_be_packed(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    found = logprobs(model, pack(model, [[7], [9]]), PLANS[0])
    expected = model(torch.tensor([[7], [9]]))[:, 0].log_softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_shares_nothing_lies_in_rows_which_attend_to_less(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    alone = [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert laid_out(model, alone, room=100) == (ROWS, [(0, 1)])
    assert laid_out(model, [*alone, [1, 2, 3, 9]], room=100) == (TREES, [(0, 2, 1)])
    long = [list(range(40)), [9] * 4]
    assert laid_out(model, long, room=100)[0] is TREES, "padding is computed, too"


def test_a_model_that_makes_its_own_masks_is_found_out(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    sequences = [[1, 2, 3], [1, 2, 4]]
    assert laid_out(model, sequences, room=8) == (TREES, [(0, 1)])

    other = tiny.build("llama", torch.float32, tiny_folder)
    inner = other.blocks[0].original_component
    inner.register_forward_pre_hook(own_mask, with_kwargs=True)
    assert not packable(other, 30)
    with pytest.warns(PaintersWarning, match="cannot score packed sequences"):
        assert laid_out(other, sequences, room=8) == (ROWS, [(0, 1)])
    assert laid_out(other, sequences, room=2)[1] == [(0,), (1,)], "one sequence is always right"


def own_mask(module: object, args: tuple[Tensor], kwargs: dict[str, Tensor]) -> object:
    """A plain causal mask whatever the layer was given, as some architectures build it inside."""
    mask = kwargs["attention_mask"]
    ahead = torch.ones(mask.shape[-2:]).triu(1).bool()
    return args, kwargs | {"attention_mask": mask * 0 + ahead * torch.finfo(mask.dtype).min}


own_mask.__module__ = "transformers"  # a part of the model, not a hook of a user
