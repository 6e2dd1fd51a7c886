"""Whatever is wrong with a command line: one line says so, exit code 2, nothing left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import tiny

from painters_interp import cli, figures, models
from painters_interp.cli import depths, options, similarities, sweeps
from painters_interp.comparison import passes
from painters_interp.execution import slots
from painters_interp.learning import features
from painters_interp.models.device import dtype_of
from painters_interp.stitching import maps
from painters_interp.sweeps import running

LOAD = lru_cache(models.load_model)
HUGE = "9" * 400
LONG = "x" * 5_000
# What is right of a command, to which one thing is added that is not.
RIGHT = {
    "run": ["run", "--tasks", "probe_facts"],
    "similarity": ["similarity"],
    "evaluate": ["evaluate", "0-5", "--tasks", "probe_facts", "--limit", "1"],
    "classify": ["classify", "0-5", "--limit", "8"],
    "readers": ["readers", "--limit", "8"],
    "heal": ["heal", "0-5", "--out", "healed", "--epochs", "1"],
    "generate": ["generate", "abc", "--new", "2"],
    "study": ["study", "2601.18302", "--limit", "4"],
    "check": ["check", "0-5"],
    "residual": ["patch", "residual", "ab", "ac", "--right", "x", "--wrong", "y"],
    "across": ["patch", "across", "abcd"],
    "effects": ["patch", "effects"],
    "grid": ["grid", "swaps"],
    "logit-lens": ["logit-lens", "abcd"],
    "damage": ["damage", "--longest", "2"],
    "stitch": ["stitch", "smollm2-135m", "--limit", "2"],
    "export": ["export", "0-5", "--out", "new"],
    "search": ["search", "--calls", "4"],
    "latency": ["latency", "0-5", "--repeats", "2"],
    "cost": ["cost", "--n-layers", "4", "--d-model", "64"],
}
ALL = tuple(name for name in RIGHT if name != "cost")  # which loads no model
READ = ("similarity", "effects", "grid")
FILE = ("evaluate", "classify", "generate")
WRITE = tuple(name for name in RIGHT if name not in ("check", "export", "latency", "cost", *FILE))
READING = (
    "run",
    "study",
    "similarity",
    "evaluate",
    "classify",
    "generate",
    "check",
    "patch",
    "export",
    "search",
    "latency",
)
# Options, the commands that have them, and values that cannot be.
WRONG = [
    ("--device", ALL, ["meta", "tpu"]),
    ("--device-map", ("run", "evaluate", "check"), ["everywhere", "no.json", "config.json", ""]),
    ("--dtype", ALL, ["int4"]),
    ("--nonsense", ALL, ["1"]),
    ("--model", ALL, ["~nosuchuser", LONG, "no/such/place/anywhere", "folder", "file"]),
    ("--model", ("run", "evaluate"), ["", ".", "..", "/", "a\0b", "file.gguf", "~nosuchuser/x"]),
    ("--out", WRITE, ["", "/", "~nosuchuser/out", "file/out", LONG]),
    ("--out", FILE, ["", ".", "/", "..", "config", "taken", "file/out", LONG, "a\0b"]),
    ("--budget", ("study",), ["", "x", "0", "-1min", "1s 1s", "0.001s"]),
    ("--seed", ("run", "study", "similarity", "evaluate", "classify"), ["-1", HUGE, "1.5", "x"]),
    ("--limit", ("run", "evaluate", "classify", *READ), ["0", "-1", "1.5", "x", "nan", HUGE]),
    ("--tasks", ("run", "evaluate", "classify"), [",", "nonsense", "$\\frac{$", ""]),
    ("--data", ("run", "evaluate", "classify"), ["", "missing", "file", "~nosuchuser"]),
    ("--store", ("run", "evaluate", "classify"), ["", "file", "file/store", LONG]),
    ("--experiments", ("run",), ["nonsense", ",", "", "loops,nonsense"]),
    ("--num-fewshot", ("evaluate",), ["-1", "x", HUGE]),
    ("--cache", ("evaluate",), ["nonsense", "averaged", ""]),
    ("--pool", ("classify", "readers"), ["max", ""]),
    ("--stitch", ("readers",), ["", "x", "1", "1,2,3", "1,2"]),  # the last for lack of --other
    ("--text", ("classify", "readers"), ["sentence"]),
    ("--train", ("classify",), ["nonsense", ""]),
    ("--epochs", ("classify",), ["0", "2", "x"]),
    ("--epochs", ("heal",), ["0", "x", HUGE]),
    ("--lora", ("heal",), ["0", "x"]),
    ("--held-out", ("heal",), ["", "missing", "empty"]),
    ("--checkpoints", ("heal",), ["", "file/kept"]),
    ("--checkpoints", ("classify",), ["", "kept"]),
    ("--tasks", ("readers",), ["nonsense", "", "cola,rte", "no.csv"]),
    ("--cache", ("generate",), ["nonsense", ""]),
    ("--new", ("generate",), ["0", "-1", "x", "1.5", HUGE]),
    ("--plan", ("generate", "evaluate", "latency"), ["9", "((", "0@0"]),
    ("--plan", ("heal", "export"), ["0-4"]),  # beside the one that stands as a word
    ("--scores", ("latency",), ["", "missing.csv"]),
    ("--stop", ("generate",), [""]),
    ("--metrics", ("evaluate",), ["nonsense", "acc"]),
    ("--texts", READ, ["", "missing", "folder", "empty", "binary", "~nosuchuser", LONG]),
    ("--measures", ("similarity",), ["nonsense", ",", "", "cosine,nonsense"]),
    ("--center", ("similarity",), ["nonsense", ""]),
    ("--massive", ("similarity",), ["nonsense", ""]),
    ("--other", ("similarity",), ["~nosuchuser", LONG, "folder", ""]),
    ("--plan", ("similarity", "check", "residual", "across", "effects"), ["9", "", "((", "0@0"]),
    ("--positions", ("residual", "across"), ["one", "", "1.5", "9", HUGE]),
    ("--source-positions", ("across",), ["one", "9", "0,0"]),
    ("--metric", ("residual", "across"), ["acc", ""]),
    ("--metric", ("across",), ["logit_difference", "probability", "logprob"]),
    ("--right", ("across",), ["x"]),
    ("--wrong", ("across",), ["x"]),
    ("--at", ("effects",), ["-1", "999", "x", HUGE]),
    ("--out", ("export",), ["", ".", "/", "file", "file/out", "broken", LONG, "a\0b"]),
    ("--out", ("latency",), ["", ".", "/", "config", "taken", LONG]),
    ("--batch", ("latency",), ["0", "-1", "x", "", "1,x"]),
    ("--length", ("latency",), ["0", "999", "x", HUGE]),
    ("--repeats", ("latency",), ["0", "1", "x"]),
    ("--new", ("latency",), ["-1", "999", "x"]),
    ("--calls", ("search",), ["0", "7", "-1", "x", HUGE]),
    ("--edits", ("search",), ["nonsense", "", ",", "swap"]),
    ("--method", ("search",), ["nonsense", ""]),
    ("--objective", ("search",), ["nonsense", ""]),
    ("--tasks", ("search",), ["nonsense", ""]),
    ("--width", ("search",), ["0", "x"]),
    ("--limit", ("search",), ["2"]),
    ("--n-layers", ("cost",), ["0", "1", "-1", "1001", "x", HUGE]),
    ("--d-model", ("cost",), ["0", "-8", "x", HUGE]),
    ("--d-ff", ("cost",), ["0", "x"]),
    ("--gpus", ("cost",), ["0", "", "x", "1,-1"]),
    ("--peak", ("cost",), ["0", "-1", "nan", "inf", "x"]),
    ("--utilisation", ("cost",), ["0", "1.5", "nan", "x"]),
    ("--memory", ("cost",), ["0", "nan"]),
    ("--weight-bytes", ("cost",), ["0", "nan", "inf"]),
    ("--measure", ("cost",), ["~nosuchuser", LONG, "folder"]),
    ("--limit", ("cost",), ["0", "x"]),
    ("--out", ("cost",), ["", ".", "/", "config", "taken", LONG]),
    ("--shard-size", ("export",), ["", "0GB", "-1GB", "1", "x"]),
    ("--layers", ("grid",), ["0@2", "9", "", "0.attn", "(0|1)", "0 0", "0*2", "0"]),
]  # fmt: skip
OTHER = [
    ["nonsense"],
    ["plan"],
    ["plan", ""],
    ["plan", "0-8 (9-20"],
    ["plan", "0-30"],
    ["plan", "0", "--n-layers", "0"],
    ["plan", "0", "--n-layers", HUGE],
    ["plan", "0", "1"],
    ["plan", "0*100001"],
    ["plan", LONG],
    ["models", "extra"],
    ["fetch", "~nosuchuser"],
    ["fetch", LONG],
    ["fetch", "folder"],
    ["figures"],
    ["figures", "."],
    ["figures", ""],
    ["figures", "missing"],
    ["figures", "~nosuchuser"],
    ["figures", LONG],
    ["figures", "broken"],
    ["report"],
    ["report", "."],
    ["report", ""],
    ["report", "missing"],
    ["report", "broken"],
    ["study", "nonsense"],
    ["study", ""],
    ["sweep"],
    ["sweep", "missing.yaml", "--out", "new"],
    ["sweep", "empty", "--out", "new"],
    ["sweep", "binary", "--out", "new"],
    ["sweep", "folder", "--out", "new"],
    ["sweep", "empty", "--out", ""],
    ["sweep", "empty"],
    ["sweep", "empty", "--out", "new", "--executor", "slurm"],
    ["sweep", "empty", "--out", "new", "--shard", "5/4"],
    ["sweep", "empty", "--out", "new", "--workers", "0"],
    ["status"],
    ["status", "missing"],
    ["status", "folder"],
    ["evaluate"],
    ["evaluate", "0-5", "--items"],
    ["evaluate", "0-9", "--tasks", "probe_facts"],
    ["generate"],
    ["generate", ""],
    ["patch", "nonsense"],
    ["grid", "nonsense"],
    ["patch", "residual", "ab"],
    ["patch", "residual", "ab", "abc"],
    ["patch", "residual", "ab", "ac"],
    ["patch", "residual", "ab", "ac", "--wrong", "y"],
    ["patch", "residual", "ab", "ac", "--right", "xyz", "--wrong", "y"],
    ["patch", "across"],
    ["search"],
    ["search", "--time", "0"],
    ["search", "--time", "1.5"],
    ["search", "--time", "nan"],
    ["search", "--time", "0.5", "--calls", "4"],
    ["search", "--calls", "4", "--tasks", "probe_facts", "--objective", "kl"],
    ["per-input"],
    ["per-input", "missing.parquet"],
    ["per-input", "binary"],
    ["per-input", "folder"],
    ["per-input", ""],
    ["per-input", "broken/depth.csv"],
    ["export", "0-5"],
    ["export", "0-9", "--out", "new"],
    ["export", "0 (1|2)", "--out", "new"],
    ["export", "0 1@0.5", "--out", "new"],
    ["export", "0-5", "--out", "broken", "--force"],
    ["export", "0-5", "--out", "config.json", "--recipe"],
    ["export", "0-5", "--out", "new", "--recipe", "--mergekit"],
    ["export", "0 1@0.5", "--out", "new", "--mergekit"],
]


def lines() -> Iterator[list[str]]:
    for option, commands, values in WRONG:
        for command in commands:
            for value in values:
                right = RIGHT[command]
                if option in right:  # in place of the right one
                    at = right.index(option)
                    right = right[:at] + right[at + 2 :]
                yield [*right, option, value]
    yield from OTHER


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with some things in the way."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.csv").mkdir()
    for name in ("file", "empty"):
        (tmp_path / name).write_text("")
    (tmp_path / "config.json").write_text('{"the": "user\'s"}')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "file.gguf").write_bytes(b"nothing")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "depth.csv").write_text(
        "measure,axis,place,value,low,high\na,state,0,abc,,\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is read from disk once, not by every command."""
    monkeypatch.setattr(models, "load_model", LOAD)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_there_are_enough_of_them() -> None:
    assert len([*lines()]) >= 240


