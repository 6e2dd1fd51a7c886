"""`painters kl`, `compare` and `doctor`; and what is the same for all verbs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny

from painters_interp import kl_to_intact, load_model, read_run
from painters_interp.models import network


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
    assert "nan" not in out  # two documents have no interval
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
    assert ">KL from the intact model (nats per token)<" in (tmp_path / "moved.svg").read_text()
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
