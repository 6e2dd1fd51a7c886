"""`similarity`: what it compares, what it leaves out, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from numpy.testing import assert_allclose
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, capture, progress, similarity
from painters_interp.comparison import SHUFFLED, WITHOUT, calls_needed
from painters_interp.errors import MeasureError, PaintersError, TextError
from painters_interp.measures import ALONG_DEPTH, BETWEEN_STATES, MEASURES, Curve, Matrix, Pooled
from painters_interp.models import random_weights

N = tiny.N_LAYERS
TEXTS = ["the quick brown fox", "jumps", "over the lazy dog and runs away"]


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def llama64(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


def per_token_cosine(rows: Tensor, columns: Tensor | None = None) -> np.ndarray:
    """The mean over tokens of the cosine between every two states, of one document."""
    others = rows if columns is None else columns
    each = [cosine_similarity(rows[:, t], others[:, t]) for t in range(rows.shape[1])]
    return np.mean(each, axis=0)


def values(result: Matrix | Curve | Pooled) -> np.ndarray:
    return (result.matrix if isinstance(result, Matrix) else result.curve).to_numpy()


def cosine_token_by_token(states: Tensor, mask: Tensor) -> np.ndarray:
    """The definition: per row, the mean over its tokens of the cosine between every two states."""
    rows = []
    for row in range(states.shape[1]):
        tokens = [t for t in range(states.shape[2]) if mask[row, t]]
        rows.append(np.mean([cosine_similarity(states[:, row, t]) for t in tokens], axis=0))
    return np.stack(rows)


class TestSimilarity:
    def test_compares_every_state_token_by_token(self, llama):
        (batch,) = capture(llama, TEXTS)
        counted = batch.mask.clone()
        counted[:, 0] = 0
        found = similarity(llama, TEXTS, ["cosine"])["cosine"]
        assert_allclose(found.per_document, cosine_token_by_token(batch.states, counted), atol=1e-6)
        assert found.matrix.shape == (N + 1, N + 1)
        assert list(found.matrix.index) == list(range(N + 1))

    def test_flat_as_published_counts_padding_and_the_first_token(self, llama):
        (batch,) = capture(llama, TEXTS)
        expected = [cosine_similarity(batch.states[:, row].flatten(1)) for row in range(3)]
        for skip_first in (True, False):
            found = similarity(llama, TEXTS, ["cosine_flat"], skip_first=skip_first)
            assert_allclose(found["cosine_flat"].per_document, expected, atol=1e-6)

    def test_the_first_token_counts_only_on_request(self, llama):
        (batch,) = capture(llama, TEXTS)
        found = similarity(llama, TEXTS, ["cosine"], skip_first=False)["cosine"]
        expected = cosine_token_by_token(batch.states, batch.mask)
        assert_allclose(found.per_document, expected, atol=1e-6)

    def test_every_piece_of_a_long_text_has_a_first_token(self, llama):
        long = "abc" * 150  # 451 tokens: pieces of 256 and 195, in one batch
        (batch,) = capture(llama, [long])
        counted = batch.mask.clone()
        counted[:, 0] = 0
        a, b = cosine_token_by_token(batch.states, counted)
        expected = (255 * a + 194 * b) / 449
        found = similarity(llama, [long], ["cosine"])["cosine"]
        assert_allclose(found.per_document, [expected], atol=1e-6)

    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_batch_size_does_not_change_the_cosine(self, llama64, batch_size):
        texts = [*TEXTS, "abc" * 150]
        a = similarity(llama64, texts, ["cosine"])["cosine"].per_document
        b = similarity(llama64, texts, ["cosine"], batch_size=batch_size)["cosine"].per_document
        assert np.isfinite(a).all()
        # Eager attention takes its softmax in float32 here, whose sums depend on the width.
        assert_allclose(a, b, atol=1e-6, rtol=0)

    def test_batch_size_does_not_change_the_cosine_of_an_exact_model(self, tiny_folder):
        gpt2 = tiny.build("gpt2", torch.float64, tiny_folder)
        a, b = (similarity(gpt2, TEXTS, ["cosine"], batch_size=n)["cosine"] for n in (1, 3))
        assert_allclose(a.per_document, b.per_document, atol=1e-12, rtol=0)

    def test_under_a_plan_states_are_steps(self, llama):
        plan = Plan.parse("0 (1-3)*2 5", N)
        found = similarity(llama, TEXTS, ["cosine"], plan)["cosine"]
        (batch,) = capture(llama, TEXTS, plan)
        counted = batch.mask.clone()
        counted[:, 0] = 0
        assert found.matrix.shape == (5, 5)
        expected = cosine_token_by_token(batch.states, counted)
        assert_allclose(found.per_document, expected, atol=1e-6)

    def test_one_pass_serves_all_measures(self, llama):
        together = similarity(llama, TEXTS, list(MEASURES))
        assert list(together) == list(MEASURES)
        for name in MEASURES:
            alone = similarity(llama, TEXTS, [name])[name]
            assert_allclose(values(together[name]), values(alone), atol=1e-12)

    def test_encoders_are_compared_too(self, tiny_folder):
        bert = tiny.build("bert", torch.float32, tiny_folder)
        matrix = similarity(bert, TEXTS)["cosine"].matrix
        assert_allclose(np.diag(matrix), 1, atol=1e-6)


class TestCentring:
    @pytest.fixture
    def streams(self, llama64) -> list[Tensor]:
        """Each text's states without its first token, (state, token, d_model)."""
        return [b.states[:, 0, 1:] for b in capture(llama64, TEXTS, batch_size=1)]

    def test_the_mean_is_that_of_all_tokens_of_the_texts(self, llama64, streams):
        mean = torch.cat(streams, dim=1).mean(1, keepdim=True)
        expected = [per_token_cosine(block - mean) for block in streams]
        found = similarity(llama64, TEXTS, ["cosine_centered"])["cosine_centered"]
        assert_allclose(found.per_document, expected, atol=1e-6)

    def test_or_that_of_each_document(self, llama64, streams):
        expected = [per_token_cosine(block - block.mean(1, keepdim=True)) for block in streams]
        found = similarity(llama64, TEXTS, ["cosine_centered"], center="document")
        assert_allclose(found["cosine_centered"].per_document, expected, atol=1e-6)

    def test_the_first_pass_is_over_a_sample_of_many_texts(self, llama, monkeypatch):
        monkeypatch.setattr("painters_interp.comparison.passes._FIRST_TEXTS", 2)
        some, other = (similarity(llama, TEXTS, ["cosine_centered"], seed=s) for s in (0, 1))
        again = similarity(llama, TEXTS, ["cosine_centered"], seed=0)
        name = "cosine_centered"
        assert not np.allclose(some[name].matrix, other[name].matrix, atol=1e-4)
        assert np.array_equal(some[name].matrix, again[name].matrix)


