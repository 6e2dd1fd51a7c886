"""Evaluation: lm-eval's own numbers, for every plan, in one table."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from huggingface_hub import constants as hub
from lm_eval.api.metrics import mean_stderr
from lm_eval.evaluator import evaluate as lm_eval_evaluate
from lm_eval.models.huggingface import HFLM
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, evaluate, experiments, progress
from painters_interp import strategies as s
from painters_interp.errors import PlanError, TableError, TaskError, UnsupportedModelError
from painters_interp.evaluation import PROBES, Questions, prepare
from painters_interp.evaluation.harness.process import quiet_lm_eval
from painters_interp.evaluation.harness.tasks import load_tasks, task_manager
from painters_interp.evaluation.questions import Request
from painters_interp.evaluation.scoring import score
from painters_interp.execution import ROWS, score_targets
from painters_interp.plans import shared_calls
from painters_interp.tables import MEASURED

N = tiny.N_LAYERS
PLANS = [
    s.full(N),
    s.swap(N, 1, 2),
    Plan.parse("0 (1-4)*2 5", N),
    Plan.parse("0-2 (3|4)@sum 5@0.5*2", N),
]


def arc(question: str, key: str, *choices: str) -> dict[str, Any]:
    labels = list("ABCDE"[: len(choices)])
    options = {"text": list(choices), "label": labels}
    return {"question": question, "choices": options, "answerKey": key}


def piqa(goal: str, sol1: str, sol2: str, label: int) -> dict[str, Any]:
    return {"goal": goal, "sol1": sol1, "sol2": sol2, "label": label}


def winogrande(sentence: str, option1: str, option2: str, answer: str) -> dict[str, Any]:
    return {"sentence": sentence, "option1": option1, "option2": option2, "answer": answer}


def hellaswag(ctx_a: str, ctx_b: str, label: str, *endings: str) -> dict[str, Any]:
    context = {"activity_label": "Cooking", "ctx_a": ctx_a, "ctx_b": ctx_b}
    return context | {"endings": list(endings), "label": label}


# In the layout of the hub's own data sets: folder, file, items.
DATA = {
    "arc_easy/test": [
        arc("what melts ice?", "A", "heat", "cold", "dark", "rain"),
        arc("what do cows eat?", "B", "stones", "grass", "iron"),
        arc("which is a metal?", "C", "wood", "glass", "iron", "clay", "wool"),
        arc("what is wet?", "D", "sand", "dust", "ash", "water"),
        arc("which letter comes first?", "A", "A", "B", "C", "D"),
        arc("which is hot?", "B", "the moon", "the sun", "ice", "snow"),
    ],
    "arc_easy/train": [
        arc("who barks?", "A", "a dog", "a fish", "a cow"),
        arc("who swims?", "B", "a dog", "a fish", "a cow"),
        arc("who moos?", "C", "a dog", "a fish", "a cow"),
        arc("who sings?", "D", "a dog", "a fish", "a cow", "a bird"),
    ],
    "lambada_openai/test": [
        {"text": "the cat sat on the mat and the dog sat on the rug beside the cat"},
        {"text": "she opened the door and saw her brother and ran to her brother"},
        {"text": "it rained all day and so the river rose and we could not cross the river"},
        {"text": "alone"},  # nothing before the last word: an empty context
        {"text": "a long way " * 26 + "home"},  # longer than the tiny models' context of 256
        {"text": "he took the ball and threw the ball"},
    ],
    "piqa/validation": [
        piqa("open a jar", "turn the lid", "bite the glass", 0),
        piqa("dry a shirt", "put it in water", "hang it in the sun", 1),
        piqa("cut bread", "use a knife", "use a spoon", 0),
        piqa("light a fire", "use a match", "use a cup of milk", 0),
        piqa("cool tea", "boil it", "wait", 1),
    ],
    "winogrande/validation": [
        winogrande("the cup did not fit in the box because the _ was big.", "cup", "box", "1"),
        winogrande("ann helped may so _ said thanks.", "ann", "may", "2"),
        winogrande("tom ran from the bee since the _ was mad.", "man", "bee", "2"),
        winogrande("the rope beat the string because the _ was thick.", "rope", "string", "1"),
    ],
    "hellaswag/validation": [
        hellaswag("a man cuts an onion.", "he", "1", "flies away.", "cries [a lot].", "sings."),
        hellaswag("a pan is on the stove.", "the oil", "0", "gets hot.", "swims.", "barks."),
        hellaswag("a girl stirs soup.", "she", "2", "eats the pot.", "sleeps.", "tastes it."),
        hellaswag("dough lies on a table.", "someone", "0", "rolls it.", "paints.", "runs."),
        hellaswag("water boils.", "the rice", "1", "talks.", "goes in.", "drives off."),
    ],
    "mmlu_anatomy/test": [
        {"question": "how many hands?", "choices": ["1", "2", "3", "4"], "answer": 1},
        {"question": "how many noses?", "choices": ["1", "2", "3", "4"], "answer": 0},
    ],
    "mmlu_anatomy/dev": [
        {"question": "how many toes?", "choices": ["5", "10", "15", "20"], "answer": 1}
    ],
}
TASKS = ["arc_easy", "lambada_openai", "winogrande", "piqa"]


def write(folder: Path, data: dict[str, list[dict[str, Any]]]) -> Path:
    for name, items in data.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), DATA)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def questions(llama: TransformerBridge, data: Path) -> Questions:
    return prepare(llama, TASKS, data)


# What stock lm-eval says


@pytest.fixture(scope="module")
def lm_eval_tasks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """Load tasks as lm-eval does, local data included, without any code of ours but the probes."""

    def local(name: str) -> dict[str, Any]:
        if name in PROBES:
            return {"task": name}
        files = {path.stem: str(path) for path in (data / name).glob("*.jsonl")}
        changes = {"task": name, "dataset_path": "json", "dataset_name": None}
        changes["dataset_kwargs"] = {"data_files": files}
        if "train" not in files:
            changes["training_split"] = None
        if name == "arc_easy":
            changes["validation_split"] = None
        return changes

    def load(*names: str) -> dict[str, Any]:
        with quiet_lm_eval():
            group = {"group": "local", "task": [local(name) for name in names]}
            return dict(task_manager(everything=True).load([group]))

    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
        yield load


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def compared(
    request: pytest.FixtureRequest,
    tiny_folder: Path,
    data: Path,
    lm_eval_tasks: Callable,
) -> dict[str, Any]:
    """The same tasks and plans through lm-eval's HFLM under `applied`, and through ours."""
    names = [*TASKS, "hellaswag", "mmlu_anatomy", "probe_grammar"]
    model = tiny.build(request.param, torch.float32, tiny_folder)
    tasks = lm_eval_tasks(*names)
    stock = []
    for plan in PLANS:
        with quiet_lm_eval(), applied(model, plan):
            lm = HFLM(pretrained=model.original_model, tokenizer=model.tokenizer, batch_size=16)
            stock.append(lm_eval_evaluate(lm=lm, task_dict=tasks, limit=6, bootstrap_iters=0))
    questions = prepare(model, names, data, limit=6)
    return {
        "stock": stock,
        "questions": questions,
        "answers": score(model, PLANS, questions),
        "table": evaluate(model, PLANS, questions),
    }


