"""Patches are what they say: equal to TransformerLens's own, or to hooks on the whole model."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import Tensor
from transformer_lens import patching as reference
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, patching
from painters_interp.errors import PatchError, PlanError, UnsupportedModelError
from painters_interp.statistics import of_mean

N = tiny.N_LAYERS
LENGTH = 20
ANSWERS = (20, 30)
# Eager attention takes its softmax in float32 in many families.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=tiny.DECODERS)
def model(request, tiny_folder) -> TransformerBridge:
    return tiny.build(request.param, torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def gemma(tiny_folder) -> TransformerBridge:
    return tiny.build("gemma3", torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def llama(tiny_folder) -> TransformerBridge:
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def bert(tiny_folder) -> TransformerBridge:
    return tiny.build("bert", torch.float64, tiny_folder)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


CLEAN = tiny.tokens(1, LENGTH)[0]
CORRUPTED = CLEAN.clone()
CORRUPTED[9] = 50
OTHER = tiny.tokens(1, LENGTH, seed=1)[0]


def difference(logits: Tensor) -> Tensor:
    return logits[..., -1, ANSWERS[0]] - logits[..., -1, ANSWERS[1]]


def matrix(table: pd.DataFrame, column: str = "value") -> np.ndarray:
    rows, columns = (
        ("source_state", "target_state") if "source_state" in table else ("state", "position")
    )
    return table.pivot(index=rows, columns=columns, values=column).to_numpy()


def state(model: TransformerBridge, tokens: Tensor, k: int) -> Tensor:
    """State k of a prompt, by a hook on the whole model; shape (pos, d_model)."""
    read: list[Tensor] = []
    hook = (point(k), lambda stream, hook: read.append(stream[0]))
    model.run_with_hooks(tokens[None], fwd_hooks=[hook])
    return read[0]


def point(k: int) -> str:
    return f"blocks.{k}.hook_resid_pre" if k < N else f"blocks.{N - 1}.hook_resid_post"


def patched(model: TransformerBridge, tokens: Tensor, k: int, where: Any, given: Tensor) -> Tensor:
    """Logits (pos, vocab) of the whole model with state k replaced at some positions.

    Of several rows of tokens, with as many streams given: (row, pos, vocab).
    """

    def put(stream: Tensor, hook: Any) -> Tensor:
        stream = stream.clone()
        stream[:, where] = given
        return stream

    return model.run_with_hooks(torch.atleast_2d(tokens), fwd_hooks=[(point(k), put)]).squeeze(0)


class TestResidual:
    def test_equals_transformer_lens(self, model):
        clean, corrupted = CLEAN[4:14], CORRUPTED[4:14]
        found = patching.patch_residual(model, clean, corrupted, answers=ANSWERS)
        _, cache = model.run_with_cache(clean[None])
        expected = reference.get_act_patch_resid_pre(
            model, corrupted[None], cache, lambda logits: difference(logits)[0]
        )
        np.testing.assert_allclose(matrix(found), expected, atol=TOLERANCE)
        assert np.ptp(matrix(found)) > 100 * TOLERANCE

    def test_runs_under_a_plan_step_by_step(self, gemma):
        plan = Plan.parse("0 (1|2)*2 5 3", N)
        found = patching.patch_residual(
            gemma, OTHER, CORRUPTED, plan=plan, answers=ANSWERS, positions=[4, -1]
        )
        expected = np.empty((plan.depth, 2))
        for k in range(plan.depth):
            name, read = f"steps.{k}.hook_resid_pre", []
            with applied(gemma, plan):
                keep = (name, lambda stream, hook, read=read: read.append(stream.clone()))
                gemma.run_with_hooks(OTHER[None], fwd_hooks=[keep])
                for column, p in enumerate((4, LENGTH - 1)):

                    def put(stream, hook, p=p, read=read):
                        stream = stream.clone()
                        stream[:, p] = read[0][:, p]
                        return stream

                    logits = gemma.run_with_hooks(CORRUPTED[None], fwd_hooks=[(name, put)])
                    expected[k, column] = difference(logits)
        np.testing.assert_allclose(matrix(found), expected, atol=TOLERANCE)

    def test_normalised_is_0_corrupted_and_1_clean(self, llama):
        found = patching.patch_residual(
            llama, CLEAN, CORRUPTED, answers=ANSWERS, states=[0, N], positions=[3, 9, -1]
        )
        runs = [float(difference(llama(t[None]))) for t in (CORRUPTED, CLEAN)]
        np.testing.assert_allclose(found[["corrupted", "clean"]].iloc[0], runs, atol=TOLERANCE)
        scaled = matrix(found, "normalised")
        # Where the prompts differ, the embedding is all; at the end, the last state is.
        np.testing.assert_allclose(scaled, [[0, 1, 0], [0, 0, 1]], atol=1e-4)

    @pytest.mark.parametrize("metric", ["logprob", "probability", "kl", "mine"])
    def test_every_metric_is_the_one_it_names(self, llama, metric):
        def mine(logits: Tensor) -> Tensor:
            return logits[:, 5] ** 2

        given = mine if metric == "mine" else metric
        found = patching.patch_residual(
            llama, CLEAN, CORRUPTED, given, answers=[20][0], states=[3], positions=[9, 15]
        )
        clean = llama(CLEAN[None])[0, -1]
        by_hand = {
            "logprob": lambda row: row.log_softmax(-1)[20],
            "probability": lambda row: row.softmax(-1)[20],
            "kl": lambda row: torch.nn.functional.kl_div(
                row.log_softmax(-1), clean.log_softmax(-1), log_target=True, reduction="sum"
            ),
            "mine": lambda row: row[5] ** 2,
        }[metric]
        stream = state(llama, CLEAN, 3)
        expected = [by_hand(patched(llama, CORRUPTED, 3, p, stream[p])[-1]) for p in (9, 15)]
        np.testing.assert_allclose(matrix(found)[0], expected, atol=TOLERANCE)

    def test_several_pairs_are_averaged_with_intervals_over_pairs(self, llama):
        pairs = [(CLEAN, CORRUPTED), (CLEAN, OTHER), (CORRUPTED, OTHER), (CLEAN, OTHER)]
        cleans, corrupted = map(list, zip(*pairs, strict=True))
        sweep = partial(patching.patch_residual, llama, states=[2], positions=[9, -1])
        found = sweep(cleans, corrupted, answers=[ANSWERS] * 4)
        single = [sweep(a, b, answers=ANSWERS) for a, b in pairs]
        values = np.stack([part["value"] for part in single])
        np.testing.assert_allclose(found["value"], values.mean(axis=0))
        np.testing.assert_allclose(found[["low", "high"]].T, of_mean(values))
        effect = np.stack([part["value"] - part["corrupted"] for part in single]).mean(axis=0)
        whole = np.mean([(part["clean"] - part["corrupted"]).iloc[0] for part in single])
        np.testing.assert_allclose(found["normalised"], effect / whole)
        assert (found["pairs"] == 4).all()
        assert (found["normalised_low"] <= found["normalised"]).all()
        assert (found["normalised"] <= found["normalised_high"]).all()
        assert single[0][["low", "normalised_low"]].isna().all().all()

    def test_prompts_of_different_length_are_aligned_by_hand(self, llama):
        places = [(2, 4), (-1, -1)]
        found = patching.patch_residual(
            llama, CLEAN, OTHER[:12], answers=ANSWERS, positions=places, states=[2]
        )
        stream = state(llama, CLEAN, 2)
        expected = [
            difference(patched(llama, OTHER[:12], 2, b, stream[a])[None]) for a, b in places
        ]
        np.testing.assert_allclose(matrix(found)[0], np.array(expected)[:, 0], atol=TOLERANCE)
        assert found["position"].tolist() == [4, 11]

    def test_tokens_are_labelled(self, llama):
        found = patching.patch_residual(llama, "abcd", "abed", answers=("x", "y"), states=[0])
        assert found["token"].tolist() == ["<s>", "a", "b", "c / e", "d"]
        several = patching.patch_residual(
            llama, ["abcd", "abgd"], ["abed", "abfd"], answers=[("x", "y")] * 2, states=[0]
        )
        assert several["token"].tolist() == ["<s>", "a", "b", "c / e ...", "d"]

    def test_leaves_the_model_as_it_was(self, gemma):
        before = gemma(CLEAN[None])
        patching.patch_residual(gemma, CLEAN, CORRUPTED, answers=ANSWERS)
        patching.crossing(gemma, CLEAN, positions=[5, 6])
        assert torch.equal(gemma(CLEAN[None]), before)


class TestCrossing:
    @pytest.mark.parametrize("positions", [None, [9, -1]], ids=["everywhere", "two tokens"])
    def test_equals_hooks_on_the_whole_model(self, model, positions):
        found = patching.crossing(model, OTHER, CLEAN, positions=positions)
        where = list(range(LENGTH)) if positions is None else [9, LENGTH - 1]
        clean = model(CLEAN[None])[0, where[0] :].log_softmax(-1)
        expected = np.empty((N + 1, N + 1))
        given = torch.stack([state(model, OTHER, i)[where] for i in range(N + 1)])
        for j in range(N + 1):
            logits = patched(model, CLEAN.repeat(N + 1, 1), j, where, given)[
                :, where[0] :
            ].log_softmax(-1)
            expected[:, j] = (clean.exp() * (clean - logits)).sum(-1).mean(-1)
        np.testing.assert_allclose(matrix(found), expected, atol=TOLERANCE)
        assert expected.max() > 100 * TOLERANCE

    def test_a_state_put_back_where_it_was_changes_nothing(self, model):
        found = patching.crossing(model, CLEAN, metric="logprob", answers=7, positions=[4, 11])
        own = float(model(CLEAN[None])[0, -1].log_softmax(-1)[7])
        np.testing.assert_allclose(np.diag(matrix(found)), own, atol=TOLERANCE)
        np.testing.assert_allclose(found["unpatched"], own, atol=TOLERANCE)
        assert np.ptp(matrix(found)) > 1e-3

    def test_states_are_taken_from_other_positions_of_another_prompt(self, gemma):
        found = patching.crossing(
            gemma,
            OTHER[:9],
            CLEAN,
            "logit_difference",
            positions=[-2],
            source_positions=[3],
            answers=ANSWERS,
            source_states=[4],
            target_states=[1, N],
        )
        given = state(gemma, OTHER[:9], 4)[3]
        expected = [difference(patched(gemma, CLEAN, j, -2, given)[None])[0] for j in (1, N)]
        np.testing.assert_allclose(found["value"], expected, atol=TOLERANCE)

    def test_loss_is_that_of_the_next_tokens(self, llama):
        found = patching.crossing(llama, CLEAN, metric="loss", positions=[6], read=[7, 12])
        logits = patched(llama, CLEAN, 5, 6, state(llama, CLEAN, 1)[6])[[7, 12]]
        expected = torch.nn.functional.cross_entropy(logits, CLEAN[[8, 13]])
        assert matrix(found)[1, 5] == pytest.approx(float(expected), abs=TOLERANCE)

    def test_the_last_target_is_the_logit_lens(self, llama):
        found = patching.crossing(llama, CLEAN, metric="logprob", answers=7, positions=[-1])
        lens = patching.readout(llama, CLEAN, watch=[7])
        watched = lens[lens["token"] == llama.tokenizer.decode([7])].set_index("state")["logprob"]
        np.testing.assert_allclose(matrix(found)[:, N], watched, atol=TOLERANCE)

    def test_steps_of_a_plan_are_states_too(self, llama):
        plan = Plan.parse("0-2 2 5", N)
        found = patching.crossing(llama, CLEAN, plan=plan, positions=[5, -1])
        assert matrix(found).shape == (6, 6)
        np.testing.assert_allclose(np.diag(matrix(found)), 0, atol=1e-9)
        # Before the second call of layer 2, what the first one read: as if it had not run.
        with applied(llama, plan):
            own = llama(CLEAN[None])[0].log_softmax(-1)
        with applied(llama, "0-2 5"):
            once = llama(CLEAN[None])[0].log_softmax(-1)
        everywhere = patching.crossing(
            llama, CLEAN, plan=plan, source_states=[2], target_states=[3]
        )
        expected = (own.exp() * (own - once)).sum(-1).mean()
        assert everywhere["value"].item() == pytest.approx(float(expected), abs=TOLERANCE)

    def test_several_prompts_are_averaged(self, llama):
        cross = partial(patching.crossing, llama, positions=[-1], source_states=[1])
        found, single = cross([CLEAN, OTHER]), [cross(CLEAN), cross(OTHER)]
        values = np.stack([part["value"] for part in single])
        np.testing.assert_allclose(found["value"], values.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(found[["low", "high"]].T, of_mean(values), atol=1e-12)
        assert single[0]["low"].isna().all()


class TestReadout:
    def test_the_last_state_is_the_models_own_answer(self, model):
        found = patching.readout(model, CLEAN, positions=[4, -1], states=[N], top=4)
        for place, rows in found.groupby("position"):
            own = model(CLEAN[None])[0, place].log_softmax(-1).topk(4)
            assert rows["token"].tolist() == [model.tokenizer.decode([i]) for i in own.indices]
            np.testing.assert_allclose(rows["logprob"], own.values, atol=TOLERANCE)

    def test_watched_tokens_come_with_their_rank(self, llama):
        found = patching.readout(llama, "abcabc", watch=["x"], top=1)
        rows = found[found["token"] == "x"].set_index("state")
        logits = llama(torch.tensor([llama.tokenizer("abcabc")["input_ids"]]))[0, -1]
        x = llama.tokenizer("x", add_special_tokens=False)["input_ids"][0]
        assert len(rows) == N + 1
        assert rows.loc[N, "rank"] == int((logits > logits[x]).sum())


class TestPatchscope:
    @pytest.mark.parametrize("target_state", [0, 2, N])
    def test_equals_greedy_decoding_without_a_cache(self, model, target_state):
        given = state(model, OTHER, 4)[7]
        text = CLEAN[:8]
        for _ in range(6):
            logits = patched(model, text, target_state, 5, given)
            text = torch.cat([text, logits[-1].argmax()[None]])
        found = patching.patchscope(model, OTHER, 7, 4, CLEAN[:8], -3, target_state, 6)
        assert found == model.tokenizer.decode(text[8:], skip_special_tokens=True)

    def test_a_mapping_stands_between(self, llama):
        zero = patching.patchscope(
            llama, OTHER, 7, 4, CLEAN[:8], 7, N - 1, 5, mapping=torch.zeros_like
        )
        plain = patching.patchscope(llama, OTHER, 7, 4, CLEAN[:8], 7, N - 1, 5)
        assert zero != plain


class TestRefusals:
    def residual(self, model, *args, **kwargs):
        return patching.patch_residual(model, *args, **{"answers": ANSWERS, **kwargs})

    def test_masked_language_models(self, bert):
        for call in (
            partial(patching.patch_residual, bert, CLEAN, CORRUPTED),
            partial(patching.crossing, bert, CLEAN),
            partial(patching.readout, bert, CLEAN),
            partial(patching.patchscope, bert, CLEAN, 0, 0, CLEAN, 0, 0),
        ):
            with pytest.raises(UnsupportedModelError, match="tiny-bert is a masked language model"):
                call()

    def test_positions_outside_the_prompt(self, llama):
        message = r"position 20 is outside the prompt .* 20 tokens; -20\.\.19 fits"
        with pytest.raises(PatchError, match=message):
            self.residual(llama, CLEAN, CORRUPTED, positions=[20])
        with pytest.raises(PatchError, match=message):
            patching.crossing(llama, CLEAN, positions=[20])
        with pytest.raises(PatchError, match=message):
            patching.patchscope(llama, CLEAN, 20, 0, CLEAN, 0, 0)

    def test_positions_named_twice_or_not_at_all(self, llama):
        with pytest.raises(PatchError, match="each one once"):
            patching.crossing(llama, CLEAN, positions=[19, -1])
        with pytest.raises(PatchError, match="at least one"):
            patching.crossing(llama, CLEAN, positions=[])
        with pytest.raises(PatchError, match="no positions named"):
            self.residual(llama, CLEAN, CORRUPTED, positions=[])

    def test_different_lengths_without_an_alignment(self, llama):
        with pytest.raises(PatchError, match=r"\(12, 20\); give positions="):
            self.residual(llama, CLEAN, OTHER[:12])
        with pytest.raises(PatchError, match=r"20 positions of the source .* for 12 of the target"):
            patching.crossing(llama, CLEAN, OTHER[:12])

    def test_lists_without_counterparts(self, llama):
        with pytest.raises(PatchError, match="2 clean prompts and 1 corrupted"):
            self.residual(llama, [CLEAN, OTHER], [CORRUPTED])
        with pytest.raises(PatchError, match="1 answers for 2 pairs"):
            self.residual(llama, [CLEAN, OTHER], [OTHER, CLEAN], answers=[ANSWERS])
        with pytest.raises(PatchError, match="2 sources and 1 targets"):
            patching.crossing(llama, [CLEAN, OTHER], CLEAN)
        with pytest.raises(PatchError, match="1 answers for 2 prompts"):
            patching.crossing(llama, [CLEAN, OTHER], metric="logprob", answers=[7])
        with pytest.raises(PatchError, match="no prompts"):
            patching.crossing(llama, [])

    def test_prompts_that_do_not_fit(self, llama):
        with pytest.raises(PatchError, match="has 257 tokens; 1 to 256 fit"):
            patching.readout(llama, [5] * 257)

    def test_layers_outside_the_model(self, llama):
        message = "state 7 does not exist; 0 .* to 6"
        with pytest.raises(PatchError, match=message):
            self.residual(llama, CLEAN, CORRUPTED, states=[7])
        with pytest.raises(PatchError, match=message):
            patching.crossing(llama, CLEAN, target_states=[7])
        with pytest.raises(PatchError, match=message):
            patching.patchscope(llama, CLEAN, 0, 7, CLEAN, 0, 0)
        with pytest.raises(PatchError, match="no states named"):
            patching.readout(llama, CLEAN, states=[])

    def test_plans_that_do_not_fit(self, llama):
        with pytest.raises(PlanError, match="asks for layer 9"):
            self.residual(llama, CLEAN, CORRUPTED, plan="0-9")
        with applied(llama, "0-5"), pytest.raises(PlanError, match="already applied"):
            patching.crossing(llama, CLEAN)

    @pytest.mark.parametrize(
        ("metric", "made"),
        [(lambda logits: logits, r"\(2, 96\)"), (lambda logits: logits.sum(), r"\(\)"),
         (lambda logits: 1.0, "float")],
    )  # fmt: skip
    def test_a_metric_of_the_wrong_shape(self, llama, metric, made):
        with pytest.raises(PatchError, match=f"metric <lambda> made {made} .*one number per row"):
            self.residual(llama, CLEAN, CORRUPTED, metric)

    def test_a_metric_that_is_not_there_or_lacks_its_answers(self, llama):
        with pytest.raises(PatchError, match="no metric 'accuracy'; there are logit_difference"):
            patching.crossing(llama, CLEAN, metric="accuracy")
        with pytest.raises(PatchError, match=r"give answers=\(right, wrong\) for each"):
            patching.patch_residual(llama, CLEAN, CORRUPTED)
        with pytest.raises(PatchError, match="give answers=the right token"):
            patching.crossing(llama, CLEAN, metric="logprob")

    def test_answers_that_are_no_single_token(self, llama):
        with pytest.raises(PatchError, match=r"answer 'ab' is 2 tokens \['a', 'b'\]"):
            patching.crossing(llama, CLEAN, metric="logprob", answers="ab")
        with pytest.raises(PatchError, match=r"answer 96 is no token id; 0\.\.95"):
            patching.crossing(llama, CLEAN, metric="logprob", answers=96)

    def test_reading_where_nothing_changes_or_nothing_follows(self, llama):
        with pytest.raises(PatchError, match=r"position 2 is read.*5\.\.19 fits"):
            patching.crossing(llama, CLEAN, positions=[5], read=[2])
        with pytest.raises(PatchError, match="none follows position 19"):
            patching.crossing(llama, CLEAN, metric="loss", positions=[-1])
        with pytest.raises(PatchError, match="none follows the last token"):
            self.residual(llama, CLEAN, CORRUPTED, "loss")

    def test_more_top_tokens_than_there_are(self, llama):
        with pytest.raises(PatchError, match=r"top=97 .*1\.\.96"):
            patching.readout(llama, CLEAN, top=97)
