"""The door for texts: any strings in an order of their own, each looked at where it comes in."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import zoo
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import capture, kl_to_intact, patching, similarity, token_logprobs
from painters_interp.errors import PatchError, TextError
from painters_interp.stitching import stitch
from painters_interp.texts import as_texts, in_order, in_pieces, pad_of

TEXTS = ["the cat sat", "on the mat today", "while it rained", "and nobody saw"]


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture
def wordy(tmp_path: Path) -> TransformerBridge:
    """A tokenizer that knows two words of which the model has no embeddings."""
    tiny.tokenizer(tmp_path).save_pretrained(tmp_path)
    known = tiny.tokenizer(tmp_path)
    known.add_tokens(["newtok1", "newtok2"])
    known.save_pretrained(tmp_path)
    return tiny.build("llama", torch.float32, tmp_path)


def column(texts: list[str]) -> "pd.Series[str]":
    """`texts` in this order, under labels of another one."""
    return pd.Series(texts, index=range(len(texts) - 1, -1, -1))


@pytest.mark.parametrize(
    "form", [list, tuple, iter, np.array, column, lambda texts: (t for t in texts)]
)
def test_texts_go_by_position_whatever_holds_them(form):
    assert as_texts(form(TEXTS)) == TEXTS


def test_one_string_is_a_list_of_one():
    assert as_texts("one text") == ["one text"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a b", None], "text 1 is missing"),
        (["a b", float("nan")], "text 1 is missing"),
        (pd.Series(["a b", pd.NA]), "text 1 is missing"),
        ([b"a b"], "text 0 is a bytes"),
        ([["a", "b"]], "text 0 is a list"),
        ([{"text": "a"}], "text 0 is a dict"),
        ([7], "text 0 is a int"),
        (b"a b", "texts are a bytes"),
        ({"a": 1}, "texts are a dict"),
        ({"a", "b"}, "texts are a set"),
        (pd.DataFrame({"text": ["a b"]}), "texts are a DataFrame"),
        (3, "texts are a int"),
        (["ok then", "half \ud800"], r"text 1 .* half a character at 5"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(texts, message):
    with pytest.raises(TextError, match=message):
        as_texts(texts)


@pytest.mark.parametrize("form", [iter, column])
def test_every_measurement_takes_them(llama, form):
    expected = similarity(llama, TEXTS, ["cosine"]).table()
    pd.testing.assert_frame_equal(similarity(llama, form(TEXTS), "cosine").table(), expected)
    assert [r for b in capture(llama, form(TEXTS), batch_size=3) for r in b.texts] == [0, 1, 2, 3]
    plans = ["0-2 5"]
    pd.testing.assert_frame_equal(
        kl_to_intact(llama, plans, form(TEXTS)), kl_to_intact(llama, plans, TEXTS)
    )
    pd.testing.assert_frame_equal(
        patching.effects(llama, form(TEXTS), plans), patching.effects(llama, TEXTS, plans)
    )
    longer = [text * 20 for text in TEXTS]
    options = {"states": [(2, 2)], "ridge": 1e-4, "baselines": ()}
    pd.testing.assert_frame_equal(
        stitch(llama, llama, form(longer), **options), stitch(llama, llama, longer, **options)
    )


@pytest.mark.parametrize("form", [iter, column])
def test_prompts_and_answers_too(llama, form):
    pairs = (["abc d", "efg h"], ["abd d", "efh h"])
    answers = ["x", "y"]
    expected = patching.patch_residual(llama, *pairs, "logprob", answers=answers)
    found = patching.patch_residual(llama, *map(form, pairs), "logprob", answers=form(answers))
    pd.testing.assert_frame_equal(found, expected)


def test_one_answer_for_several_prompts_is_not_read_letter_by_letter(llama):
    with pytest.raises(PatchError, match="one answer for 2 pairs"):
        patching.patch_residual(llama, ["ab", "cd"], ["ac", "cc"], "logprob", answers="xy")


def test_a_missing_prompt_is_named(llama):
    with pytest.raises(TextError, match=r"prompt 1 is a NoneType"):
        patching.patch_residual(llama, ["ab", None], ["ac", "cc"], "kl")


@pytest.mark.parametrize(
    "measured",
    [
        lambda m, texts: similarity(m, texts),
        lambda m, texts: [*capture(m, texts)],
        lambda m, texts: kl_to_intact(m, ["0-2 5"], texts),
        lambda m, texts: patching.effects(m, texts),
        lambda m, texts: stitch(m, m, texts),
    ],
    ids=["similarity", "capture", "kl", "effects", "stitch"],
)
def test_a_token_without_an_embedding_is_named_with_its_text(wordy, measured):
    message = r"text 1 .*: token 97 \('newtok2'\) at position 4 is none of the 96 tokens"
    with pytest.raises(TextError, match=message):
        measured(wordy, ["abc def", "abcnewtok2def"])


def test_and_so_in_prompts_answers_and_token_ids(wordy):
    unknown = r"token 96 \('newtok1'\)"
    for use in (
        lambda: patching.readout(wordy, "ab newtok1"),
        lambda: patching.readout(wordy, [1, 5, 96]),
        lambda: patching.readout(wordy, "abc", watch="newtok1"),
        lambda: patching.patchscope(wordy, "ab", 0, 1, [1, 96], 0, 1),
        lambda: patching.patch_residual(wordy, [1, 5, 6], [1, 5, 96], "kl"),
        lambda: token_logprobs(wordy, ["0-5"], torch.tensor([[1, 5, 96]])),
    ):
        with pytest.raises(TextError, match=unknown):
            use()


@pytest.mark.parametrize("ids", [[1, -100, 5], [1.5, 2.0, 3.0], [True, False, True]])
def test_numbers_that_are_no_ids_are_refused(llama, ids):
    with pytest.raises(TextError, match="token"):
        patching.readout(llama, ids)
    with pytest.raises(TextError, match="token"):
        token_logprobs(llama, ["0-5"], torch.tensor([ids]))


def test_token_ids_as_lists(llama):
    rows = [[1, 5, 6], [1, 7, 8]]
    expected = token_logprobs(llama, ["0-5"], torch.tensor(rows))
    assert torch.equal(token_logprobs(llama, ["0-5"], rows), expected)


class TestPadding:
    def test_a_model_pads_with_its_own_pad_token(self, tmp_path):
        """RoBERTa counts positions by the tokens that are not it."""
        model = self._roberta(tmp_path, pad_token_id=5)
        pieces, _ = in_pieces(model, ["abcdef", "ab"])
        [batch] = in_order(pieces, 2, torch.device("cpu"), pad_of(model))
        assert batch.tokens[1, 3:].eq(5).all()
        ragged = next(iter(capture(model, ["abcdef", "ab"])))
        alone = next(iter(capture(model, ["ab"])))
        torch.testing.assert_close(
            ragged.states[:, 1, :3], alone.states[:, 0], atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize("pad", [None, 96, -1])
    def test_a_pad_token_outside_the_vocabulary_is_not_used(self, llama, monkeypatch, pad):
        monkeypatch.setattr(llama.original_model.config, "pad_token_id", pad)
        assert pad_of(llama) == 0

    def _roberta(self, folder: Path, **changes: int) -> TransformerBridge:
        model = zoo.stock("RoBERTa", torch.float32, **changes)
        return TransformerBridge.boot_transformers(
            "roberta", hf_model=model, tokenizer=tiny.tokenizer(folder), dtype=torch.float32,
            device="cpu",
        )  # fmt: skip
