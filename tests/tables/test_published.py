"""Samples that lm-eval itself has logged, read, summarised and compared; and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from lm_eval.loggers import EvaluationTracker
from local_tasks import stock_metrics, stock_results, stock_tasks, write

from painters_interp import evaluate
from painters_interp.errors import TableError
from painters_interp.tables.items import compare, from_lm_eval, summarise

PLANS = {"intact": "0-5", "skipping": "0-2 5"}
TASKS = ("piqa", "lambada_openai")
CHOICES = [{"goal": f"g{i}", "sol1": "ab c", "sol2": "d ef", "label": i % 2} for i in range(6)]
WORDS = [{"text": f"some words and then more {end}"} for end in ("cat", "dog", "bird", "fish")]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Any:
    """What lm-eval writes under two plans, and what it says they score."""
    folder = tmp_path_factory.mktemp("logged")
    data = write(folder / "data", {"piqa/validation": CHOICES, "lambada_openai/test": WORDS})
    model = tiny.shared("llama", torch.float32, tiny_folder)
    tasks = stock_tasks(data, TASKS, folder / "cache")
    found = {}
    for label, plan in PLANS.items():
        results = stock_results(model, tasks, plan)
        found[label] = {task: stock_metrics(results, task) for task in TASKS}
        tracker = EvaluationTracker(output_path=str(folder / label))
        tracker.general_config_tracker.model_name_sanitized = "tiny"
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for task, own in samples.items():
            tracker.save_results_samples(task_name=task, samples=own)
    evaluated = evaluate(model, PLANS, [*TASKS], data=data)
    return folder, found, evaluated


def test_they_score_what_lm_eval_says(logged: Any) -> None:
    folder, found, _ = logged
    table = summarise(from_lm_eval({label: folder / label for label in PLANS}))
    for (label, task), rows in table.groupby(["plan", "task"]):
        scores = dict(zip(rows["metric"], rows["value"], strict=True))
        assert scores == pytest.approx(found[label][task])


def test_they_compare_as_items_of_this_package_do(logged: Any) -> None:
    folder, _, evaluated = logged
    items = from_lm_eval({label: folder / label for label in PLANS})
    ours = summarise(items, intact="intact")
    named = {plan: label for label, plan in PLANS.items()}
    theirs = evaluated.assign(plan=evaluated["plan"].map(named))
    both = ours.merge(theirs, on=["plan", "task", "metric"], suffixes=("", "_ours"))
    assert len(both) == len(ours)
    for name in ("value", "stderr", "chance", "delta", "delta_low", "delta_high", "p"):
        expected = both[f"{name}_ours"].to_numpy(dtype=float)
        assert both[name].to_numpy(dtype=float) == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert both["higher_is_better"].eq(both["higher_is_better_ours"]).all()
    paired = compare(items, "skipping", "intact").set_index(["task", "metric"])["delta"]
    skipping = ours[ours["plan"] == "skipping"].set_index(["task", "metric"])["delta"]
    assert (paired == skipping[paired.index]).all()


def samples(folder: Path, lines: list[dict[str, Any]], task: str = "t") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"samples_{task}_2026-01-02T03-04-05.678.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def line(number: int, **values: Any) -> dict[str, Any]:
    return {"doc_id": number, "doc_hash": f"d{number}", "target_hash": "t"} | values


def test_pairs_are_what_their_metric_makes_of_them(tmp_path: Path) -> None:
    gold, answers = [0, 1, 1, 0, 1], [0, 1, 0, 0, 1]
    lines = [
        line(i, mcc=[g, a], f1=[g, a], word_perplexity=[-3.0 - i, 2 + i], metrics=metrics)
        for metrics in [["mcc", "f1", "word_perplexity"]]
        for i, (g, a) in enumerate(zip(gold, answers, strict=True))
    ]
    table = summarise(from_lm_eval([samples(tmp_path / "one", lines)])).set_index("metric")
    assert table["value"].to_dict() == pytest.approx(
        {"mcc": 2 / 3, "f1": 0.8, "word_perplexity": 2.718281828 ** (25 / 20)}
    )
    assert table["plan"].eq("one").all()
    assert table["higher_is_better"].tolist() == [True, True, False]


def test_every_filter_is_a_metric(tmp_path: Path) -> None:
    lines = [
        line(i, filter=name, exact_match=float(i == k), metrics=["exact_match"])
        for k, name in enumerate(("strict", "none"))
        for i in range(3)
    ]
    table = from_lm_eval([samples(tmp_path / "one", lines)])
    assert [*table["metric"].unique()] == ["exact_match,strict", "exact_match"]
    assert table["chance"].eq(0).all()


def test_what_is_not_understood_is_left_out_and_said(tmp_path: Path) -> None:
    lines = [line(i, acc=1.0, bleu=["a", "b"], odd=float(i)) for i in range(3)]
    path = samples(tmp_path / "one", lines)
    results = {"results": {"t": {"acc,none": 1.0, "odd,none": 7.0}}, "versions": {"t": 2}}
    (path.parent / "results_2026-01-02T03-04-05.678.json").write_text(json.dumps(results))
    with pytest.warns(UserWarning, match="left out") as said:
        table = from_lm_eval({"one": path})
    assert [str(warning.message).split(": ", 1)[1] for warning in said] == [
        "bleu is left out: it is not a number for every document",
        "odd is left out: its mean is 1, and lm-eval's result 7",
    ]
    assert table["metric"].unique().tolist() == ["acc"]
    assert table["version"].unique().tolist() == ["2"]


def test_runs_on_different_documents_are_refused(tmp_path: Path) -> None:
    lines = [line(i, acc=1.0) for i in range(3)]
    one = samples(tmp_path / "one", lines)
    for name, others, told in [
        ("fewer", lines[:2], r"documents \(3 and 2; document 2 is in one alone\)"),
        ("another", [*lines[:2], lines[2] | {"doc_hash": "x"}], r"document 2 is another \(1 of 3"),
        ("answer", [*lines[:2], lines[2] | {"target_hash": "x"}], "document 2 is another"),
    ]:
        with pytest.raises(TableError, match=told):
            from_lm_eval([one, samples(tmp_path / name, others)])
    shots = [own | {"prompt_hash": "x"} for own in lines]
    with pytest.warns(UserWarning, match=r"in different words \(3 of 3 prompts\)"):
        from_lm_eval([one, samples(tmp_path / "shots", shots)])


def test_what_is_no_sample_is_refused(tmp_path: Path) -> None:
    lines = [line(0, acc=1.0)]
    one = samples(tmp_path / "one", lines)
    (tmp_path / "two.jsonl").write_text('{"doc_id": 0}\n[1]')
    (tmp_path / "nothing.jsonl").touch()
    (tmp_path / "empty").mkdir()
    (one.parent / "samples_t_2026-02-02T00-00-00.0.jsonl").write_bytes(one.read_bytes())
    for runs, told in [
        ([], "no samples; give files"),
        ({"a": tmp_path / "empty"}, "a: no samples"),
        ([tmp_path / "missing.jsonl"], "cannot be read"),
        ([tmp_path / "two.jsonl"], "line 2 is no sample of lm-eval"),
        ([tmp_path / "nothing.jsonl"], "has no samples"),
        ({"a": one.parent}, "are both samples of t"),
    ]:
        with pytest.raises(TableError, match=told):
            from_lm_eval(runs)
