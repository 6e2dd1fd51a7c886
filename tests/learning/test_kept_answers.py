"""Answers in a store: found again for the same question, missing ones alone are learnt."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch

from painters_interp.errors import OutputError, TableError, UnsupportedModelError
from painters_interp.learning import Tuning, classify, examples, lessons
from painters_interp.studies import healed, run

SHORT = Tuning(epochs=1, rate=1e-3, batch=8)
PLANS = ["0-2 5", "5-0"]


@pytest.fixture(scope="module")
def task(letters: pd.DataFrame) -> Any:
    return examples(letters.head(20), name="letters")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The groups of plans that were really learnt under."""
    found: list[list[str]] = []
    answers = lessons.Lesson._answers

    def watched(self: Any, plans: Any, advance: Any) -> Any:
        found.append([str(plan) for plan in plans])
        return answers(self, plans, advance)

    monkeypatch.setattr(lessons.Lesson, "_answers", watched)
    return found


@pytest.mark.parametrize("tuning", [None, SHORT])
def test_only_what_is_missing_is_learnt(
    encoder: Any, task: Any, tmp_path: Path, asked: list[list[str]], tuning: Tuning | None
) -> None:
    own: dict[str, Any] = {"train": "all" if tuning else "head", "tuning": tuning}
    whole = classify(encoder, PLANS, task, **own)
    asked.clear()
    classify(encoder, PLANS[:1], task, **own, store=tmp_path)
    assert [plan for group in asked for plan in group] == ["0-5", "0-2 5"]
    asked.clear()
    found = classify(encoder, PLANS, task, **own, store=tmp_path)
    assert asked == [["5-0"]]
    pd.testing.assert_frame_equal(found, whole)
    asked.clear()
    pd.testing.assert_frame_equal(classify(encoder, PLANS, task, **own, store=tmp_path), found)
    assert not asked


def test_other_questions_are_asked_anew(
    encoder: Any, letters: pd.DataFrame, tiny_folder: Path, tmp_path: Path, asked: list[list[str]]
) -> None:
    def ask(model: Any = encoder, rows: int = 20, **own: Any) -> None:
        task = examples(letters.head(rows), name="letters")
        classify(model, PLANS[:1], task, store=tmp_path, **own)

    ask()
    edited = tiny.build("bert", torch.float64, tiny_folder)
    with torch.no_grad():
        next(edited.original_model.parameters()).mul_(1.01)
    for other in (
        {"seed": 1},
        {"pool": "first"},
        {"limit": 12},
        {"rows": 24},
        {"model": edited},
        {"train": "all", "tuning": SHORT},
        {"train": "all", "tuning": Tuning(epochs=2, rate=1e-3, batch=8)},
    ):
        asked.clear()
        ask(**other)
        assert asked, other
    asked.clear()
    ask(train="all", tuning=Tuning(1, 1e-3, 8, folder=tmp_path / "steps"))  # where, not how
    assert not asked


def test_a_run_that_was_cut_off_keeps_what_it_had(
    encoder: Any, task: Any, tmp_path: Path, asked: list[list[str]], monkeypatch: Any
) -> None:
    tuned = lessons.tuned_answers

    def cut_off(model: Any, plan: Any, *rest: Any) -> Any:
        if str(plan) == "5-0":
            raise KeyboardInterrupt
        return tuned(model, plan, *rest)

    monkeypatch.setattr(lessons, "tuned_answers", cut_off)
    with pytest.raises(KeyboardInterrupt):
        classify(encoder, PLANS, task, train="all", tuning=SHORT, store=tmp_path)
    monkeypatch.setattr(lessons, "tuned_answers", tuned)
    asked.clear()
    classify(encoder, PLANS, task, train="all", tuning=SHORT, store=tmp_path)
    assert asked == [["5-0"]]


def test_a_store_is_refused_before_anything_is_learnt(
    encoder: Any, task: Any, tmp_path: Path, asked: list[list[str]]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write in"):
        classify(encoder, PLANS, task, store=tmp_path / "file" / "store")
    with (
        encoder.hooks([("blocks.2.hook_resid_post", lambda value, hook: value)]),
        pytest.raises(UnsupportedModelError, match="results are kept by its weights"),
    ):
        classify(encoder, PLANS, task, store=tmp_path)
    assert not asked


def test_a_study_that_learns_keeps_its_answers(
    encoder: Any, tmp_path: Path, asked: list[list[str]]
) -> None:
    words = [f"{side * 3}{'rst'[n % 3]}" for n, side in enumerate("ax" * 24)]
    table = pd.DataFrame({"text": words, "label": [0, 1] * 24})
    own: dict[str, Any] = {"tasks": {"sides": table}, "store": tmp_path}
    first = run("2407.09298-A9", encoder, **own)
    assert asked.pop(0) == ["0-5"]  # whether it can be learnt at all
    assert len(asked) == 1
    asked.clear()
    again = run("2407.09298-A9", encoder, **own)
    assert not asked
    pd.testing.assert_frame_equal(first.claims, again.claims)


def test_what_the_intact_model_does_not_learn_is_learnt_under_no_plan(
    encoder: Any, letters: pd.DataFrame, asked: list[list[str]]
) -> None:
    drawn = letters.assign(label=[0, 1, 1, 0] * 15)
    with pytest.raises(TableError, match="on no task is the intact model clearly above chance"):
        run("2407.09298-A9", encoder, {"drawn": drawn})
    assert asked == [["0-5"]]


def test_what_healing_regains_is_kept(
    decoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"the {a} sat on a {b}" for a in ("cat", "dog") for b in "xyzv"]
    own: dict[str, Any] = {"tasks": "probe_facts", "limit": 4, "texts": texts, "store": tmp_path}
    monkeypatch.setattr(healed, "_TUNING", Tuning(epochs=1, rate=1e-3, batch=4))
    first = run("2407.09298-A2", decoder, **own)
    learnt: list[Any] = []
    monkeypatch.setattr(healed, "heal", lambda *asked, **how: learnt.append(asked))
    again = run("2407.09298-A2", decoder, **own)
    assert not learnt
    pd.testing.assert_frame_equal(first.claims, again.claims)
    pd.testing.assert_frame_equal(first.tables["healed"], again.tables["healed"])
