"""The README's example runs as printed, and what it shows is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import processors
from typer.main import get_command

import painters_interp as painters
from painters_interp.cli.application import app

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_example_runs_as_printed(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 10
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CheckReport" in done.stdout
    assert {path.suffix for path in tmp_path.glob("single_layers.*")} == {".pdf", ".png", ".svg"}


def test_it_shows_figures_that_are_there() -> None:
    images = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text())
    assert images
    assert all((ROOT / image).is_file() for image in images)


COMMANDS = re.findall(r"^ {4}(painters .+?)(?: {2,}#.*)?$", (ROOT / "README.md").read_text(), re.M)


@pytest.mark.parametrize("line", COMMANDS)
def test_its_command_lines_are_understood(line: str, tmp_path: Path) -> None:
    command, words = get_command(app), shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("painters", [str(tmp_path) if w == "FOLDER" else w for w in words])


def test_it_names_functions_that_are_there() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"^- `([a-z_]+)\(", text, re.M)
    assert {"similarity", "evaluate", "kl_to_intact"} <= {*named}
    assert all(callable(getattr(painters, name)) for name in named)
    listed = re.search(r"^- `patching`: (.*?);", text, re.M | re.S)
    assert listed
    patched = re.findall(r"`([a-z_]+)`", listed[1])
    assert len(patched) == 6
    assert all(callable(getattr(painters.patching, name)) for name in patched)


def test_it_names_verbs_that_make_knows() -> None:
    named = set(re.findall(r"^ +make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= known


def test_it_counts_the_architectures_that_were_tried() -> None:
    rows = re.findall(r"^\| (?!architecture|---).*$", (ROOT / "tests" / "ZOO.md").read_text(), re.M)
    refused = sum("| refused: " in row for row in rows)
    told = re.findall(r"(\d+) handled, (\d+) refused", (ROOT / "README.md").read_text())
    assert told == [(str(len(rows) - refused), str(refused))]


def test_it_says_how_a_text_is_read(tiny_folder: Path) -> None:
    """A tokenizer that adds nothing: `model("text")` has one token more than what is read here."""
    assert '`model("text", prepend_bos=False)` reads the same' in (ROOT / "README.md").read_text()
    tokenizer = tiny.tokenizer(tiny_folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A")
    model = painters.load_model(tiny.stock("llama", torch.float32), tokenizer=tokenizer)
    [read] = painters.capture(model, "abc")
    with painters.applied(model, "0-4"):
        whole, bare = (model("abc", prepend_bos=b, return_type="logits") for b in (None, False))
    assert read.tokens.shape[1] == bare.shape[1] == whole.shape[1] - 1
