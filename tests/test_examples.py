"""The examples in the docstrings run as printed, on a tiny model.

They may use these names without making them: `painters` (the package), `model` (a tiny Llama of six
layers with a tokenizer of characters, float32), `plan`, `texts`, `tasks` and `tmp_path`, which is
also where they run.
"""

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import painters_interp as painters

ROOT = Path(painters.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WITH_EXAMPLES = sorted(path for path in ROOT.rglob("*.py") if ">>> " in path.read_text("utf-8"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture
def names(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What every example may use."""
    monkeypatch.chdir(tmp_path)
    return {
        "painters": painters,
        "model": tiny.shared("llama", torch.float32, tiny_folder),
        "plan": "0-2 5",
        "texts": ["water boils when hot", "a cat sat on a mat", "one two three four"],
        "tasks": ["probe_facts"],
        "tmp_path": tmp_path,
    }


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_name)
def test_examples_run_as_printed(path: Path, names: dict[str, Any]) -> None:
    module = importlib.import_module(module_name(path))
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=names):
        runner.run(example, out=said.append)
    assert not said, "".join(said)
    assert runner.tries > 0
