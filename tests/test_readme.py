"""The README's example runs as printed, and what it shows is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert {path.name for path in tmp_path.iterdir()} == {"single_layers.pdf", "single_layers.png"}


def test_it_shows_figures_that_are_there() -> None:
    images = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text())
    assert images
    assert all((ROOT / image).is_file() for image in images)


def test_it_names_verbs_that_make_knows() -> None:
    named = set(re.findall(r"^ +make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= known
