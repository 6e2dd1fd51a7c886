"""The examples in the docstrings run as printed, on a tiny model.

They may use these names without making them: `painters` (the package), `model` (a tiny Llama of six
layers with a tokenizer of characters, float32), `plan`, `texts`, `tasks`, `answers` (an item table
of eight items under the intact model and `plan`), `table` (the result table that rests on it),
`pretend` (which makes results up for an experiment), `checkpoint` (the folder of a tiny model) and
`tmp_path`, which is also where they run.
"""

import doctest
import importlib
from pathlib import Path
from typing import Any

import pandas as pd
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


def answered() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The intact model is right on seven items of eight, the plan on four of these; and results."""
    right = {"0-5": [1, 1, 1, 1, 1, 1, 1, 0], "0-2 5": [1, 1, 1, 1, 0, 0, 0, 0]}
    facts: dict[str, object] = {
        "model": "tiny",
        "revision": None,
        "dtype": "float32",
        "task": "facts",
        "version": "1",
    }
    facts |= {"metric": "acc", "reference": float("nan"), "chance": 0.25, "truncated": False}
    facts |= {"aggregation": "mean", "higher_is_better": True, "requests": "digest", "seed": 0}
    rows = [
        {**facts, "plan": plan, "item": item, "value": float(value)}
        for plan, values in right.items()
        for item, value in enumerate(values)
    ]
    items = painters.items.item_table(pd.DataFrame(rows))
    labels = pd.DataFrame({"label": ["intact", "skip"], "plan": [*right]})
    return items, painters.tables.labelled(labels, painters.items.summarise(items, intact="0-5"))


def pretend(plans: pd.DataFrame) -> pd.DataFrame:
    """Results on one task: the intact model is best, every other plan half as good."""
    facts: dict[str, str | float] = {
        "model": "tiny",
        "task": "facts",
        "metric": "acc",
        "chance": 0.25,
    }
    facts |= {"stderr": 0.02, "seed": 0, "n": 32, "higher_is_better": True}
    return plans.assign(**facts, value=plans["variant"].eq("intact").map({True: 0.75, False: 0.5}))


@pytest.fixture
def names(
    tiny_folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What every example may use."""
    monkeypatch.chdir(tmp_path)
    answers, table = answered()
    return {
        "painters": painters,
        "model": tiny.shared("llama", torch.float32, tiny_folder),
        "plan": "0-2 5",
        "texts": ["water boils when hot", "a cat sat on a mat", "one two three four"],
        "tasks": ["probe_facts"],
        "answers": answers,
        "table": table,
        "pretend": pretend,
        "tmp_path": tmp_path,
        "checkpoint": checkpoint,
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
