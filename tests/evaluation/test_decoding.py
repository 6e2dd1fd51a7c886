"""Texts decoded under a plan: exact equals one pass, averaged is the published decoding."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from lm_eval.models.huggingface import HFLM
from local_tasks import write
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, evaluate, experiments, token_logprobs
from painters_interp.errors import TableError, TaskError, TextError, UnsupportedModelError
from painters_interp.evaluation import decoding, prepare
from painters_interp.evaluation.decoding import (
    calls_needed,
    decode,
    free_running,
    golds,
    teacher_forced,
)
from painters_interp.generation import forced_logprobs, forced_under

N = tiny.N_LAYERS
SEQUENTIAL = ["0-5", "0 3 2 5", "0 2*3 5"]
GROUPS = ["0 (1|3|4) 2 5", "0 (1|3|4)*2 5"]  # of layers of one type in Gemma 3 too
LENGTHS = [(5, 9), (11, 3), (1, 9), (7, 1)]  # of prompts and continuations
GSM8K = {
    "gsm8k/test": [
        {"question": "1 and 1?", "answer": "it is two #### 2"},
        {"question": "half of ten?", "answer": "#### 5"},
    ],
    "piqa/validation": [{"goal": "open a jar", "sol1": "turn it", "sol2": "eat it", "label": 0}],
}


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3"])
def model(request: pytest.FixtureRequest, tiny_folder: Path) -> TransformerBridge:
    return tiny.build(request.param, torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def texts() -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and continuations of different lengths, as tokens."""
    rows = tiny.tokens(batch=len(LENGTHS), length=20, seed=3).tolist()
    pairs = [(row[:a], row[a : a + b]) for row, (a, b) in zip(rows, LENGTHS, strict=True)]
    return [a for a, _ in pairs], [b for _, b in pairs]


@pytest.fixture(scope="module")
def forced(model, texts):
    """What `forced_logprobs` says of the texts under a plan and a cache, asked once for each."""
    return functools.cache(lambda plan, kind: forced_logprobs(model, plan, *texts, cache=kind))


def one_pass(model: TransformerBridge, plan: str, prompt: list[int], gold: list[int]) -> np.ndarray:
    [[found]] = token_logprobs(model, [plan], torch.tensor([prompt + gold]))
    return found[len(prompt) - 1 :].numpy()


def step_by_step(
    model: TransformerBridge, plan: str, cache: str, prompt: list[int], gold: list[int]
) -> list[float]:
    """Prefill and single tokens by hand, one unpadded sequence."""
    found = []
    with torch.no_grad(), applied(model, plan, cache=cache):
        ask = {"use_cache": True, "return_type": "logits_and_cache"}
        logits, held = model(torch.tensor([prompt]), **ask)
        for token in gold:
            found.append(float(logits[0, -1].log_softmax(-1)[token]))
            logits, held = model(torch.tensor([[token]]), past_key_values=held, **ask)
    return found


@pytest.mark.parametrize("plan", [*SEQUENTIAL, *GROUPS, "0 (1-4)@sum 5@0.5*2", "2.mlp 0-5"])
def test_exact_decoding_equals_one_pass(model, texts, forced, plan):
    found = forced(plan, "exact")
    for row, prompt, gold in zip(found, *texts, strict=True):
        np.testing.assert_allclose(row, one_pass(model, plan, prompt, gold), atol=2e-5, rtol=0)


@pytest.mark.parametrize("plan", [SEQUENTIAL[1], *GROUPS])
def test_averaged_decoding_equals_feeding_the_tokens_by_hand(model, texts, forced, plan):
    found = forced(plan, "averaged")
    for row, prompt, gold in zip(found, *texts, strict=True):
        expected = step_by_step(model, plan, "averaged", prompt, gold)
        np.testing.assert_allclose(row, expected, atol=2e-5, rtol=0)