def responses(results: dict[str, Any]) -> list[tuple[float, bool]]:
    """(log-likelihood, is greedy) of every request of lm-eval's results, tasks in order."""
    samples = [sample for task in results["samples"].values() for sample in task]
    return [answer for sample in samples for [answer] in sample["resps"]]


class TestAgainstLmEval:
    """The oracle: for every plan the same numbers as lm-eval's own HFLM inside `applied`."""

    def test_loglikelihoods_of_every_request(self, compared):
        tokens = np.array([len(r.continuation) for r in compared["questions"].requests])
        for ours, results in zip(compared["answers"].loglikelihood, compared["stock"], strict=True):
            stock = np.array([value for value, _ in responses(results)])
            assert np.isfinite(ours).all()
            assert ours.shape == stock.shape == (83,)
            assert (abs(ours - stock) <= np.minimum(1e-4 * tokens, 1e-3)).all()

    def test_greedy_flags_of_every_request(self, compared):
        for ours, results in zip(compared["answers"].greedy, compared["stock"], strict=True):
            assert ours.tolist() == [greedy for _, greedy in responses(results)]

    def test_every_metric_of_every_task(self, compared):
        table = compared["table"].set_index(["plan", "task", "metric"])
        seen = 0
        for plan, results in zip(PLANS, compared["stock"], strict=True):
            for task, found in results["results"].items():
                for key, value in found.items():
                    name, comma, _ = key.partition(",")
                    if not comma or name.endswith("_stderr"):
                        continue
                    row = table.loc[(str(plan), task, name)]
                    seen += 1
                    # Accuracies are counts, equal or wrong; a perplexity is a sum of floats.
                    exact = {"rel": 1e-5} if name == "perplexity" else {"abs": 1e-12}
                    assert row["value"] == pytest.approx(value, **exact)
                    assert row["n"] == results["n-samples"][task]["effective"]
                    assert row["version"] == str(results["versions"][task])
                    assert row["higher_is_better"] == results["higher_is_better"][task][name]
        assert seen == len(table) == 4 * 11

    def test_standard_errors_are_lm_evals(self, compared):
        table = compared["table"].set_index(["plan", "task", "metric"])["stderr"]
        for plan, results in zip(PLANS, compared["stock"], strict=True):
            for task, samples in results["samples"].items():
                expected = mean_stderr([sample["acc"] for sample in samples])
                assert table[str(plan), task, "acc"] == pytest.approx(expected)
        # lm-eval has no formula for these; ours is the bootstrap's, see test_items.
        assert table[:, "lambada_openai", "perplexity"].gt(0).all()

    def test_the_plans_differ_so_that_agreement_means_something(self, compared):
        values = compared["answers"].loglikelihood
        for i in range(len(PLANS)):
            for j in range(i):
                assert abs(values[i] - values[j]).mean() > 0.05

    @pytest.mark.parametrize("seed", [0, 7])
    def test_shots_and_their_order(self, data, lm_eval_tasks, seed):
        [stock] = lm_eval_tasks("arc_easy")["tasks"].values()
        stock.set_config("num_fewshot", 2)
        stock.set_fewshot_seed(seed)
        with quiet_lm_eval():
            stock.build_all_requests()
        [ours] = load_tasks(["arc_easy"], data, num_fewshot=2, seed=seed)
        assert [i.args for i in ours.instances] == [i.args for i in stock.instances]


