"""What commands print fits a terminal of 80 columns; paths and errors, a line each, may not."""

import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_vocabulary import VERBS

TEXTS = "the first document of them\nand the second one\nthen a third\na fourth document\n"
SPEC = """models: {model}
tasks: [probe_facts, probe_grammar]
plans: ["0-2 5", "0-1 (2|4)@sum*3 [3-5]@0.5*2 1 0"]
limits: 2
"""
LONG = "0-1 (2|4)@sum*3 [3-5]@0.5*2 1 0 1 0 1 0 1 0"
SOME = ("--tasks", "probe_facts", "--limit", "2")
# What each command is given; those of a model get a tiny one, into a folder of their own.
LINES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("fetch",): (),
    ("models",): (),
    ("plan",): ("0-8 (9-20)*3 21-29",),
    ("run",): (*SOME, "--experiments", "variants,internal_loops", "--formats", "svg"),
    ("study",): ("2601.18302", "--tasks", "probe_facts", "--limit", "4", "--formats", "svg"),
    ("sweep",): ("spec.yaml",),
    ("status",): ("swept",),
    ("similarity",): ("--texts", "texts.txt", "--formats", "svg"),
    ("evaluate",): (LONG, *SOME),
    ("generate",): ("ab", "--plan", LONG, "--new", "4"),
    ("kl",): (LONG, "0-2 5", "--texts", "texts.txt"),
    ("damage",): ("--texts", "texts.txt", "--longest", "2", "--formats", "svg"),
    ("logit-lens",): ("abc", "--formats", "svg"),
    ("stitch",): ("MODEL", "--texts", "long.txt", "--formats", "svg"),
    ("grid",): ("swaps", "--texts", "texts.txt", "--formats", "svg"),
    ("classify",): (LONG, "--limit", "12"),
    ("readers",): ("--limit", "12", "--formats", "svg"),
    ("heal",): (LONG, "--texts", "texts.txt", "--epochs", "1"),
    ("search",): ("--calls", "5", "--texts", "texts.txt", "--formats", "svg"),
    ("latency",): (LONG, "--length", "8", "--new", "2", "--repeats", "2"),
    ("cost",): ("--n-layers", "24", "--d-model", "16384"),
    ("per-input",): ("scores.items.parquet",),
    ("export",): ("0-2 5", "--recipe"),
    ("figures",): ("ran",),
    ("report",): ("ran",),
    ("compare",): ("scores.items.parquet", "--plan", "0-5", "--plan", "0-2 5"),
    ("check",): (LONG, "0-5"),
    ("doctor",): (),
    ("patch", "residual"): ("ab", "ac", "--right", "x", "--wrong", "y", "--formats", "svg"),
    ("patch", "across"): ("abcd", "--formats", "svg"),
    ("patch", "effects"): ("--texts", "texts.txt", "--formats", "svg"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, texts, a spec, scores and a run."""
    folder = tmp_path_factory.mktemp("widths")
    tiny.save("llama", folder / "MODEL")
    (folder / "texts.txt").write_text(TEXTS)
    (folder / "long.txt").write_text(TEXTS * 8)
    (folder / "spec.yaml").write_text(SPEC.format(model=folder / "MODEL"))
    return folder


@pytest.fixture
def printed(place: Path, painters: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command there, on the tiny model, in a terminal; gives what it printed."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "80")

    def run(names: tuple[str, ...], *words: str, out: str) -> str:
        takes = {name for param in VERBS[names].params for name in param.opts}
        model = ("--model", "MODEL") if "--model" in takes else ()
        where = ("--out", out) if "--out" in takes else ()
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        code, shown, err = painters(*names, *words, *model, *where)
        assert code == 0, err
        return str(shown)

    return run


@pytest.fixture
def before(printed: Any, place: Path) -> None:
    """What some commands read, which others wrote."""
    if not (place / "scores.items.parquet").exists():
        printed(("evaluate",), "0-2 5", "0-4", *SOME, "--items", out="scores")
        printed(("run",), *LINES["run",], out="ran")
        printed(("sweep",), "spec.yaml", out="swept")


def test_every_command_is_tried() -> None:
    assert {*LINES} == {*VERBS}


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("names", LINES, ids=" ".join)
def test_it_fits(names: tuple[str, ...], printed: Any) -> None:
    shown = printed(names, *LINES[names], out="-".join(("new", *names)))
    wide = [line for line in shown.splitlines() if len(line) > 80 and " " in line.strip()]
    assert not [line for line in wide if "/" not in line.split()[-1]]


def test_the_list_of_studies_fits(printed: Any) -> None:
    painted = printed(("study",), out="new")
    assert max(map(len, painted.splitlines())) <= 80
