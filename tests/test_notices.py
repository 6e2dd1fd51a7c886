"""Warnings point at the user's own line, whatever lies between it and what warns."""

import re
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp import arguments, notices, storage
from painters_interp.notices import PaintersWarning

PACKAGE = Path(painters.__file__).parent


@contextmanager
def entered(say: Callable[[], None]):
    say()
    yield


def in_a_context(say: Callable[[], None]) -> None:
    with entered(say):
        pass


def in_a_hook_of_torch(say: Callable[[], None]) -> None:
    layer = torch.nn.Identity()
    layer.register_forward_hook(lambda *_: say())
    layer(torch.zeros(1))


@pytest.mark.parametrize(
    "between",
    [
        lambda say: say(),
        arguments.counting(seed=0)(lambda say, seed=0: say()),
        torch.no_grad()(lambda say: say()),
        lambda say: pd.Series([1]).map(lambda _: say()),
        in_a_context,
        in_a_hook_of_torch,
    ],
    ids=["a call", "counting", "no_grad", "pandas", "a context", "a hook"],
)
def test_what_lies_between_is_not_pointed_at(
    between: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_OURS", (*notices._OURS, __file__))  # as if this were ours
    code = compile("def own(between, say):\n    between(say)\n", "analysis.py", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.warns(PaintersWarning) as caught:
        names["own"](between, partial(notices.warn, "odd"))
    assert (caught[0].filename, caught[0].lineno) == ("analysis.py", 2)


def test_a_warning_of_a_function_that_checks_its_settings_points_at_the_call(
    tiny_folder: Path,
) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    with pytest.warns(PaintersWarning, match="is of zero shots") as caught:
        painters.evaluate(model, ["0-4"], "probe_facts", limit=2, num_fewshot=1)
    said = next(one for one in caught if "zero shots" in str(one.message))
    assert said.filename == __file__
    assert "painters.evaluate(" in Path(__file__).read_text().splitlines()[said.lineno - 1]


def test_a_warning_of_a_method_points_at_the_call(tmp_path: Path) -> None:
    path = storage.write_table(pd.DataFrame({"a": [1]}), tmp_path / "table", {})
    path.with_suffix(".json").unlink()
    with pytest.warns(PaintersWarning, match="is read unchecked") as caught:
        storage.read_table(path)
    assert caught[0].filename == __file__


def test_every_warning_of_the_package_is_given_so() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "notices.py":
            assert not re.search(r"warnings\.warn\(|stacklevel", path.read_text("utf-8")), path


def test_where_only_libraries_called_the_first_line_outside_is_pointed_at() -> None:
    code = compile("say('odd')", "/x/site-packages/other/run.py", "exec")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(notices, "_INSTALLED", ("",))  # so that every line is a library's
        exec(code, {"say": notices.warn})
    assert caught[0].filename == "/x/site-packages/other/run.py"
