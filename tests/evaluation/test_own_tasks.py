"""Tasks of a user's own: items at hand, YAML files of their own, prompts as chats."""

import json
import random
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any

import lm_eval
import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp.errors import TaskError
from painters_interp.evaluation import PlannedLM, prepare
from painters_interp.evaluation.harness import tasks
from painters_interp.evaluation.harness.process import quiet_lm_eval
from painters_interp.evaluation.harness.requests import definition
from painters_interp.evaluation.harness.tasks import load_tasks, task_manager

PLAN = "0-2 4-5"
ITEMS = [
    {"question": "Snow is", "choices": ["white", "red"], "gold": 0},
    {"question": "{{gold}} is", "choices": ["a key", "a metal", "a fish"], "gold": 1},
]
TEMPLATE = (
    "{% for turn in messages %}{{ '[' + turn['role'] + ']' + turn['content'] + '^' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> Any:
    model = tiny.build("llama", torch.float32, tiny_folder)
    model.tokenizer.chat_template = TEMPLATE
    return model


FACTOR = 1.0


def of_a_global(item: Any, made: int) -> float:
    return FACTOR


def around(factor: float) -> Any:
    def metric(item: Any, made: int) -> float:
        return factor

    return metric


def by_default(factor: float) -> Any:
    def metric(item: Any, made: int, factor: float = factor) -> float:
        return factor

    return metric


class Constant:
    """A metric that is an object."""

    __name__ = "metric"

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, item: Any, made: int) -> float:
        return self.factor

    def bound(self, item: Any, made: int) -> float:
        return self.factor


def typed(text: str) -> Any:
    """The metric that a text typed at a prompt, in no file, defines."""
    room: dict[str, Any] = {"__name__": "__main__"}
    exec(text, room)
    return room["metric"]


def inside(factor: float) -> Any:
    return typed(f"def metric(item, made):\n    return [one * {factor} for one in (1,)][0]")


def cached(factor: float) -> Any:
    return partial(_of, lru_cache(typed(f"def metric(made):\n    return {factor}")))


def _of(found: Any, item: Any, made: int) -> float:
    result: float = found(made)
    return result


def wrapped(factor: float) -> Any:
    @wraps(of_a_global)
    def metric(item: Any, made: int) -> float:
        return factor * of_a_global(item, made)

    return metric


def method(factor: float) -> Any:
    lines = ["class Metric:", " __name__ = 'metric'", f" def value(self): return {factor}"]
    lines += [" def __call__(self, item, made): return self.value()", "metric = Metric()"]
    return typed("\n".join(lines))


MADE = [around, by_default, Constant, lambda f: Constant(f).bound, inside, cached, wrapped, method]


@pytest.mark.parametrize("make", MADE)
def test_a_store_tells_metrics_by_what_they_find(llama: Any, tmp_path: Path, make: Any) -> None:
    for factor in (1.0, 2.0, 1.0):
        mine = painters.task("mine", ITEMS, metric=make(factor))
        table = painters.evaluate(llama, PLAN, mine, store=tmp_path)
        assert table["value"].tolist() == [factor] * 2


