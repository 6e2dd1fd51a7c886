"""Attention over beginnings that several rows know equals attention over keys of their own."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from painters_interp.errors import UnsupportedModelError
from painters_interp.execution.fused import FUSED
from painters_interp.generation.cascade import Cascade, laid_out
from painters_interp.generation.rooms import Room
from painters_interp.generation.trie import levels

HEADS, QUERIES, WIDTH, NEW = 2, 6, 8, 3
# Four share much, two of these more; one is alone, one short.
PROMPTS = [
    (*range(40), 90), (*range(40), 91, 92), (*range(20), 43, 44), (*range(20), 45),
    (*range(50, 75),), (7, 8),
]  # fmt: skip
READS = levels(PROMPTS)
# Rows (plan, prompt) of an entry: under the first two plans beginnings are the same.
BEGINNINGS = (0, 0, 1)


class Texts:
    """Keys and values of every prompt under every beginning, as a layer would have made them."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(0)
        self.dtype = dtype
        self.width = READS[-1].width
        self.known: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self.own = torch.randn(2, self.rows, HEADS, NEW, WIDTH, dtype=dtype)
        self.query = torch.randn(self.rows, QUERIES, 1, WIDTH, dtype=dtype)

    @property
    def rows(self) -> int:
        return len(BEGINNINGS) * len(PROMPTS)

    def of(self, beginning: int, tokens: Sequence[int]) -> Tensor:
        """(2, head, token, width); a token's depend on all before it, as in a model."""
        found = []
        for end in range(1, len(tokens) + 1):
            key = beginning, tuple(tokens[:end])
            if key not in self.known:
                self.known[key] = torch.randn(2, HEADS, WIDTH, dtype=self.dtype)
            found.append(self.known[key])
        return torch.stack(found, dim=2)

    def rooms(self, beginning: int) -> list[Room]:
        """What is left on each level when the prompts have been read."""
        found = []
        for level in READS:
            held = torch.randn(2, len(level.rows), HEADS, level.width, WIDTH, dtype=self.dtype)
            for place, row in enumerate(level.rows):
                held[:, place, :, level.width - len(row.tokens) :] = self.of(beginning, row.tokens)
            room = Room(level.width)
            room.update(*held)
            found.append(room)
        return found

    def cascade(self) -> Cascade:
        cascade = Cascade(laid_out(READS, NEW, torch.device("cpu")), NEW)
        for beginning in dict.fromkeys(BEGINNINGS):
            spans = [
                slice(plan * len(PROMPTS), (plan + 1) * len(PROMPTS))
                for plan, own in enumerate(BEGINNINGS)
                if own == beginning
            ]
            cascade.fill(spans, self.rows, self.rooms(beginning))
        cascade.settle()
        return cascade

    def alone(self, mask: Tensor | None, new: int) -> Tensor:
        """Attention of each row over keys and values of its own, pads left out."""
        held = torch.zeros(2, self.rows, HEADS, self.width + new, WIDTH, dtype=self.dtype)
        real = torch.zeros(self.rows, 1, 1, self.width + new, dtype=torch.bool)
        for row in range(self.rows):
            plan, prompt = divmod(row, len(PROMPTS))
            begin = self.width - len(PROMPTS[prompt])
            told = self.of(BEGINNINGS[plan], PROMPTS[prompt])
            held[:, row, :, begin : self.width] = told
            real[row, ..., begin:] = True
        held[..., self.width :, :] = self.own[..., :new, :]
        bias = torch.zeros(real.shape, dtype=self.dtype).masked_fill(~real, -torch.inf)
        if mask is not None:
            bias = bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask
        keys, values = held.repeat_interleave(QUERIES // HEADS, dim=2)
        bias = bias.expand(-1, QUERIES, -1, -1)
        return scaled_dot_product_attention(self.query, keys, values, bias).transpose(1, 2)


def attended(
    cascade: Cascade, texts: Texts, mask: Tensor | None, new: int, rows: Sequence[int] | None = None
) -> Tensor:
    """What a layer's attention gives for the last of so many new tokens."""
    some = list(range(texts.rows)) if rows is None else list(rows)
    attention = ALL_ATTENTION_FUNCTIONS[FUSED]
    with cascade.attending():
        keys, values = cascade.update(*texts.own[:, some][..., new - 1 : new, :])
        found: Tensor = attention(torch.nn.Module(), texts.query[some], keys, values, mask)[0]
    return found


def masks(width: int) -> dict[str, Tensor | None]:
    torch.manual_seed(1)
    rows = len(BEGINNINGS) * len(PROMPTS)
    hidden = torch.rand(rows, 1, 1, width) < 0.2
    hidden[..., -1] = False
    heads = torch.randn(rows, QUERIES, 1, width, dtype=torch.float64)
    return {
        "none": None, "truth": ~hidden, "one row": ~hidden[:1], "bias": heads[:, :1],
        "bias of heads": heads,
    }  # fmt: skip


def test_prompts_are_read_on_three_levels() -> None:
    assert [len(level.rows) for level in READS] == [1, 1, 6]


@pytest.mark.parametrize("kind", masks(1))
def test_it_is_attention_over_keys_of_each_row(kind: str) -> None:
    texts = Texts()
    cascade = texts.cascade()
    for new in range(1, NEW + 1):
        assert cascade.get_mask_sizes(1) == (texts.width + new, 0)
        mask = masks(texts.width + new)[kind]
        found = attended(cascade, texts, mask, new)
        torch.testing.assert_close(found, texts.alone(mask, new), rtol=0, atol=1e-12)
        assert cascade.get_seq_length() == texts.width + new


@pytest.mark.parametrize("left", [[0, 2, 3, 8, 13, 17], [5], [*range(6, 18)]])
def test_rows_that_leave_change_nothing_for_the_others(left: list[int]) -> None:
    texts = Texts()
    cascade = texts.cascade()
    attended(cascade, texts, None, 1)
    cascade.keep(torch.tensor(left))
    found = attended(cascade, texts, None, 2, left)
    torch.testing.assert_close(found, texts.alone(None, 2)[left], rtol=0, atol=1e-12)


def test_what_plans_and_prompts_share_is_held_once() -> None:
    texts = Texts()
    held = sum(cells.keys[..., 0].numel() for cells in texts.cascade()._cells) // HEADS
    assert held == len({*BEGINNINGS}) * sum(len(level.rows) * level.new for level in READS)
    assert held < 0.6 * texts.rows * texts.width


def test_what_is_not_a_number_reaches_those_that_see_it() -> None:
    texts = Texts()
    texts.of(0, PROMPTS[0])
    texts.known[0, PROMPTS[0][:25]][:] = torch.nan  # prompts 0 and 1 go through it, 2 and 3 do not
    found = attended(texts.cascade(), texts, None, 1).isnan().flatten(1)
    assert found.all(dim=1).nonzero().flatten().tolist() == [0, 1, 6, 7]
    assert torch.equal(found.any(dim=1), found.all(dim=1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_are_taken_in_float32(dtype: torch.dtype) -> None:
    texts = Texts(dtype)
    found = attended(texts.cascade(), texts, None, 1)
    assert found.dtype == dtype
    torch.testing.assert_close(found, texts.alone(None, 1), rtol=0, atol=3e-2)


def test_a_layer_that_computes_attention_by_itself_is_refused() -> None:
    cascade = Texts().cascade()
    with pytest.raises(UnsupportedModelError, match="by itself"), cascade.attending():
        pass


def test_several_tokens_of_a_row_are_refused() -> None:
    texts = Texts()
    cascade, attention = texts.cascade(), ALL_ATTENTION_FUNCTIONS[FUSED]
    with pytest.raises(UnsupportedModelError, match="one token a row"), cascade.attending():
        attention(torch.nn.Module(), texts.query.repeat(1, 1, 2, 1), *texts.own, None)