# Requests


def contexts(task: Any) -> list[str]:
    return [instance.args[0] for instance in task.instances]


class TestRequests:
    def test_choices_of_one_token_share_one_sequence(self, llama, data):
        found = prepare(llama, ["mmlu_anatomy"], data)
        # " A" to " D" are a space and a letter, and the last token predicts nothing.
        assert len(found.requests) == 8
        assert len(found.sequences) == found.items == 2
        assert [r.sequence for r in found.requests] == [0] * 4 + [1] * 4

    def test_longer_choices_have_a_sequence_each(self, llama, data):
        found = prepare(llama, ["piqa"], data)
        assert len(found.requests) == len(found.sequences) == 10

    def test_an_empty_context_is_the_beginning_of_text(self, llama, data):
        found = prepare(llama, ["lambada_openai"], data)
        word = tuple(llama.tokenizer.encode(" alone", add_special_tokens=False))
        request = found.requests[3]
        assert request.continuation == word
        assert found.sequences[request.sequence] == (llama.tokenizer.bos_token_id, *word[:-1])

    def test_a_text_longer_than_the_context_loses_its_beginning(self, llama, data):
        found = prepare(llama, ["lambada_openai"], data)
        cut = found.sequences[found.requests[4].sequence]
        assert found.truncated == 1
        assert len(cut) == 256
        assert llama.tokenizer.decode(cut).endswith("a long way hom")

    def test_a_continuation_longer_than_the_context_is_refused(self, llama, tmp_path):
        write(tmp_path, {"lambada_openai/test": [{"text": "say " + "x" * 300}]})
        with pytest.raises(TaskError, match=r"continuation ' x+' has 301 tokens; 1 to 256 can be"):
            prepare(llama, ["lambada_openai"], tmp_path)

    def test_packs_hold_every_sequence_once(self, questions):
        indices = [index for pack in questions.packs for index in pack]
        assert sorted(indices) == list(range(len(questions.sequences)))

    def test_what_the_choices_of_an_item_share_is_scored_once(self, questions):
        assert questions.layout is not ROWS
        beginnings = {s[:k] for s in questions.sequences for k in range(1, len(s) + 1)}
        assert len(beginnings) <= questions.tokens < sum(map(len, questions.sequences))

    def test_items_are_documents_not_requests(self, questions):
        assert questions.items == 6 + 6 + 4 + 5

    def test_the_models_own_continuation_is_greedy_and_another_is_not(self, llama, monkeypatch):
        plan = PLANS[2]
        start = tuple(tiny.tokens(1, 9)[0].tolist())
        tokens = list(start)
        with torch.no_grad(), applied(llama, plan):
            for _ in range(3):
                tokens.append(int(llama(torch.tensor([tokens]))[0, -1].argmax()))
            logprobs = llama(torch.tensor([tokens]))[0, 8:-1].log_softmax(-1)
        greedy = tuple(tokens[-3:])
        other = (*greedy[:2], greedy[2] + 1)
        requests = (Request(0, greedy), Request(0, other), Request(0, greedy[2:]))
        asked = Questions((), (tuple(tokens[:-1]),), requests, ((0,),), ROWS, cut=(), seed=0)
        read = []
        monkeypatch.setattr(
            "painters_interp.evaluation.scoring.score_targets",
            lambda *args: read.append(args[3].tolist()) or score_targets(*args),
        )
        answers = score(llama, [plan], asked)
        assert read == [[[0, 8], [0, 9], [0, 10]]], "each row goes through the head once"
        assert answers.greedy.tolist() == [[True, False, True]]
        expected = [logprobs[range(3), list(request)].sum().item() for request in (greedy, other)]
        expected.append(logprobs[2, greedy[2]].item())
        assert answers.loglikelihood[0].tolist() == pytest.approx(expected, abs=1e-5)


