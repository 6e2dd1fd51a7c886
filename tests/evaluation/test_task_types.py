"""Texts rolled over and texts written: lm-eval's own numbers for every plan, item by item."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from local_tasks import stock_metrics, stock_responses, stock_results, stock_tasks, write
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, evaluate, progress
from painters_interp import strategies as s
from painters_interp.errors import PlanError, TaskError, UnsupportedModelError
from painters_interp.evaluation import Questions, measurements, prepare
from painters_interp.evaluation.harness import BridgedLM
from painters_interp.evaluation.planned import PlannedLM
from painters_interp.evaluation.scoring import score, time_per_call
from painters_interp.evaluation.writing import generate, prompts
from painters_interp.plans import shared_calls
from painters_interp.tables import MEASURED

N = tiny.N_LAYERS
PLANS = [
    s.full(N),
    s.swap(N, 1, 2),
    Plan.parse("0 (1-4)*2 5", N),
    Plan.parse("0-2 (3|4)@sum 5@0.5*2", N),
]
PARALLEL = Plan.parse("0 (1|3|4)*2 2 5", N)  # layers of one type in Gemma 3 too, for "averaged"
NEW = 10  # tokens; lm-eval's default of 256 is all that a tiny model's context holds

DATA = {
    "wikitext/test": [
        {"page": "= Rope =\n\n A rope is thick , and a string is not .\n"},
        {"page": "a long way " * 60},  # three windows of the tiny models' context of 256
        {"page": "one"},
    ],
    "gsm8k/test": [
        {"question": "1 and 1?", "answer": "it is two #### 2"},
        {"question": "three boxes hold four cups each. how many cups?", "answer": "3*4 #### 12"},
        {"question": "a long way " * 25 + "is how far?", "answer": "#### 9"},  # loses its beginning
    ],
    "gsm8k/train": [
        {"question": "2 and 2?", "answer": "it is four #### 4"},
        {"question": "3 and 2?", "answer": "it is five #### 5"},
        {"question": "9 and 1?", "answer": "it is ten #### 10"},
    ],
    "triviaqa/validation": [
        {"question": "who barks", "answer": {"aliases": ["a dog", "dogs"]}},
        {"question": "what do cows eat all day long", "answer": {"aliases": ["grass"]}},
        {"question": "what melts ice", "answer": {"aliases": ["heat"]}},
    ],
}
TASKS = ["wikitext", "gsm8k", "triviaqa"]
WRITING = TASKS[1:]


@pytest.fixture(autouse=True)
def few_new_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HFLM, "max_gen_toks", NEW)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, llama: TransformerBridge) -> Path:
    """The data above, where one question's answer is what the intact model happens to say."""
    folder = write(tmp_path_factory.mktemp("data"), DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HFLM, "max_gen_toks", NEW)
        tasks = stock_tasks(folder, ["triviaqa"], tmp_path_factory.mktemp("cache"))
        stock = stock_results(llama, tasks, PLANS[0])
    said = stock_responses(stock, "triviaqa")[1]
    DATA["triviaqa/validation"][1]["answer"]["aliases"].append(said.strip())
    return write(folder, DATA)