class TestMassiveActivations:
    @pytest.fixture
    def spiked(self, tiny_folder: Path) -> TransformerBridge:
        """A model in which layer 3 reads, at every q, a huge value in dimension 9."""
        model = tiny.build("llama", torch.float32, tiny_folder)
        letter = model.tokenizer("q")["input_ids"][-1]

        def spike(_: object, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            output = output.clone()
            output[..., 9] += 5e4 * (self.tokens == letter)
            return output

        def note(_: object, args: tuple[Tensor, ...]) -> None:
            self.tokens = args[0]

        model.original_model.get_input_embeddings().register_forward_pre_hook(note)
        model.blocks[2].register_forward_hook(spike)  # after its own hook points
        return model

    def test_are_reported_by_dimension_and_token(self, spiked):
        table = similarity(spiked, TEXTS, ["cosine"]).massive
        assert set(table["state"]) == set(range(4, N + 1))
        assert set(table["dimension"]) == {9}
        assert set(table["text"]) == {0}
        assert set(table["position"]) == {TEXTS[0].index("q") + 1}
        assert set(table["model"]) == {"tiny-llama"}

    def test_both_gives_the_measures_with_and_without_them(self, spiked):
        found = similarity(spiked, TEXTS, ["cosine", "residual_norm"], massive="both")
        assert [*found] == ["cosine", "residual_norm", *(n + WITHOUT for n in list(found)[:2])]
        dropped = similarity(spiked, TEXTS, ["cosine", "residual_norm"], massive="drop")
        kept = similarity(spiked, TEXTS, ["cosine", "residual_norm"])
        for name in kept:
            assert np.array_equal(values(found[name]), values(kept[name]))
            assert np.array_equal(values(found[name + WITHOUT]), values(dropped[name]))
        assert kept["residual_norm"].curve[4] > 100 * dropped["residual_norm"].curve[4]

    def test_a_model_without_any_is_measured_alike(self, llama):
        found = similarity(llama, TEXTS, ["cosine", "cka"], massive="both")
        assert found.massive.empty
        assert np.array_equal(found["cosine"].matrix, found["cosine" + WITHOUT].matrix)


class TestTwoModels:
    def test_another_model_stands_in_the_columns(self, llama, tiny_folder):
        gpt2 = tiny.build("gpt2", torch.float32, tiny_folder)
        found = similarity(llama, TEXTS, list(BETWEEN_STATES), other=gpt2)
        a, b = (
            [x.states[:, 0, 1:] for x in capture(m, TEXTS, batch_size=1)] for m in (llama, gpt2)
        )
        expected = [per_token_cosine(x, y) for x, y in zip(a, b, strict=True)]
        assert_allclose(found["cosine"].per_document, expected, atol=1e-6)
        assert set(found.massive["model"]) <= {"tiny-llama", "tiny-gpt2"}

    def test_a_model_with_itself_is_its_own_matrix(self, llama):
        alone = similarity(llama, TEXTS, list(BETWEEN_STATES))
        found = similarity(llama, TEXTS, list(BETWEEN_STATES), other=llama)
        for name in BETWEEN_STATES:
            assert_allclose(found[name].matrix, alone[name].matrix, atol=1e-3)

    def test_number_formats_meet_in_float32(self, llama, llama64, tiny_folder):
        names, texts = list(BETWEEN_STATES), TEXTS[::2]
        alone = similarity(llama, texts, names)
        half = tiny.shared("llama", torch.bfloat16, tiny_folder)
        for a, b, apart in (
            (llama64, llama, 1e-4),
            (llama, llama64, 1e-4),
            (half, llama64, 0.05),
            (llama64, half, 0.05),
        ):
            found = similarity(a, texts, names, other=b, massive="both")
            for name in names:
                assert_allclose(found[name].matrix, alone[name].matrix, atol=apart)

    def test_a_plan_is_compared_with_the_intact_model(self, llama):
        plan = Plan.parse("0-2 4 5", N)
        found = similarity(llama, TEXTS, ["cosine"], plan, other=llama)["cosine"].matrix
        assert found.shape == (6, 7)
        assert_allclose(np.diag(found)[:4], 1, atol=1e-6)
        assert found.loc[4, 5] < 1 - 1e-4

    def test_documents_are_matched_where_tokenizers_differ(
        self, llama, tiny_folder, other_tokenizer
    ):
        texts = [f"{a} {b} and {a}" for a in TEXTS for b in ("one", "seven", "what is it")]
        found = similarity(llama, texts, ["cka", "cosine", "rsa"], other=other_tokenizer)
        means = [
            torch.stack([b.states[:, 0, 1:].mean(1) for b in capture(m, texts, batch_size=1)], 1)
            for m in (llama, other_tokenizer)
        ]
        assert_allclose(found["cosine"].per_document, [per_token_cosine(*means)], atol=1e-5)
        assert found["rsa"].interval().low.isna().all(axis=None)

    def test_curves_need_the_same_tokens(self, llama, other_tokenizer):
        message = (
            "block_influence is measured token by token; the tokenizers of these models differ"
        )
        with pytest.raises(MeasureError, match=message):
            similarity(llama, TEXTS, ["block_influence"], other=other_tokenizer)

    def test_other_is_a_model_or_a_null(self, llama):
        with pytest.raises(
            MeasureError, match="other='gpt2' is neither 'shuffled tokens' nor a model"
        ):
            similarity(llama, TEXTS, other="gpt2")

    @pytest.fixture
    def other_tokenizer(self, tiny_folder: Path, tmp_path: Path) -> TransformerBridge:
        """The same model behind a tokenizer that drops an article."""
        model = tiny.build("llama", torch.float32, tiny_folder)
        own = model.tokenizer

        class Shorter:
            model_max_length = own.model_max_length
            padding_side = own.padding_side
            pad_token_id = own.pad_token_id

            def __call__(self, text: str, **kwargs: object) -> object:
                return own(text.replace("the ", ""), **kwargs)

        model._tokenizer = Shorter()
        return model


class TestNulls:
    def test_shuffled_tokens_share_only_what_all_tokens_share(self, llama):
        found = similarity(llama, TEXTS, ["cosine", "rsa", "cka"], other=SHUFFLED)
        own = similarity(llama, TEXTS, ["cosine"])["cosine"].matrix
        assert found["cosine"].matrix.loc[3, 3] < 0.9 < own.loc[3, 3]

    def test_random_weights_are_the_same_architecture_without_training(self, llama):
        blank = random_weights(llama, seed=0)
        again, other = random_weights(llama, seed=0), random_weights(llama, seed=1)
        tokens = tiny.tokens()
        assert torch.equal(blank(tokens), again(tokens))
        assert not torch.allclose(blank(tokens), other(tokens))
        assert not torch.allclose(blank(tokens), llama(tokens))
        assert similarity(blank, TEXTS)["cosine"].matrix.shape == (N + 1, N + 1)
        assert blank.cfg.model_name == "tiny-llama, random weights (seed 0)"


class TestTables:
    def test_a_row_per_pair_of_states_with_its_interval(self, llama):
        found = similarity(llama, [*TEXTS, "abcabc"], ["cosine", "cka", "variance"])
        table = found.table()
        assert list(table) == ["measure", "row", "column", "value", "low", "high", "documents"]
        assert len(table) == 2 * (N + 1) ** 2
        entry = table.query("measure == 'cosine' and row == 2 and column == 5").iloc[0]
        assert entry["value"] == found["cosine"].matrix.loc[2, 5]
        assert entry["low"] == found["cosine"].interval().low.loc[2, 5]
        assert entry["documents"] == 4

    def test_a_row_per_place_of_a_curve(self, llama):
        table = similarity(llama, TEXTS, ["cosine", *ALONG_DEPTH]).curves()
        assert list(table) == ["measure", "axis", "place", "value", "low", "high", "documents"]
        sizes = table.groupby("measure").size()
        assert (sizes["variance"], sizes["update_ratio"]) == (N + 1, N)
        pooled = table[table["measure"].eq("effective_rank")]
        assert pooled[["low", "high", "documents"]].isna().all(axis=None)
        assert pooled["value"].notna().all()

    def test_a_curve_under_a_plan_knows_its_depth_in_the_intact_model(self, llama):
        whole = [float(k) for k in range(N + 1)]
        for plan, depths in (
            (f"0-{N - 1}", whole),
            (f"0 1 {N - 1}", [0.0, 1.0, 2.0, N]),
            (f"0 2*{N - 2} {N - 1}", whole),
            (f"0 {N - 1}", [0.0, 1.0, N]),
            (f"0 (1|2) {N - 1}", [0.0, 1.0, N - 1.0, N]),
            ("0", [0.0, 1.0]),
            (f"0-{N - 1} {N - 1}", [*whole, N]),
        ):
            table = similarity(llama, "abc", ["residual_norm"], plan).curves()
            assert table["depth"].tolist() == depths, plan

    def test_may_be_empty(self, llama):
        assert similarity(llama, TEXTS, ["variance"]).table().empty
        assert similarity(llama, TEXTS, ["cosine"]).curves().empty


class TestRefusals:
    def test_an_unknown_measure(self, llama):
        message = "no measure 'ckka'; there are cosine, cosine_centered, cosine_flat"
        with pytest.raises(MeasureError, match=message):
            similarity(llama, TEXTS, ["cosine", "ckka"])

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"center": "mean"}, "center='mean' is not one of texts, document"),
            ({"massive": "remove"}, "massive='remove' is not one of keep, drop, both"),
            ({"tokens_per_document": 0}, "tokens_per_document=0 is too small; give 1 or more"),
        ],
    )
    def test_an_option_that_does_not_exist(self, llama, option, message):
        with pytest.raises(PaintersError, match=message):
            similarity(llama, TEXTS, **option)

    def test_a_stream_that_is_not_finite(self, tiny_folder):
        model = tiny.build("llama", torch.float32, tiny_folder)
        model.blocks[2].register_forward_hook(lambda m, a, out: out * torch.nan)
        with pytest.raises(
            MeasureError, match=r"state 4 of text 0 is NaN or infinite: the model computes"
        ):
            similarity(model, TEXTS)

    def test_no_measures(self, llama):
        message = "measures must be a list of names out of cosine, cosine_centered"
        with pytest.raises(MeasureError, match=message):
            similarity(llama, TEXTS, [])

    def test_no_texts(self, llama):
        with pytest.raises(TextError, match="texts must be a list of at least one string"):
            similarity(llama, [])

    def test_a_text_without_a_second_token(self, llama):
        with pytest.raises(TextError, match=r"text 2 \(''\) has 1 token\(s\)"):
            similarity(llama, ["a", "b", ""])


