"""`painters kl`, `compare` and `doctor`; and what is the same for all verbs."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
from typer.main import get_command

from painters_interp import cli, kl_to_intact, load_model, read_run
from painters_interp.cli.application import app
from painters_interp.models import network


@pytest.fixture
def painters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["painters", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def samples(folder: Path, right: list[int], doc: str = "a") -> Path:
    folder.mkdir()
    lines = [
        {"doc_id": k, "doc": f"{doc}{k}", "acc": float(value)} for k, value in enumerate(right)
    ]
    (folder / "samples_facts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_kl_prints_what_the_function_finds(painters: Any, tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "tiny")
    texts = tmp_path / "texts.txt"
    texts.write_text("abc def ghi\nhij klm nop\n")
    words = ("--model", folder, "--texts", texts, "--out", tmp_path / "moved")
    code, out, _ = painters("kl", "0-2 5", "0 2 1 3-5", *words)
    found = kl_to_intact(load_model(folder), ["0-2 5", "0 2 1 3-5"], ["abc def ghi", "hij klm nop"])
    assert code == 0
    for kl in found["kl"]:
        assert f"{kl:.3g}" in out
    kept = pd.read_csv(tmp_path / "moved.csv")
    assert kept["kl"].tolist() == pytest.approx(found["kl"].tolist(), abs=1e-5)
    assert sorted(path.name for path in tmp_path.glob("moved.*")) == [
        f"moved.{kind}" for kind in ("csv", "json", "pdf", "png", "svg")
    ]
    (tmp_path / "moved.png").unlink()
    assert painters("figures", tmp_path)[0] == 0
    assert (tmp_path / "moved.png").is_file()
    [name, shown] = next((name, repr(saved.table)) for name, saved in read_run(tmp_path).items())
    assert (name, "95 % interval" in shown) == ("moved", True)
    code, _, err = painters("kl", "0-2 5", *words[:-1], tmp_path / "moved.pdf")
    assert code == 2
    assert "is to name a table; what figures are written as say --formats" in err


def test_two_runs_of_lm_eval(painters: Any, tmp_path: Path) -> None:
    one = samples(tmp_path / "one", [1, 1, 1, 0, 1, 1, 1, 0])
    two = samples(tmp_path / "two", [1, 0, 0, 0, 1, 0, 1, 0])
    code, out, _ = painters("compare", one, two)
    assert code == 0
    [row] = [line.split() for line in out.splitlines() if line.lstrip().startswith("facts")]
    assert row[1:5] == ["acc", "0.750", "0.375", "0.375"]
    assert row[-1] == "8"
    words = ("--out", tmp_path / "both", "--formats", "svg", "--venue", "icml")
    code, out, _ = painters("compare", one, two, *words)
    assert code == 0
    assert [Path(line).name for line in out.splitlines()[-2:]] == ["both.csv", "both.svg"]


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (["one"], "give one item table and two plans"),
        (["one", "one"], "twice"),
        (["one", "none"], "there is no"),
    ],
)
def test_what_cannot_be_compared(
    painters: Any, tmp_path: Path, right: list[str], says: str
) -> None:
    samples(tmp_path / "one", [1, 0])
    code, out, err = painters("compare", *(tmp_path / name for name in right))
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_other_documents_are_refused(painters: Any, tmp_path: Path) -> None:
    one, two = samples(tmp_path / "one", [1, 0]), samples(tmp_path / "two", [1, 0], "b")
    code, _, err = painters("compare", one, two, "--out", tmp_path / "both")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert not [*tmp_path.glob("both*")]


def test_doctor_offline(painters: Any) -> None:
    code, out, err = painters("doctor")
    assert (code, err) == (0, "")
    for said in (
        "painters_interp 0.",
        "torch ",
        "cpu: ",
        "smollm2-135m: ",
        "HF_HUB_OFFLINE is set",
    ):
        assert said in out


@pytest.mark.parametrize(
    ("answers", "says"), [(True, " answers"), (False, "does not answer: only")]
)
def test_doctor_asks_the_hub(
    painters: Any, monkeypatch: pytest.MonkeyPatch, answers: bool, says: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(network, "hub_answers", lambda: answers)
    assert says in painters("doctor")[1]


def test_doctor_names_what_is_missing(painters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.metadata.requires",
        lambda name: ["numpy", 'numpy; extra == "here"', 'not-there>=1; extra == "more"'],
    )
    out = painters("doctor")[1]
    assert "here: here" in out
    assert "more: without not-there; pip install 'painters_interp[more]'" in out


def verbs(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, *names, name)
        else:
            yield (*names, name), inner


VERBS = dict(verbs(get_command(app)))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("painters st", ["study", "status", "stitch"]), ("painters kl --ven", ["--venue"])],
)
def test_a_shell_completes_verbs_and_options(
    typed: str, offered: list[str], painters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_PAINTERS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    code, out, err = painters()
    assert (code, out.split(), err) == (0, offered, "")


# `--tasks` are lm-eval's behind some verbs, and examples with labels where heads learn.
SHARED = ("model", "data", "seed", "store", "dtype", "device", "venue", "formats", "texts")


@pytest.mark.parametrize("name", SHARED)
def test_an_option_means_the_same_behind_every_verb(name: str) -> None:
    found = [
        option
        for command in VERBS.values()
        for option in command.params
        if option.name == name and option.opts[0].startswith("--")
    ]
    assert len(found) > 1
    assert len({tuple(option.opts) for option in found}) == 1
    shortest = min((option.help for option in found), key=len).rstrip(".")
    assert all(option.help.startswith(shortest) for option in found)


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_every_verb_has_an_example_that_is_understood(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "smollm2-135m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    _, found, example = VERBS[names].help.partition("Example: painters ")
    assert found
    words = shlex.split(example)
    assert tuple(words[: len(names)]) == names
    VERBS[names].make_context("painters", words[len(names) :])