def test_a_store_sees_what_a_metric_names(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for factor in (1.0, 2.0):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        mine = painters.task("mine", ITEMS, metric=of_a_global)
        table = painters.evaluate(llama, PLAN, mine, store=tmp_path)
        assert table["value"].tolist() == [factor] * 2


def test_choices_that_a_task_shuffles_are_shuffled_as_the_seed_says(
    llama: Any, tmp_path: Path
) -> None:
    (tmp_path / "shuffled.yaml").write_text(
        "task: shuffled\ndataset_path: json\ntest_split: test\noutput_type: multiple_choice\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'items.jsonl'}}}}}\n"
        "process_docs: !function code.shuffled\n"
        "doc_to_text: '{{question}}'\ndoc_to_choice: choices\ndoc_to_target: 0\n"
    )
    (tmp_path / "code.py").write_text(
        "import random\n"
        "def shuffled(docs):\n"
        "    def one(doc):\n"
        "        return {**doc, 'choices': random.sample(doc['choices'], 9)}\n"
        "    return docs.map(one, load_from_cache_file=False)\n"
    )
    item = {"question": "Snow is", "choices": [*"abcdefghi"]}
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n")

    def asked(seed: int) -> list[str]:
        name = tmp_path / "shuffled.yaml"
        [task] = prepare(llama, name, seed=seed, trust=True).tasks
        return [instance.args[1] for instance in task.instances]

    before = random.getstate()
    first = asked(0)
    assert random.getstate() == before
    random.random()
    assert asked(0) == first != asked(1)


class TestItemsAtHand:
    def test_choices_are_scored_as_lm_eval_scores_them(self, llama: Any) -> None:
        questions = prepare(llama, painters.task("mine", ITEMS))
        assert [request.args for request in questions.tasks[0].instances] == [
            *(("Snow is", f" {choice}") for choice in ("white", "red")),
            *(("{{gold}} is", f" {choice}") for choice in ("a key", "a metal", "a fish")),
        ]
        table = painters.evaluate(llama, PLAN, questions)
        assert set(table["metric"]) == {"acc", "acc_norm"}
        assert table["chance"].tolist() == pytest.approx([5 / 12] * 4)

    @pytest.mark.parametrize("form", ["table", "file", "filtered"])
    def test_in_every_form(self, llama: Any, form: str, tmp_path: Path) -> None:
        given: Any = pd.DataFrame(ITEMS)
        if form == "file":
            given = tmp_path / "items.jsonl"
            given.write_text("".join(f"{json.dumps(item)}\n" for item in ITEMS))
        if form == "filtered":
            given = pd.DataFrame([ITEMS[0], *ITEMS], index=[7, 8, 9])[1:]
        [one], [other] = (load_tasks([painters.task("mine", form)]) for form in (given, ITEMS))
        assert [i.args for i in one.instances] == [i.args for i in other.instances]

    def test_a_function_of_what_was_written_is_averaged(self, llama: Any) -> None:
        items = [{"question": "abc", "answer": "x", "weight": 2}]
        items += [{"question": "de", "answer": "y", "weight": 4}]

        def weight(item: dict[str, Any], text: str) -> float:
            assert isinstance(text, str)
            return item["weight"]

        mine = painters.task("mine", items, "generate_until", weight, max_new_tokens=2)
        table = painters.evaluate(llama, PLAN, mine)
        assert table[["metric", "value"]].to_numpy().tolist() == [["weight", 3.0]] * 2

    def test_the_index_of_the_choice_and_loglikelihoods_are_told(self, llama: Any) -> None:
        told = []

        def tell(item: dict[str, Any], made: Any) -> float:
            told.append(made)
            return 0.0

        text = {"context": "abc", "target": "de", "text": "abc de"}
        painters.evaluate(llama, "0-5", painters.task("a", ITEMS, metric=tell))
        for kind in ("loglikelihood", "loglikelihood_rolling"):
            painters.evaluate(llama, "0-5", painters.task(kind, [text], kind, tell))
        assert [type(made) for made in told] == [int, int, float, float]
        assert told[2] < 0 > told[3]

    def test_a_target_is_set_apart_by_one_space(self) -> None:
        texts = [("abc", "de"), ("abc ", "de"), ("abc", " de"), ("", "de")]
        items = [{"context": context, "target": target} for context, target in texts]
        [task] = load_tasks([painters.task("mine", items, "loglikelihood")])
        assert [i.args[1] for i in task.instances] == [" de", "de", " de", "de"]

    def test_shots_come_from_the_examples_alone(self) -> None:
        mine = painters.task("mine", ITEMS, examples=ITEMS[:1])
        [task] = load_tasks([mine], num_fewshot=1)
        assert task.instances[2].args[0] == "Snow is white\n\n{{gold}} is"
        with pytest.raises(TaskError, match="1 shots would be drawn from the items"):
            load_tasks([painters.task("mine", ITEMS)], num_fewshot=1)

    def test_another_metric_is_not_read_from_the_store(self, llama: Any, tmp_path: Path) -> None:
        for value in (1.0, 2.0):
            mine = painters.task("mine", ITEMS, metric=_constant(value))
            table = painters.evaluate(llama, PLAN, mine, store=tmp_path)
            assert table["value"].tolist() == [value, value]

    def test_functions_that_call_each_other_are_told_once_each(self) -> None:
        """Forty of them, each of which calls all before it: no path is walked twice."""

        def web(last: str) -> Any:
            room: dict[str, Any] = {}
            for place in range(40):
                calls = " + ".join(f"f{before}()" for before in range(place)) or last
                exec(f"def f{place}(*args):\n    return {calls}", room)
            return painters.task("mine", ITEMS, metric=room["f39"])

        [one], [same], [other] = (load_tasks([web(last)]) for last in ("1", "1", "2"))
        assert definition(one) == definition(same) != definition(other)

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ("Snow", "item 1 is 'Snow'; each is a dict"),
            ({"question": "a", "gold": 0}, "item 1 has no 'choices'"),
            (ITEMS[0] | {"question": None}, "item 1: 'question' is None, and no text"),
            (ITEMS[0] | {"choices": "white"}, "item 1: 'choices' is 'white'; give two texts"),
            (ITEMS[0] | {"gold": "white"}, "item 1: 'gold' is 'white'; give the index"),
            (ITEMS[0] | {"gold": float("nan")}, "item 1: 'gold' is nan; give the index"),
            (ITEMS[0] | {"gold": 2}, "item 1: 'gold' is 2; there are choices 0 to 1"),
        ],
    )
    def test_what_is_no_item_is_named(self, item: Any, message: str) -> None:
        with pytest.raises(TaskError, match=message):
            painters.task("mine", [ITEMS[0], item])

    def test_what_else_is_wrong_is_said(self, llama: Any, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match="kind 'choice' is not one of multiple_choice"):
            painters.task("mine", ITEMS, "choice")
        with pytest.raises(TaskError, match="lm-eval has no metric 'accuracy'"):
            painters.task("mine", ITEMS, metric="accuracy")
        with pytest.raises(TaskError, match="has no items"):
            painters.task("mine", [])
        with pytest.raises(TaskError, match=r"its items cannot be read: .*no such"):
            painters.task("mine", tmp_path / "no such")
        with pytest.raises(TaskError, match=r"is no task; .*painters\.task\(name, items\)"):
            load_tasks([{"task": "mine"}])
        with pytest.raises(TaskError, match=r"a table is no task; .*painters\.task\(name, items\)"):
            painters.evaluation.prepare(llama, pd.DataFrame(ITEMS))
        with pytest.raises(TaskError, match="two tasks are called 'mine'"):
            load_tasks([painters.task("mine", ITEMS) for _ in range(2)])