def test_plans_decode_together_whatever_fits_and_one_by_one_under_a_hook(llama, texts):
    plans = [Plan.parse(text, N) for text in (SEQUENTIAL[1], *GROUPS)]
    expected = [forced_logprobs(llama, plan, *texts, cache="averaged") for plan in plans]
    with pytest.warns(UserWarning, match=r"in \d+ parts"):
        small = forced_under(llama, plans, *texts, "averaged", memory=2**15)
    hook = [("blocks.0.hook_resid_pre", lambda stream, hook: stream)]
    with llama.hooks(fwd_hooks=hook), pytest.warns(UserWarning, match="one plan at a time"):
        alone = forced_under(llama, plans, *texts, "averaged")
    for found in (forced_under(llama, plans, *texts, "averaged"), small, alone):
        for under, others in zip(found, expected, strict=True):
            for row, other in zip(under, others, strict=True):
                np.testing.assert_allclose(row, other, atol=2e-5, rtol=0)


@pytest.mark.parametrize("plan", [*SEQUENTIAL, *GROUPS])
def test_they_differ_for_groups_and_after_the_first_token_only(forced, plan):
    exact, averaged = (forced(plan, kind) for kind in ("exact", "averaged"))
    gaps = [abs(a - b) for a, b in zip(exact, averaged, strict=True)]
    assert all(gap[0] < 1e-5 for gap in gaps)
    later = max(float(gap[1:].max(initial=0)) for gap in gaps)
    assert later > 1e-3 if plan in GROUPS else later < 1e-5


def test_the_settings_of_a_checkpoint_change_nothing_and_stay(llama, texts, monkeypatch):
    expected = forced_logprobs(llama, "0-5", *texts)
    settings = llama.original_model.generation_config
    monkeypatch.setattr(settings, "repetition_penalty", 3.0)
    monkeypatch.setattr(settings, "eos_token_id", texts[1][0][2])
    found = forced_logprobs(llama, "0-5", *texts)
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    assert llama.original_model.generation_config is settings