@pytest.mark.parametrize(
    "words", lines(), ids=lambda words: " ".join(words)[:60].replace("\0", "~")
)
@pytest.mark.filterwarnings("ignore")
def test_a_bad_command_line(words, place, checkpoint, monkeypatch, capsys) -> None:
    before = contents(place)
    if "--model" not in words and words[0] in READING:
        words = [*words, "--model", str(checkpoint)]
    monkeypatch.setattr(sys, "argv", ["painters", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err.splitlines()
    said = [line for line in said if " is read unchecked: " not in line]
    assert stop.value.code == 2, said
    assert len(said) == 1 or said[0].startswith("converting"), said
    assert said[-1].startswith("painters: ")
    assert len(said[-1]) > len("painters: ")
    assert "unforeseen" not in said[-1], said
    assert len(said[-1]) < 800
    assert contents(place) == before


PROCESS = [sys.executable, "-m", "painters_interp"]


def started(words: list[str], **streams: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROCESS, *words], stderr=subprocess.PIPE, text=True, timeout=120, check=False, **streams
    )  # fmt: skip


def test_a_process_tells_in_a_line_and_ends_with_2(place) -> None:
    for words in (["plan", "0-30"], ["nonsense"], ["figures", "~nosuchuser"]):
        ended = started(words, stdout=subprocess.PIPE)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_that_is_full_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        ended = started(["plan", "0-29"], stdout=full)
    assert ended.returncode == 2
    assert ended.stderr == "painters: No space left on device\n"


def test_an_output_that_nobody_reads_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        ended = started(["plan", "0-29"], stdout=pipe)
    assert (ended.returncode, ended.stderr) == (2, "")


def test_an_interruption_during_imports_is_a_line_and_130(tmp_path) -> None:
    """As if somebody pressed Ctrl-C while typer is imported."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    here = str(Path(cli.__file__).parents[2])
    path = os.pathsep.join([str(tmp_path), here])
    ended = started(["models"], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    assert (ended.returncode, ended.stderr) == (130, "painters: interrupted\n")


def test_an_interruption_of_the_work_is_a_line_and_130(monkeypatch, capsys) -> None:
    from painters_interp.plans import Plan

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Plan, "parse", interrupted)
    monkeypatch.setattr(sys, "argv", ["painters", "plan", "0-29"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, capsys.readouterr().err) == (130, "painters: interrupted\n")


def test_words_that_are_said_without_a_room_are_those_of_the_room() -> None:
    said = {
        options.VENUES: figures.VENUES,
        options.FORMATS: figures.FORMATS,
        options.CACHES: slots.CACHES,
        options.POOLS: features.POOLS,
        depths.MAPS: maps.METHODS,
        sweeps.EXECUTORS: running.EXECUTORS,
        similarities.VIEWS: tuple(passes.VIEWS),
    }
    assert [{*words} for words in said] == [{*words} for words in said.values()]
    for name in options.DTYPES:
        assert str(dtype_of(name)) == f"torch.{name}"