@pytest.fixture(scope="module")
def stock(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tasks as lm-eval loads them."""
    return stock_tasks(data, TASKS, tmp_path_factory.mktemp("cache"), num_fewshot=0)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def compared(
    request: pytest.FixtureRequest, tiny_folder: Path, data: Path, stock: dict[str, Any]
) -> dict[str, Any]:
    """Tasks and plans through lm-eval's HFLM one by one under `applied`, and through ours."""
    model = tiny.build(request.param, torch.float32, tiny_folder)
    scored: list[Any] = []

    def kept(*args: Any) -> Any:
        scored.append(score(*args))
        return scored[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HFLM, "max_gen_toks", NEW)
        patch.setattr(measurements, "score", kept)
        questions = prepare(model, TASKS, data, num_fewshot=0)
        table = evaluate(model, PLANS, questions)
        [answers] = scored  # what the table is made of
        stock_found = [stock_results(model, stock, plan) for plan in PLANS]
    return {"stock": stock_found, "questions": questions, "answers": answers, "table": table}


def ours(compared: dict[str, Any], plan: int, task: str) -> list[Any]:
    questions: Questions = compared["questions"]
    start = 0
    for loaded in questions.tasks:
        span = slice(start, start := start + len(loaded.instances))
        if loaded.config.task == task:
            return compared["answers"].responses(plan, questions.readings[span])
    raise KeyError(task)


class TestAgainstLmEval:
    """The oracle: under every plan what lm-eval's own HFLM gives, one item at a time."""

    def test_loglikelihoods_of_documents(self, compared):
        for index, stock in enumerate(compared["stock"]):
            found, expected = ours(compared, index, "wikitext"), stock_responses(stock, "wikitext")
            assert len(found) == len(expected) == 3
            assert np.isfinite(found).all()
            assert found == pytest.approx(expected, abs=1e-3)

    @pytest.mark.parametrize("task", WRITING)
    def test_texts_written_in_padded_batches(self, compared, task):
        assert any(len(b.members) > 1 for b in compared["questions"].prompts.batches)
        for index, stock in enumerate(compared["stock"]):
            assert ours(compared, index, task) == stock_responses(stock, task)

    def test_every_metric(self, compared):
        table = compared["table"].set_index(["plan", "task", "metric"])
        seen = 0
        for plan, stock in zip(PLANS, compared["stock"], strict=True):
            for task in TASKS:
                for name, value in stock_metrics(stock, task).items():
                    row = table.loc[(str(plan), task, name)]
                    assert row["value"] == pytest.approx(value, rel=1e-5, abs=0)
                    assert row["n"] == stock["n-samples"][task]["effective"]
                    seen += 1
        assert seen == len(table) == 4 * (3 + 2 + 1)

    def test_the_plans_differ_so_that_agreement_means_something(self, compared):
        for task in WRITING:
            assert len({tuple(ours(compared, i, task)) for i in range(len(PLANS))}) == len(PLANS)
        for i in range(1, len(PLANS)):
            gaps = np.subtract(ours(compared, i, "wikitext"), ours(compared, 0, "wikitext"))
            assert abs(gaps).mean() > 0.1

    def test_a_prompt_with_shots(self, llama, data, tmp_path):
        plan = PLANS[2]
        found = prepare(llama, ["gsm8k"], data, limit=2, num_fewshot=2)
        assert [t.args[0].count("Question:") for t in found.prompts.requests] == [3, 3]
        tasks = stock_tasks(data, ["gsm8k"], tmp_path, num_fewshot=2)
        expected = stock_responses(stock_results(llama, tasks, plan, limit=2), "gsm8k")
        assert list(score(llama, [plan], found).texts[0]) == expected


class TestDocuments:
    def test_a_long_one_is_rolled_over_and_every_token_predicted_once(self, llama, data):
        found = prepare(llama, ["wikitext"], data)
        tokens = [llama.tokenizer.encode(t.args[0], add_special_tokens=True)
                  for t in found.tasks[0].instances]  # fmt: skip
        assert [len(reading.windows) for reading in found.readings] == [1, 3, 1]
        for reading, expected in zip(found.readings, tokens, strict=True):
            predicted = [t for i in reading.windows for t in found.requests[i].continuation]
            assert predicted == expected
        assert found.truncated == 0

    def test_a_window_longer_than_a_pack_goes_alone(self, tiny_folder, data):
        model = tiny.build("llama", torch.float32, tiny_folder, max_position_embeddings=600)
        found = prepare(model, ["wikitext", "triviaqa"], data)
        assert sorted(map(len, found.sequences))[-1] == 600  # of 721 tokens
        assert sum(600 in map(len, found.inputs(pack)) and len(pack) == 1 for pack in found.packs)
        with applied(model, PLANS[2]):
            expected = lm_of(model).loglikelihood_rolling(found.tasks[0].instances)
        answers = score(model, PLANS[2:3], found)
        assert answers.responses(0, found.readings[:3]) == pytest.approx(expected, abs=1e-3)

    def test_bits_and_perplexity_say_the_same(self, llama, data):
        table = evaluate(llama, PLANS[:1], ["wikitext"], data).set_index("metric")
        assert table.loc["bits_per_byte", "value"] == pytest.approx(
            np.log2(table.loc["byte_perplexity", "value"])
        )
        assert not table["higher_is_better"].any()
        assert table["chance"].isna().all()
        assert "cache" not in table


def ask(text: str, task: str = "mine", **settings: Any) -> Instance:
    arguments = (text, {"do_sample": False, **settings})
    return Instance("generate_until", {}, arguments, 0, metadata=(task, 0, 1))


def lm_of(model: TransformerBridge) -> BridgedLM:
    return BridgedLM(model)


def written(model: TransformerBridge, plan: Plan | str, *asked: Instance, rows: int = 8) -> Any:
    plan = Plan.parse(str(plan), N)
    [texts] = generate(model, [plan], prompts(lm_of(model), asked, rows))
    return list(texts)


class TestWriting:
    def test_is_what_step_by_step_uncached_decoding_gives(self, llama):
        text, plan = "cows eat ", PLANS[2]
        tokens = llama.tokenizer.encode(text)
        with torch.no_grad(), applied(llama, plan):
            for _ in range(NEW):
                logits = llama(torch.tensor([tokens]), use_cache=False)
                tokens.append(int(logits[0, -1].argmax()))
        [found] = written(llama, plan, ask(text, until=["\n"]))
        assert text + found == llama.tokenizer.decode(tokens, skip_special_tokens=True)

    @pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
    def test_left_padding_changes_no_text(self, tiny_folder, family):
        model = tiny.build(family, torch.float32, tiny_folder)
        drawn = [model.tokenizer.decode(row) for row in tiny.tokens(batch=4, length=30)]
        asked = [ask(text[:n], max_gen_toks=5, until=["\n"]) for text, n in
                 zip(drawn, (1, 30, 7, 12), strict=True)]  # fmt: skip
        seen = set()
        for plan in (PLANS[2], PARALLEL):
            together = written(model, plan, *asked)
            assert together == [text for one in asked for text in written(model, plan, one)]
            seen |= set(together)
        assert len(seen) >= 5  # what is written depends on the prompt and the plan

    def test_stops_before_the_stop_string_and_where_the_limit_is(self, llama):
        [free] = written(llama, "0-5", ask("cows", max_gen_toks=12, until=["\n"]))
        assert len(free) == 12
        stop = free[5:7]
        kept = free[: free.index(stop)]
        assert written(llama, "0-5", ask("cows", max_gen_toks=12, until=[stop])) == [kept]
        assert written(llama, "0-5", ask("cows", max_gen_toks=3, until=["\n"])) == [free[:3]]

    def test_requests_of_other_settings_are_written_apart(self, llama):
        asked = [ask(text, max_gen_toks=n, until=["\n"])
                 for text, n in (("a", 3), ("b", 6), ("long", 3))]  # fmt: skip
        found = prompts(lm_of(llama), asked, rows=8)
        assert sorted(batch.members for batch in found.batches) == [(1,), (2, 0)]
        assert [len(text) for text in written(llama, "0-5", *asked)] == [3, 6, 3]

    def test_more_than_the_likeliest_token_is_left_to_lm_eval(self, llama):
        settings = {"max_gen_toks": 6, "until": ["\n"], "repetition_penalty": 1.7}
        asked = [ask("cows", **settings), ask("cows", max_gen_toks=6, until=["\n"])]
        penalised, plain = written(llama, "0-4", *asked)
        assert [penalised] == PlannedLM(llama, "0-4").generate_until(asked[:1], disable_tqdm=True)
        assert [plain] == PlannedLM(llama, "0-4").generate_until(asked[1:], disable_tqdm=True)
        assert penalised != plain

    def test_a_prompt_longer_than_the_context_loses_its_beginning(self, llama, data):
        found = prepare(llama, ["gsm8k"], data, num_fewshot=0)
        assert found.truncated == 1
        assert max(batch.width for batch in found.prompts.batches) == 256 - 1

    def test_the_bar_reaches_its_end_also_when_texts_end_early(self, llama, data, monkeypatch):
        found = prepare(llama, TASKS, data, num_fewshot=0)
        calls = sum(len(plan.calls) for plan in PLANS)
        total = found.tokens * shared_calls(PLANS) + found.prompts.tokens * calls
        assert found.calls(PLANS) == total
        told: list[int] = []
        with progress.progress("outer", 0):
            monkeypatch.setattr(progress._open.get(), "update", told.append)
            evaluate(llama, PLANS, found)
        assert sum(told) == total
        assert min(told) >= 0

    def test_nothing_is_printed(self, llama, data, capfd):
        evaluate(llama, PLANS[:2], TASKS, data, limit=1, num_fewshot=0)
        assert capfd.readouterr() == ("", "")

    def test_its_time_can_be_judged(self, llama, data):
        found = prepare(llama, ["triviaqa"], data)
        assert not found.packs
        assert time_per_call(llama, found) > 0

    def test_documents_are_running_text(self, llama, data):
        assert prepare(llama, ["triviaqa"], data).texts[0] == "Question: who barks?\nAnswer:"
        assert prepare(llama, ["wikitext"], data).texts[2] == "one"


class TestCaches:
    def test_averaged_is_the_published_decoding(self, llama, data, tmp_path):
        tasks = stock_tasks(data, ["triviaqa"], tmp_path)
        found = prepare(llama, ["triviaqa"], data)
        texts = {}
        for cache in ("exact", "averaged"):
            stock = stock_results(llama, tasks, PARALLEL, cache=cache)
            texts[cache] = list(score(llama, [PARALLEL], found, cache=cache).texts[0])
            assert texts[cache] == stock_responses(stock, "triviaqa")
        assert texts["exact"] != texts["averaged"]

    def test_the_table_says_which_one_wrote_its_texts(self, llama, data):
        plans = {"intact": "0-5", "parallel": PARALLEL}
        exact = evaluate(llama, plans, ["triviaqa", "wikitext"], data)
        averaged = evaluate(llama, plans, ["triviaqa", "wikitext"], data, cache="averaged")
        assert tuple(exact) == ("label", "cache", *MEASURED)
        assert set(exact["cache"]) == {"exact"}
        assert set(averaged["cache"]) == {"averaged"}
        again = evaluate(llama, averaged, ["triviaqa"], data)
        assert set(again["cache"]) == {"exact"}

    def test_it_is_refused_where_no_text_is_written(self, llama, data):
        with pytest.raises(TaskError, match="cache='averaged' changes how texts are written, and"):
            evaluate(llama, PLANS, ["wikitext"], data, cache="averaged")

    def test_an_unknown_one_is_refused(self, llama, data):
        with pytest.raises(PlanError, match="cache='mean' is not one of exact, averaged"):
            evaluate(llama, PLANS, ["triviaqa"], data, cache="mean")

    def test_a_plan_without_one_is_refused_before_anything_is_written(
        self, tiny_folder, data, monkeypatch
    ):
        model = tiny.build("gemma3", torch.float32, tiny_folder)
        monkeypatch.setattr(HFLM, "generate_until", lambda *_, **__: pytest.fail("has written"))
        with pytest.raises(UnsupportedModelError, match="caches cannot be averaged"):
            evaluate(model, PLANS, ["triviaqa"], data, cache="averaged")


class TestRefusals:
    def refused(self, model: TransformerBridge, match: str, request: Instance) -> None:
        with pytest.raises(TaskError, match=match):
            prompts(lm_of(model), [request], rows=8)

    @pytest.mark.parametrize("settings", [{"do_sample": True}, {"temperature": 0.7}])
    def test_sampling(self, llama, settings):
        request = ask("cows", until=["\n"], **settings)
        if "temperature" in settings:
            request.args[1].pop("do_sample")
        self.refused(llama, r"task 'mine' samples its texts .* give a PlannedLM to", request)

    @pytest.mark.parametrize("given", [{}, {"until": []}])
    def test_a_text_without_an_end(self, llama, given):
        self.refused(llama, "neither where a text ends .until. nor how long", ask("a", **given))
        assert len(written(llama, "0-5", ask("a", max_gen_toks=4, **given))[0]) == 4

    @pytest.mark.parametrize("new", [0, 256, 1000])
    def test_a_text_that_leaves_no_room_for_its_prompt(self, llama, new):
        message = rf"asks for {new} new tokens; the model's context of 256 allows 1 to 255"
        self.refused(llama, message, ask("cows", until=["\n"], max_gen_toks=new))

    def test_pictures(self, llama):
        request = ask("cows", until=["\n"])
        request.arguments = (*request.arguments, {"visual": []})
        self.refused(llama, "task 'mine' shows images or sounds", request)

    def test_shots_without_a_training_split(self, llama, tmp_path):
        write(tmp_path, {"gsm8k/test": DATA["gsm8k/test"]})
        with pytest.raises(TaskError, match=r"'gsm8k': 5 shots would be drawn from the items"):
            prepare(llama, ["gsm8k"], tmp_path)