class TestItemsAndShots:
    def test_all_items_unless_limited(self, data):
        [task] = load_tasks(["piqa"], data)
        assert len(task.instances) == 2 * 5

    def test_limit_is_a_number_of_items_or_below_1_a_share(self, data):
        arc_easy, piqa = load_tasks(["arc_easy", "piqa"], data, limit=3)
        assert [len({i.doc_id for i in t.instances}) for t in (arc_easy, piqa)] == [3, 3]
        [task] = load_tasks(["piqa"], data, limit=0.5)
        assert len(task.instances) == 2 * 3  # rounded up, as lm-eval does

    def test_no_shots_unless_asked_for(self, data):
        load_tasks(["arc_easy"], data, num_fewshot=2)  # leaves nothing behind
        [task] = load_tasks(["arc_easy"], data)
        assert contexts(task)[0] == "Question: what melts ice?\nAnswer:"

    def test_shots_come_from_the_training_split(self, data):
        [task] = load_tasks(["arc_easy"], data, num_fewshot=2)
        for context in contexts(task):
            *shots, _ = context.split("\n\n")
            assert len(shots) == 2
            assert all(shot.startswith("Question: who ") for shot in shots)

    def test_shots_come_from_the_split_that_the_task_names_for_them(self, data):
        [task] = load_tasks(["mmlu_anatomy"], data, num_fewshot=1)
        assert all("how many toes?" in context for context in contexts(task))

    def test_the_seed_draws_the_shots(self, data):
        drawn = [
            contexts(load_tasks(["arc_easy"], data, num_fewshot=2, seed=seed)[0])
            for seed in (0, 0, 1)
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_a_task_that_declares_zero_shots_keeps_zero(self):
        plain, asked = (load_tasks(PROBES[1:2], num_fewshot=n, limit=2) for n in (None, 3))
        assert contexts(plain[0]) == contexts(asked[0])

    def test_a_task_asked_for_twice_is_loaded_once(self, data):
        tasks = load_tasks(["piqa", "arc_easy", "piqa"], data)
        assert [task.config.task for task in tasks] == ["piqa", "arc_easy"]

    def test_changed_data_are_read_again(self, tmp_path):
        for text in ("one two", "three four"):
            write(tmp_path, {"lambada_openai/test": [{"text": text}]})
            [task] = load_tasks(["lambada_openai"], tmp_path)
            assert contexts(task) == [text.split()[0]]


# The table


def one_value(table: pd.DataFrame, **labels: object) -> float:
    for column, value in labels.items():
        table = table[table[column] == value]
    [value] = table["value"]
    return float(value)


class TestTable:
    def test_columns_are_the_documented_ones_after_the_labels(self, llama, questions):
        assert tuple(evaluate(llama, PLANS[:1], questions)) == MEASURED
        named = evaluate(llama, {"intact": PLANS[0]}, questions)
        assert tuple(named) == ("label", *MEASURED)

    def test_every_row_says_what_produced_it(self, llama, data):
        table = evaluate(llama, ["5-0"], ["piqa"], data, seed=3, intact=False)
        facts = table[["model", "dtype", "plan", "task", "version", "seed"]]
        assert facts.drop_duplicates().to_dict("records") == [
            {
                "model": "tiny-llama",
                "dtype": "float32",
                "plan": "5-0",
                "task": "piqa",
                "version": "1.0",
                "seed": 3,
            }
        ]
        assert table["metric"].tolist() == ["acc", "acc_norm"]
        assert table["n"].tolist() == [5, 5]

    def test_plans_are_written_canonically(self, llama, questions):
        table = evaluate(llama, ["0 1 2 3 4 5"], questions)
        assert set(table["plan"]) == {"0-5"}

    def test_names_and_prepared_questions_give_the_same_table(self, llama, data, questions):
        by_name = evaluate(llama, PLANS, TASKS, data)
        pd.testing.assert_frame_equal(by_name, evaluate(llama, PLANS, questions))

    def test_every_label_has_its_rows_also_where_plans_are_equal(self, llama, questions):
        named = {"intact": "0-5", "same": s.full(N), "reversed": "5-0"}
        table = evaluate(llama, named, questions)
        alone = evaluate(llama, ["5-0"], questions, intact=False)
        assert table["label"].value_counts().to_dict() == dict.fromkeys(named, len(alone))
        for task, metric in alone[["task", "metric"]].itertuples(index=False):
            row = {"task": task, "metric": metric}
            assert one_value(table, label="intact", **row) == one_value(table, label="same", **row)
            # Shared prefixes do not change what a plan scores.
            assert one_value(table, label="reversed", **row) == one_value(alone, **row)

    def test_a_list_may_hold_a_plan_twice(self, llama, questions):
        once, twice = (evaluate(llama, ["5-0"] * n, questions, intact=False) for n in (1, 2))
        assert len(twice) == 2 * len(once)

    def test_an_experiments_labels_stay(self, llama, data):
        plans = experiments.variants(N, firsts=[0], seeds=1)
        table = evaluate(llama, plans, ["winogrande"], data)
        assert list(table.columns) == [*(c for c in plans if c != "plan"), *MEASURED]
        pd.testing.assert_frame_equal(table[plans.columns], plans.reset_index(drop=True))

    def test_a_result_table_can_be_evaluated_again(self, llama, data):
        first = evaluate(llama, {"intact": "0-5", "back": "5-0"}, ["piqa"], data)
        again = evaluate(llama, first, ["winogrande"], data)
        assert again[["label", "task"]].to_numpy().tolist() == [
            ["intact", "winogrande"],
            ["back", "winogrande"],
        ]

    def test_chance_is_one_over_the_number_of_choices(self, llama, data, questions):
        table = evaluate(llama, PLANS[:1], questions).set_index(["task", "metric"])["chance"]
        assert table["piqa", "acc"] == table["winogrande", "acc"] == 0.5
        expected = np.mean([1 / n for n in (4, 3, 5, 4, 4, 4)])
        assert table["arc_easy", "acc"] == table["arc_easy", "acc_norm"] == pytest.approx(expected)
        assert table["lambada_openai", "acc"] == 0
        assert math.isnan(table["lambada_openai", "perplexity"])

    def test_missing_numbers_are_nan_in_a_column_of_floats(self, llama, data):
        table = evaluate(llama, PLANS[:1], ["lambada_openai"], data, limit=1)
        assert table["stderr"].isna().all()
        assert table[["value", "stderr", "chance"]].dtypes.eq(float).all()

    def test_probes_need_no_data(self, llama):
        table = evaluate(llama, PLANS[:2], PROBES, limit=2)
        assert set(table["task"]) == set(PROBES)


class TestOneBar:
    def test_nothing_is_printed(self, llama, data, capfd):
        evaluate(llama, PLANS[:2], [*TASKS, "hellaswag", *PROBES], data, limit=2)
        assert capfd.readouterr() == ("", "")

    def test_it_counts_token_layer_calls_up_to_the_calls_that_plans_share(
        self, llama, questions, monkeypatch
    ):
        told: list[int] = []
        with progress.progress("outer", 0):
            monkeypatch.setattr(progress._open.get(), "update", told.append)
            evaluate(llama, PLANS, questions)
        assert sum(told) == questions.tokens * shared_calls(PLANS)


class TestRefusals:
    def test_an_unknown_task_gets_suggestions(self, llama):
        with pytest.raises(TaskError, match=r"no task 'arc_eazy'; did you mean .*arc_easy"):
            prepare(llama, ["arc_eazy"])

    def test_no_tasks(self, llama):
        with pytest.raises(TaskError, match="tasks must be a list of at least one task name"):
            prepare(llama, [])

    def test_a_folder_without_the_task(self, tmp_path):
        message = rf"task 'piqa' is scored on {tmp_path}/piqa/validation.jsonl, which does not"
        with pytest.raises(TaskError, match=message):
            load_tasks(["piqa"], tmp_path)

    def test_a_folder_without_the_split_that_is_scored(self, tmp_path):
        write(tmp_path, {"arc_easy/validation": DATA["arc_easy/test"]})
        with pytest.raises(TaskError, match=r"is scored on .*arc_easy/test.jsonl"):
            load_tasks(["arc_easy"], tmp_path)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "validation.jsonl has no items"),
            ('{"goal": 1}\nno json\n', "validation.jsonl, line 2 is no JSON object"),
            ('["a list"]\n', "validation.jsonl, line 1 is no JSON object"),
            ('{"question": "another layout"}\n', "'goal' is undefined"),
        ],
    )
    def test_data_that_cannot_be_read(self, tmp_path, text, reason):
        (tmp_path / "piqa").mkdir()
        (tmp_path / "piqa" / "validation.jsonl").write_text(text)
        message = rf"task 'piqa': its data could not be read from the folder .*piqa \({reason}\)"
        with pytest.raises(TaskError, match=message):
            load_tasks(["piqa"], tmp_path)

    def test_an_item_of_another_layout_further_down(self, tmp_path):
        items = [*DATA["arc_easy/test"][:2], arc("whose key is missing?", "Z", "a", "b")]
        write(tmp_path, {"arc_easy/test": items})
        message = r"task 'arc_easy': its requests cannot be built .*'Z' is not in list"
        with pytest.raises(TaskError, match=message):
            load_tasks(["arc_easy"], tmp_path)

    def test_a_group_with_local_data(self, data):
        with pytest.raises(TaskError, match="'ai2_arc' is a group of tasks; with local data, name"):
            load_tasks(["ai2_arc"], data)

    def test_shots_without_a_training_split(self, data):
        message = r"'piqa': 2 shots would be drawn from the items that are scored.*train\.jsonl"
        with pytest.raises(TaskError, match=message):
            load_tasks(["piqa"], data, num_fewshot=2)

    def test_more_shots_than_there_are(self, data):
        message = r"'arc_easy': its requests cannot be built with 9 shots \(Sample larger than"
        with pytest.raises(TaskError, match=message):
            load_tasks(["arc_easy"], data, num_fewshot=9)

    @pytest.mark.parametrize("limit", [0, -1, 0.0])
    def test_a_limit_that_leaves_nothing(self, data, limit):
        with pytest.raises(TaskError, match=rf"'piqa': limit {limit} leaves no items"):
            load_tasks(["piqa"], data, limit=limit)

    def test_a_masked_language_model(self, tiny_folder):
        bert = tiny.build("bert", torch.float32, tiny_folder)
        with pytest.raises(UnsupportedModelError, match="tiny-bert is a masked language model"):
            prepare(bert, PROBES[:1])

    @pytest.mark.parametrize("plans", [[], {}])
    def test_no_plans(self, llama, questions, plans):
        with pytest.raises(PlanError, match="no plans; give at least one"):
            evaluate(llama, plans, questions)

    def test_a_table_without_plans(self, llama, questions):
        with pytest.raises(TableError, match="lacks the columns plan; it has label"):
            evaluate(llama, pd.DataFrame({"label": ["intact"]}), questions)

    def test_a_plan_for_another_depth(self, llama, questions):
        with pytest.raises(PlanError, match="is for 7 layers, not 6"):
            evaluate(llama, [s.full(7)], questions)


class TestWithoutANetwork:
    MESSAGE = (
        r"task 'hellaswag': its data could not be read from the hub and its local cache \(.*\)\. "
        r"Give a folder of local copies with --data \(data=\), or use a built-in task: probe_cloze"
    )

    def assert_fails(self, capfd: pytest.CaptureFixture) -> None:
        with pytest.raises(TaskError, match=self.MESSAGE):
            load_tasks(["hellaswag"])
        assert capfd.readouterr() == ("", "")

    def test_declared_by_the_environment(self, capfd, connections):
        assert hub.HF_HUB_OFFLINE
        self.assert_fails(capfd)
        assert connections == []

    def test_found_out_by_asking_the_hub_once(self, capfd, monkeypatch, connections):
        monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        self.assert_fails(capfd)
        assert connections == [("127.0.0.1", 9)]
        assert not hub.HF_HUB_OFFLINE
        assert not datasets.config.HF_HUB_OFFLINE

    def test_local_data_and_probes_do_not_ask_it(self, data, monkeypatch):
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            "painters_interp.evaluation.harness.process.hub_answers", lambda: pytest.fail("asked")
        )
        load_tasks(["piqa", *PROBES], data, limit=1)
        load_tasks(PROBES, limit=1)