def _constant(value: float) -> Any:
    if value == 1.0:

        def metric(item: dict[str, Any], choice: int) -> float:
            return 1.0

    else:

        def metric(item: dict[str, Any], choice: int) -> float:
            return 2.0

    return metric


YAML = """
task: {name}
dataset_path: nowhere
output_type: multiple_choice
test_split: test
doc_to_text: {text}
doc_to_choice: choices
doc_to_target: gold
"""


def included(folder: Path, name: str, text: str = "question", more: str = "") -> Path:
    data = folder / "data" / name
    data.mkdir(parents=True, exist_ok=True)
    (data / "test.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in ITEMS))
    (folder / f"{name}.yaml").write_text(YAML.format(name=name, text=text) + more)
    return folder


class TestFoldersOfTasks:
    def test_a_task_in_one_is_found(self, llama: Any, tmp_path: Path) -> None:
        included(tmp_path, "mine")
        asked = {"include": tmp_path, "data": tmp_path / "data"}
        table = painters.evaluate(llama, PLAN, "mine", **asked)
        own = painters.evaluate(llama, PLAN, painters.task("mine", ITEMS))
        assert table["value"].tolist() == own["value"].tolist()

    @pytest.mark.parametrize(
        ("text", "more", "message"),
        [
            ("!function code.text", "", r"names the function code\.text"),
            ("question", "process_results: !function code.text", "names the function"),
            ("question", "include: base.yaml", r"base\.yaml names the function"),
            ("question", "dataset_kwargs: {trust_remote_code: true}", "sets trust_remote_code"),
            ("question", "metric_list: [{metric: x, hf_evaluate: true}]", "sets hf_evaluate"),
            ('"{{question.__class__}}"', "", "a template that reaches into objects"),
        ],
    )
    def test_code_runs_only_when_trusted(
        self, text: str, more: str, message: str, tmp_path: Path
    ) -> None:
        included(tmp_path, "mine", text, more)
        (tmp_path / "base.yaml").write_text("process_docs: !function code.text\n")
        (tmp_path / "code.py").write_text("raise SystemExit('ran')")
        with pytest.raises(TaskError, match=message) as error:
            load_tasks(["mine"], tmp_path / "data", include=tmp_path)
        assert "--trust" in str(error.value)

    def test_the_path_of_a_file_is_a_task(self, tmp_path: Path) -> None:
        included(tmp_path, "mine")
        included(tmp_path, "other", "!function code.text")
        [task] = load_tasks([str(tmp_path / "mine.yaml")], tmp_path / "data")
        assert task.config.task == "mine"
        with pytest.raises(TaskError, match="names the function"):
            load_tasks([str(tmp_path / "other.yaml")], tmp_path / "data")
        with pytest.raises(TaskError, match="cannot be read as the YAML of a task"):
            load_tasks([str(tmp_path / "none.yaml")])

    def test_trusted_code_runs(self, tmp_path: Path) -> None:
        included(tmp_path, "mine", "!function code.text")
        (tmp_path / "code.py").write_text("def text(doc): return doc['question'].upper()")
        [task] = load_tasks(["mine"], tmp_path / "data", include=tmp_path, trust=True)
        assert task.instances[0].args[0] == "SNOW IS"

    def test_a_folder_that_is_none_and_a_file_that_is_no_yaml(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Without lm-eval's own, which take long to read.
        few = task_manager(everything=False)
        monkeypatch.setattr(tasks, "_with", lambda folders, names: few)
        with pytest.raises(TaskError, match="is no folder of tasks"):
            load_tasks(["mine"], include=tmp_path / "none")
        (tmp_path / "mine.yaml").write_text("task: [")
        with pytest.raises(TaskError, match=r"no task 'mine'.*mine\.yaml cannot be read"):
            load_tasks(["mine"], include=[tmp_path])

    def test_it_changes_how_tasks_are_prepared_not_what_is(self, llama: Any) -> None:
        questions = prepare(llama, painters.task("mine", ITEMS))
        with pytest.raises(TaskError, match="chat=True applies before tasks are prepared"):
            painters.evaluate(llama, PLAN, questions, chat=True)


class TestChats:
    def test_prompts_and_scores_are_lm_evals(self, llama: Any) -> None:
        names = ["probe_facts", "probe_cloze"]
        with quiet_lm_eval():
            stock = lm_eval.simple_evaluate(
                model=PlannedLM(llama, PLAN),
                tasks=names,
                limit=3,
                apply_chat_template=True,
                task_manager=task_manager(everything=False),
                bootstrap_iters=0,
            )
        table = painters.evaluate(llama, PLAN, names, limit=3, chat=True)
        plain = painters.evaluate(llama, PLAN, names, limit=3)
        ours = table[table["plan"] == "0-2 4 5"].set_index(["task", "metric"])["value"]
        assert len(ours) == 4
        for (task, metric), value in ours.items():
            assert value == pytest.approx(stock["results"][task][f"{metric},none"], rel=1e-4)
        assert not table["value"].equals(plain["value"])

    def test_shots_are_turns(self, llama: Any) -> None:
        mine = painters.task("mine", ITEMS, examples=ITEMS[:1])
        questions = prepare(llama, mine, num_fewshot=1, chat=True)
        assert questions.tasks[0].instances[2].args == (
            "[user]Snow is^[assistant]white^[user]{{gold}} is^[assistant]",
            "a key",
        )

    def test_without_a_template_it_is_refused(self, tiny_folder: Path) -> None:
        model = tiny.build("llama", torch.float32, tiny_folder)
        with pytest.raises(TaskError, match="has no chat template; leave --chat"):
            prepare(model, "probe_facts", chat=True)
