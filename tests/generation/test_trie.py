"""The trie of prompts: what several of them begin with is read once; values, no model."""

from hypothesis import given, settings
from hypothesis import strategies as st

from painters_interp.generation.trie import levels

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8)


@given(PROMPTS, st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_the_trie_reads_every_prompt_to_its_end(texts: list[list[int]], worth: int) -> None:
    prompts = [*dict.fromkeys(map(tuple, texts))]
    found = levels(prompts, worth)
    assert [row.tokens for row in found[-1].rows] == prompts
    for number, level in enumerate(found):
        for row in level.rows:
            assert row.known < len(row.tokens) <= level.width
            assert level.past(row) <= row.known
            if row.parent is None:
                assert row.known == 0
                continue
            above, place = row.parent
            assert above < number
            parent = found[above].rows[place]
            assert row.tokens[: row.known] == parent.tokens


def test_worked_examples_are_read_once_and_each_item_behind_them() -> None:
    examples, halves = (*range(100),), ((1,) * 40, (2,) * 40)
    prompts = [(*examples, *half, 5, item) for half in halves for item in range(8)]
    found = levels(prompts)
    assert [(len(level.rows), level.width, level.new) for level in found] == [
        (1, 100, 100),
        (2, 141, 41),
        (16, 142, 1),
    ]


def test_a_short_common_beginning_is_not_worth_a_pass() -> None:
    [level] = levels([(1, 5, 6), (1, 7, 8)])
    assert (len(level.rows), level.width, level.new) == (2, 3, 3)


def test_a_prompt_that_is_the_beginning_of_another_reads_its_own_last_token() -> None:
    long = tuple(range(60))
    found = levels([long, long[:40]])
    assert [row.known for row in found[-1].rows] == [39, 39]


def test_prompts_nested_in_each_other_need_no_recursion() -> None:
    prompts = [(7,) * length for length in range(1, 600)]
    assert len(levels(prompts, worth=1)[-1].rows) == 599
