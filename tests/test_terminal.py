"""Objects and tables fit a terminal of 80 columns, whatever stands in them."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp.terminal import Brief, folded, in_columns, say

LONG = "0-1 (2|4)@sum*3 [3-5]@0.5*2 1 0"
TEXTS = ["the first of them", "and the second", "then a third", "a fourth"]


@pytest.fixture(scope="module")
def model(tiny_folder: Any) -> Any:
    return tiny.shared("llama", torch.float32, tiny_folder)


SHOWN = {
    "check": lambda m: painters.check(m, LONG),
    "latency": lambda m: painters.latency(m, [LONG], length=8, new=2, repeats=2),
    "evaluate": lambda m: painters.evaluate(m, {"a long name of it": LONG}, "probe_facts", limit=2),
    "kl_to_intact": lambda m: painters.kl_to_intact(m, [LONG], TEXTS),
    "similarity": lambda m: painters.similarity(m, TEXTS, massive="both"),
    "a matrix": lambda m: painters.similarity(m, TEXTS, "cosine_centered", massive="both")[
        "cosine_centered_without_massive"
    ],
    "capture": lambda m: next(iter(painters.capture(m, TEXTS))),
    "search": lambda m: painters.search(m, TEXTS, calls=5),
    "prepare": lambda m: painters.evaluation.prepare(m, ["probe_facts"], limit=2),
    "schedule": lambda m: painters.plans.schedule([painters.Plan.parse(LONG, 6)]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_functions_return_is_shown_in_80_columns(name: str, model: Any) -> None:
    shown = repr(SHOWN[name](model))
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.splitlines()) < 40


@dataclasses.dataclass(repr=False)
class Found(Brief):
    table: pd.DataFrame
    scores: Any
    text: str
    share: float
    names: tuple[str, ...]


def test_an_object_in_short_says_how_large_its_parts_are() -> None:
    found = Found(pd.DataFrame({"a": [1, 2]}), np.zeros((3, 4)), "x" * 99, 1 / 3, ("name",) * 30)
    shown = " ".join(repr(found).split())
    assert shown.startswith("Found(table=DataFrame 2 x 1, scores=ndarray 3 x 4, text='xxx")
    assert shown.endswith("..., share=0.3333, names=tuple of 30)")


def test_a_table_that_is_too_wide_is_folded_and_then_parted() -> None:
    many = {f"number {k}": ["1.2345", "2"] for k in range(12)}
    table = {"plan": ["0-5", "0 1 2 3 4 5 " * 4], **many}
    lines = in_columns(table, ["plan"]).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("plan") for line in lines) == 2
    assert all(f"number {k}" in "\n".join(lines) for k in range(12))


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "tab\there"])
def test_a_row_is_a_row_whatever_its_name(name: str) -> None:
    assert len(in_columns({"plan": [name], "kl": ["1"]}, ["plan"]).splitlines()) == 2


def test_wide_signs_keep_columns_straight() -> None:
    head, row = in_columns({"plan": ["\u5c42\u5c42"], "kl": ["1"]}, ["plan"]).splitlines()
    assert (head, row) == ("plan kl", "\u5c42\u5c42  1")


def test_what_has_no_blanks_is_not_broken() -> None:
    path = "/x" * 60
    assert folded(f"written to {path}", hang=2).splitlines() == ["written to", f"  {path}"]


def test_where_no_terminal_shows_it_a_line_stays_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("word " * 40)
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    say("word " * 40)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 50