class TestProgress:
    """The bar counts token-layer calls, the unit it shares with scoring."""

    @pytest.mark.parametrize(("plan", "calls"), [(None, N), ("0 (1-3)*2 5", 8)])
    @pytest.mark.parametrize("batch_size", [1, 2, 8])
    def test_ends_at_the_number_of_calls_needed(self, llama, monkeypatch, plan, calls, batch_size):
        told: list[int] = []
        expected = calls_needed(llama, TEXTS, plan, batch_size)
        with progress.progress("outer", expected):
            bar = progress._open.get()
            monkeypatch.setattr(bar, "update", told.append)
            similarity(llama, TEXTS, plan=plan, batch_size=batch_size)
        assert sum(told) == expected
        assert len(told) == -(-len(TEXTS) // batch_size)

    def test_padding_passes_through_the_layers_too(self, llama):
        widths = [20, 6, 32]  # <s> and a token for each character
        assert calls_needed(llama, TEXTS, batch_size=1) == sum(widths) * N
        assert calls_needed(llama, TEXTS) == 3 * max(widths) * N
        assert calls_needed(llama, TEXTS, "0 (1|2)", batch_size=1) == sum(widths) * 3

    def test_pieces_are_counted(self, llama):
        assert calls_needed(llama, ["abc" * 150], batch_size=1) == (256 + 195) * N
