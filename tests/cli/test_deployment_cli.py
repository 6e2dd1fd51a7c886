"""What plans become of use for: `painters search`, `latency`, `export`."""

import os
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from painters_interp import cli, load_model
from painters_interp.cli.application import answer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture
def painters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checkpoint: Path):
    """Run a command line on the tiny model in this process; gives (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        line = ["painters", *map(str, words), "--model", str(checkpoint)]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def test_a_plan_becomes_a_checkpoint_once(painters, tmp_path: Path) -> None:
    code, out, err = painters("export", "0-2 5", "--out", tmp_path / "four")
    assert (code, out, err) == (0, f"{tmp_path / 'four'}\n", "")
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "four")
    assert read.config.num_hidden_layers == 4
    code, _, err = painters("export", "0-2", "--out", tmp_path / "four")
    assert code == 2
    assert "is not empty; give another folder, or --force" in err
    assert painters("export", "0-2", "--out", tmp_path / "four", "--force")[0] == 0


@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGTERM])
def test_a_checkpoint_that_is_interrupted_leaves_nothing(
    painters, ended: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        assert len([*tmp_path.glob(".four-*/*")])  # the weights
        os.kill(os.getpid(), ended)
        time.sleep(10)  # it is interrupted in here

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", stop)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert painters("export", "0-2 5", "--out", tmp_path / "four")[0] == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [*tmp_path.iterdir()] == []


def test_any_plan_becomes_a_recipe_that_opens(painters, tmp_path: Path) -> None:
    code, _, err = painters("export", "0-1 (2|3) 4-5", "--out", tmp_path / "grouped")
    assert code == 2
    assert err.rstrip().endswith("write a recipe instead, which this package opens: --recipe")
    code, out, _ = painters("export", "0-1 (2|3) 4-5", "--out", tmp_path / "grouped", "--recipe")
    assert (code, out) == (0, f"{tmp_path / 'grouped.json'}\n")
    with load_model(tmp_path / "grouped.json") as held:
        assert str(held.plan) == "0 1 (2|3) 4 5"


def test_a_recipe_is_checked_on_its_own_plan(painters, tmp_path: Path, capsys) -> None:
    path = tmp_path / "r.json"
    assert painters("export", "0-1 (2|3) 4-5", "--out", path, "--recipe")[0] == 0
    assert answer(["check", "--model", str(path)]) == 0
    _, row, verdict = capsys.readouterr().out.splitlines()
    assert row.startswith("ok")
    assert row.endswith("0 1 (2|3) 4 5")
    assert verdict.startswith("1 of 1 ok")


def test_a_recipe_is_a_model_of_other_commands(
    painters, tmp_path: Path, monkeypatch, capsys
) -> None:
    plan = "0-1 (2|3) 4-5"
    path = tmp_path / "r.json"
    assert painters("export", plan, "--out", path, "--recipe")[0] == 0
    (tmp_path / "texts").write_text("abcdefgh\nhgfedcba\naabbccdd\nddccbbaa\n")
    texts = ("--texts", tmp_path / "texts")
    for words in (
        ("evaluate", plan, "--tasks", "probe_facts", "--limit", 4),
        ("generate", "abc", "--plan", plan, "--new", 2),
        ("kl", plan, *texts),
        ("check", plan),
    ):
        expected = painters(*words)
        line = ["painters", *map(str, words), "--model", str(path)]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert (stop.value.code or 0, *capsys.readouterr()) == expected, words
        assert expected[0] == 0


def test_a_recipe_need_not_be_told_its_plan_and_takes_no_other(
    painters, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "r.json"
    assert painters("export", "0-1 (2|3) 4-5", "--out", path, "--recipe")[0] == 0
    (tmp_path / "texts").write_text("abcdefgh\nhgfedcba\naabbccdd\nddccbbaa\n")
    texts = ["--texts", str(tmp_path / "texts")]
    shown: list[str] = []
    for words in (["kl", *texts], ["generate", "abc", "--new", "2"]):
        for plan in ([], ["--plan", "0-1 (2|3) 4-5"]):
            assert answer([*words, *plan, "--model", str(path)]) == 0
            shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[2] == shown[3]
    for words in (["kl", "0-2", *texts], ["search", "--calls", "5", *texts]):
        assert answer([*words, "--model", str(path)]) == 2
        assert "give the model that the recipe names" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("search",), "give one budget: --calls ..., or --time ..."),
        (("search", "--calls", 5, "--time", 0.5), "give one budget"),
        (("search", "--time", 2), "--time 2.0 is no share"),
        (("search", "--calls", 5, "--edits", "shake"), "no edit 'shake'; there are drop"),
        (("search", "--calls", 5, "--method", "anneal"), "--method 'anneal' is not one of greedy"),
        (("search", "--calls", 5, "--objective", "x"), "--objective 'x' is not one of kl"),
        (("search", "--calls", 5, "--tasks", "t", "--texts", "{tmp}/three"), "texts are not read"),
        (("search", "--calls", 5, "--tasks", "t", "--objective", "kl"), "--tasks are not read"),
        (("search", "--calls", 5, "--texts", "{tmp}/three"), "3 are too few; give 4 or more"),
        (("latency", "--out", "{tmp}/t"), "no plan; give one"),
        (("export", "0-2", "--out", "{tmp}/there", "--recipe"), "{tmp}/there.json exists; give an"),
        (("export", "0-2", "--out", "{tmp}", "--recipe"), "{tmp} is a folder; give the name of a"),
        (("export", "0-2", "--out", "{tmp}/three/x"), "Not a directory"),
    ],
)
def test_is_refused_in_a_line_before_a_model_is_looked_for(
    words: tuple, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "three").write_text("ab\nbc\ncd\n")
    (tmp_path / "there.json").write_text("{}")
    line = [str(word).replace("{tmp}", str(tmp_path)) for word in words]
    assert answer([*line, "--model", str(tmp_path / "nowhere")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"painters: {reason.replace('{tmp}', str(tmp_path))}") or reason in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"three", "there.json"}


def test_layers_in_a_row_become_a_merge(painters, tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "merge.yaml"
    assert painters("export", "0-2 5", "--out", path, "--mergekit")[0] == 0
    [first, _] = yaml.safe_load(path.read_text())["slices"]
    assert first["sources"] == [{"model": str(checkpoint), "layer_range": [0, 3]}]


def test_a_search_writes_its_rounds_what_it_judged_and_a_figure(painters, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("abcdefgh\nhgfedcba\naabbccdd\nddccbbaa\n")
    asked = ("--texts", tmp_path / "texts", "--out", tmp_path / "out", "--formats", "png")
    code, out, err = painters("search", "--calls", 5, *asked, "--store", tmp_path / "kept")
    assert (code, err) == (0, "")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {"rounds.csv", "rounds.json", "search.csv", "search.json"}
    assert names == tables | {"search.png", "search.live.json"}
    *_, best, measure, found, random, influence, angular, middle = out.splitlines()
    assert best.endswith("5 calls, 11 plans tried")
    assert measure.startswith("KL to the intact model (nats per token) on what was held back")
    assert found.startswith("found ")
    assert all("the found plan is better by" in line for line in (random, influence, middle))
    assert angular.startswith("by angular distance")
    assert len([*(tmp_path / "kept").glob("search-*.csv")]) == 1


def test_latency_is_told_and_written(painters, tmp_path: Path) -> None:
    asked = ("--length", "8", "--batch", "1,2", "--new", "2", "--repeats", "2")
    code, out, err = painters("latency", "0-2 5", *asked, "--out", tmp_path / "times")
    assert (code, err) == (0, "")
    head, *rows, last = out.splitlines()
    assert "prefill (ms)" in head
    times, *drawn = [row for row in (*rows, last) if row.startswith(str(tmp_path))]
    assert len(rows) == 4 + len(drawn)
    assert times == str(tmp_path / "times.csv")
    assert [Path(path).name for path in drawn] == [f"times.{k}" for k in ("pdf", "png", "svg")]


def test_memory_that_runs_out_is_told_in_a_line(painters, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*args: object, **kwargs: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 TB\nmore")

    monkeypatch.setattr("painters_interp.deployment.timing._prompt", short)
    code, _, err = painters("latency", "0-2 5", "--length", 8, "--new", 2, "--repeats", 2)
    assert code == 2
    assert err.startswith("painters: memory ran out (DefaultCPUAllocator: can't allocate memory")
    assert err.endswith("8 TB); ask for less at once, or another --dtype or --device\n")


def test_latency_is_drawn_against_scores(painters, tmp_path: Path) -> None:
    scores = pd.DataFrame({"plan": ["0-5", "0-2 5"], "kl": [0.0, 0.5]})
    scores.to_csv(tmp_path / "kl.csv")
    asked = ("--scores", tmp_path / "kl.csv", "--formats", "svg", "--length", "8", "--new", "2")
    words = ("latency", "--plan", "0-2 5", *asked, "--repeats", "2")
    assert painters(*words, "--out", tmp_path / "times")[0] == 0
    assert ">none faster and better<" in (tmp_path / "times.svg").read_text()
    code, _, err = painters(*words)
    assert (code, err.count("\n")) == (2, 1)


def test_a_plan_for_every_input_from_items_alone(
    painters, tmp_path: Path, monkeypatch, capsys
) -> None:
    scores = ("--tasks", "probe_facts", "--limit", 8, "--out", tmp_path / "scores", "--items")
    assert painters("evaluate", "0-2 5", "0-4", *scores)[0] == 0
    line = ["per-input", tmp_path / "scores.items.parquet", "--out", tmp_path / "inputs"]
    monkeypatch.setattr(sys, "argv", ["painters", *map(str, line)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert (stop.value.code or 0, err) == (0, "")
    first, *_, last = out.splitlines()
    assert answer(["per-input", str(tmp_path / "scores.csv")]) == 2
    assert "scores.csv holds no single items; give OUT.items.parquet" in capsys.readouterr().err
    assert first.startswith("probe_facts (acc), 2 plans: ")
    assert "wrong ones corrected" in first
    assert last == str(tmp_path / "inputs.csv")