@pytest.fixture(scope="module")
def asked(llama, tmp_path_factory):
    """Two items of GSM8K, to be answered in a few tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HFLM, "max_gen_toks", 12)
        data = write(tmp_path_factory.mktemp("data"), GSM8K)
        yield prepare(llama, ["gsm8k"], data, num_fewshot=0)


@pytest.fixture(scope="module")
def windows() -> pd.DataFrame:
    return experiments.decoding(N, firsts=[0, 1])


def test_golds_are_prompt_and_solution(llama, asked):
    first, second = golds(llama, asked)
    decoded = llama.tokenizer.decode
    assert (first.task, first.item, second.item) == ("gsm8k", 0, 1)
    assert decoded(first.prompt, skip_special_tokens=True) == "Question: 1 and 1?Answer:"
    assert decoded(first.text) == " it is two #### 2"


def test_a_prompt_that_does_not_fit_loses_its_beginning(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(HFLM, "max_gen_toks", 12)
    items = [{"question": "x" * 300, "answer": "it is two #### 2"}]
    asked = prepare(llama, ["gsm8k"], write(tmp_path, {"gsm8k/test": items}), num_fewshot=0)
    [gold] = golds(llama, asked)
    assert gold.size == 256
    assert llama.tokenizer.decode(gold.prompt).endswith("Answer:")
    long = [{"question": "1?", "answer": "x" * 255}]
    asked = prepare(llama, ["gsm8k"], write(tmp_path, {"gsm8k/test": long}), num_fewshot=0)
    with pytest.raises(TextError, match="a gold text has 256 tokens; the model's context is 256"):
        golds(llama, asked)


def test_gold_texts_have_a_row_per_plan_cache_and_item(llama, asked, windows):
    found = teacher_forced(llama, windows, asked)
    assert list(found.columns) == [
        *windows.columns, "model", "revision", "dtype", "task", "cache", "item", "nats", "tokens",
    ]  # fmt: skip
    assert len(found) == 5 * 2 * 2
    gold = golds(llama, asked)[1]
    row = found[(found["first"] == 0) & (found["cache"] == "averaged") & (found["item"] == 1)]
    for plan, nats, tokens in zip(row["plan"], row["nats"], row["tokens"], strict=True):
        [expected] = forced_logprobs(llama, plan, [gold.prompt], [gold.text], "averaged")
        assert nats == pytest.approx(-expected.sum(), abs=1e-4)
        assert tokens == len(gold.text)


def test_only_groups_are_decoded_a_second_time(llama, asked, windows):
    found = teacher_forced(llama, windows, asked).pivot(
        index=["plan", "item"], columns="cache", values="nats"
    )
    differs = (found["exact"] - found["averaged"]).abs().groupby("plan").max() > 0
    assert differs.to_dict() == {plan: "(" in plan for plan in differs.index}


def test_free_texts_score_as_evaluate_scores_them(llama, asked, windows):
    found = free_running(llama, windows, asked)
    assert set(found["metric"]) == {"exact_match,strict-match"}
    for cache, rows in found.groupby("cache"):
        table = evaluate(llama, windows, asked, cache=str(cache))
        expected = table[table["metric"] == "exact_match,strict-match"].set_index("plan")["value"]
        assert rows.groupby("plan")["value"].mean().to_dict() == expected.to_dict()


def test_both_stand_side_by_side_and_the_cost_is_known(llama, asked, windows):
    found = decode(llama, windows, asked)
    forced, free = teacher_forced(llama, windows, asked), free_running(llama, windows, asked)
    assert found["nats"].tolist() == pytest.approx(forced["nats"].tolist(), abs=1e-9)
    keys = ["plan", "cache", "item"]
    assert len(found.merge(free, on=[*keys, "metric", "value"])) == len(found) == 20
    plans = experiments.plans(windows)
    size = sum(gold.size for gold in golds(llama, asked))
    again = [plan for plan in plans if "|" in str(plan) or "(" in str(plan)]
    assert 0 < len(again) < len(plans)
    assert calls_needed(llama, plans, asked) == sum(
        size * sum(len(plan.calls) for plan in some) + asked.calls(some) for some in (plans, again)
    )


def test_of_nothing_there_is_nothing(llama):
    assert forced_under(llama, [], [[5]], [[6]]) == []
    assert forced_logprobs(llama, "0-5", [], []) == []


class TestRefusals:
    def test_nothing_to_read_or_to_feed(self, llama):
        with pytest.raises(TextError, match="has no tokens; each needs at least one"):
            forced_logprobs(llama, "0-5", [[]], [[5]])

    def test_more_than_the_context(self, llama):
        with pytest.raises(TextError, match="257 tokens exceed the model's context of 256"):
            forced_logprobs(llama, "0-5", [[5] * 250], [[5] * 7])

    @pytest.mark.parametrize("way", [teacher_forced, free_running, decode])
    def test_a_task_that_writes_nothing(self, llama, tmp_path, windows, way):
        asked = prepare(llama, ["piqa"], write(tmp_path, GSM8K))
        with pytest.raises(TaskError, match="'piqa' is of type multiple_choice, and decodes"):
            way(llama, windows, asked)

    def test_caches_without_a_mean(self, tiny_folder, texts):
        gemma = tiny.build("gemma3", torch.float32, tiny_folder)
        with pytest.raises(UnsupportedModelError, match="caches cannot be averaged"):
            forced_logprobs(gemma, "0 (1-4) 5", *texts, cache="averaged")

    def test_they_are_refused_before_anything_is_decoded(self, tiny_folder, asked, monkeypatch):
        gemma = tiny.build("gemma3", torch.float32, tiny_folder)
        monkeypatch.setattr(decoding, "forced_under", lambda *_: pytest.fail("has decoded"))
        plans = [Plan.parse(text, N) for text in ("0-5", "0 (1-4) 5")]
        for way in (teacher_forced, decode, calls_needed):
            with pytest.raises(UnsupportedModelError, match="caches cannot be averaged"):
                way(gemma, plans, asked)

    def test_a_table_without_plans(self, llama, asked):
        with pytest.raises(TableError, match="lacks the columns plan"):
            decode(llama, pd.DataFrame({"variant": ["intact"]}), asked)
