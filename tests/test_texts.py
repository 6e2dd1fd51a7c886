"""From texts to padded batches: nothing lost, nothing doubled, padding on the right."""

from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from painters_interp.errors import TextError
from painters_interp.texts import Batch, by_length, in_order, padded, tokenize

CPU = torch.device("cpu")
ids = st.integers(1, 50)  # 0 is what padding holds
sequence_lists = st.lists(st.lists(ids, min_size=1, max_size=40), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path):
    return tiny.tokenizer(tiny_folder)


def rows(batch: Batch) -> list[list[int]]:
    """The real tokens of every row."""
    return [t[m.bool()].tolist() for t, m in zip(batch.tokens, batch.mask, strict=True)]


class TestTokenize:
    def test_ids_are_the_tokenizers_own_special_tokens_included(self, tokenizer):
        pieces, owners = tokenize(["hello", "you"], tokenizer, context=100)
        assert pieces == [tokenizer.encode("hello"), tokenizer.encode("you")]
        assert pieces[0][0] == tokenizer.bos_token_id
        assert owners == [0, 1]

    def test_a_text_longer_than_the_context_is_cut_into_pieces(self, tokenizer):
        pieces, owners = tokenize(["abc", "abcdefghi"], tokenizer, context=4)
        assert list(map(len, pieces)) == [4, 4, 4, 2]
        assert owners == [0, 1, 1, 1]
        assert [*pieces[1], *pieces[2], *pieces[3]] == tokenizer.encode("abcdefghi")

    def test_a_last_piece_of_one_token_stays_out(self, tokenizer):
        pieces, owners = tokenize(["abcdefgh"], tokenizer, context=4)
        assert [tokenizer.decode(piece) for piece in pieces] == ["<s>abc", "defg"]
        assert owners == [0, 0]

    def test_says_so_once_and_keeps_the_tokenizer_quiet(self, tiny_folder, caplog):
        short = tiny.tokenizer(tiny_folder)
        short.model_max_length = 4
        with pytest.warns(
            UserWarning, match="2 of 3 texts are longer than the context of 4"
        ) as said:
            tokenize(["abcdefghi", "abcdefgh", "ab"], short, context=4)
        assert len(said) == 1
        assert not caplog.records

    @pytest.mark.parametrize("texts", [[], (), iter([])])
    def test_needs_a_text(self, tokenizer, texts):
        with pytest.raises(TextError, match="texts must be a list of at least one string"):
            tokenize(texts, tokenizer, context=10)

    def test_one_string_is_a_list_of_one(self, tokenizer):
        assert tokenize("hello", tokenizer, 100) == tokenize(["hello"], tokenizer, 100)

    def test_a_text_too_short_to_read_is_named(self, tokenizer):
        message = r"text 1 \(''\) has 1 token\(s\); two or more are needed"
        with pytest.raises(TextError, match=message):
            tokenize(["good", ""], tokenizer, context=10)


class TestBatches:
    def test_padding_is_on_the_right_and_the_mask_hides_it(self):
        batch = padded([[5, 6, 7], [8], [9, 9]], [2, 0], CPU)
        assert batch.tokens.tolist() == [[9, 9, 0], [5, 6, 7]]
        assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1]]
        assert batch.indices == (2, 0)

    @given(sequence_lists, st.integers(1, 9))
    def test_in_order_keeps_the_order(self, sequences, batch_size):
        batches = list(in_order(sequences, batch_size, CPU))
        assert [row for batch in batches for row in rows(batch)] == sequences
        assert [i for batch in batches for i in batch.indices] == list(range(len(sequences)))
        assert {len(batch.indices) for batch in batches[:-1]} <= {batch_size}

    @given(sequence_lists, st.integers(1, 120))
    def test_by_length_keeps_every_sequence_exactly_once(self, sequences, max_tokens):
        batches = list(by_length(sequences, max_tokens, CPU))
        found = {i: row for b in batches for i, row in zip(b.indices, rows(b), strict=True)}
        assert sum(len(batch.indices) for batch in batches) == len(sequences)
        assert [found[i] for i in range(len(sequences))] == sequences

    @given(sequence_lists, st.integers(1, 120))
    def test_by_length_exceeds_max_tokens_only_for_a_single_sequence(self, sequences, max_tokens):
        for batch in by_length(sequences, max_tokens, CPU):
            assert batch.tokens.numel() <= max_tokens or len(batch.indices) == 1

    @given(sequence_lists)
    def test_by_length_goes_from_long_to_short(self, sequences):
        widths = [batch.tokens.shape[1] for batch in by_length(sequences, 50, CPU)]
        assert widths == sorted(widths, reverse=True)
