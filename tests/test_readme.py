"""The README's example runs as printed, and what it shows is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tokenizers import processors
from typer.main import get_command

import painters_interp as painters
from painters_interp import studies
from painters_interp.cli.application import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_the_example_runs_as_printed(
    default_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(painters, "load_model", {"smollm2-135m": default_model}.__getitem__)
    exec(compile(code, "README.md", "exec"), {})
    assert "CheckReport" in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.glob("single_layers.*")} == {".pdf", ".png", ".svg"}


def test_sixty_seconds_are_enough() -> None:
    assert len(README.splitlines()) <= 150


ROWS = re.findall(r"^\| .*? \| `([a-z_.]+[a-z])` \| `([a-z-]+)` \|$", README, re.MULTILINE)


@pytest.mark.parametrize(("name", "verb"), ROWS)
def test_what_it_can_do_has_a_function_and_a_verb(name: str, verb: str) -> None:
    room, _, function = name.rpartition(".")
    there = getattr(painters, room) if room else painters
    assert function in dir(there)
    assert getattr(there, function) is not None
    assert verb in get_command(app).commands


def test_it_counts_the_studies() -> None:
    assert f"{len(studies.STUDIES)} studies" in README


def test_it_names_verbs_that_make_knows() -> None:
    named = set(re.findall(r"^ +make ([a-z-]+)", README, re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= known


def test_it_counts_the_architectures_that_were_tried() -> None:
    rows = re.findall(r"^\| (?!architecture|---).*$", (ROOT / "tests" / "ZOO.md").read_text(), re.M)
    refused = sum("| refused: " in row for row in rows)
    told = re.findall(r"(\d+) handled, (\d+) refused", README)
    assert told == [(str(len(rows) - refused), str(refused))]


def test_it_says_how_a_text_is_read(tiny_folder: Path) -> None:
    """A tokenizer that adds nothing: `model("text")` has one token more than what is read here."""
    assert '`model("text", prepend_bos=False)` reads the same' in README
    tokenizer = tiny.tokenizer(tiny_folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A")
    model = painters.load_model(tiny.stock("llama", torch.float32), tokenizer=tokenizer)
    [read] = painters.capture(model, "abc")
    with painters.applied(model, "0-4"):
        whole, bare = (model("abc", prepend_bos=b, return_type="logits") for b in (None, False))
    assert read.tokens.shape[1] == bare.shape[1] == whole.shape[1] - 1
