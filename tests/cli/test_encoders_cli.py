"""An encoder on the command line: what reads states takes it, what needs next tokens says so."""

from pathlib import Path
from typing import Any

import pytest
import tiny


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as a folder."""
    return tiny.save("bert", tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_reads_the_built_in_passages(painters: Any, encoder: Path) -> None:
    words = ("--model", encoder, "--limit", 3, "--formats", "svg")
    code, out, err = painters("similarity", *words)
    assert code == 0, err
    assert "similarity" in out


def test_studies_that_are_not_for_it_say_why(painters: Any, encoder: Path) -> None:
    code, out, err = painters("study", "--model", encoder, "--limit", 8)
    assert code == 0, err
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["2403.03853"].startswith("needs a model that predicts next tokens")
    assert " min " in lines["2407.09298-A9"]
    assert " min " in lines["2407.09298-glue"]


@pytest.mark.parametrize("words", [("evaluate", "0-5"), ("heal", "0-2 5", "--out", "healed")])
def test_what_needs_next_tokens_names_what_does_not(
    painters: Any, encoder: Path, words: tuple[Any, ...]
) -> None:
    code, _, err = painters(*words, "--model", encoder)
    assert code == 2
    assert "next-token probabilities (`classify` and `readers` read its states)" in err
    assert not Path("healed").exists()


def test_what_it_learns_is_kept(painters: Any, encoder: Path) -> None:
    words = ("classify", "0-2 5", "--model", encoder, "--limit", 12, "--store", "kept")
    code, first, err = painters(*words)
    assert code == 0, err
    kept = {path: path.stat().st_mtime_ns for path in Path("kept").rglob("*.parquet")}
    assert kept
    assert painters(*words)[:2] == (0, first)
    assert {path: path.stat().st_mtime_ns for path in Path("kept").rglob("*.parquet")} == kept


def test_glue_is_found_where_its_tasks_are(painters: Any, encoder: Path) -> None:
    Path("nothing").mkdir()
    words = ("study", "2407.09298-A9", "--model", encoder, "--data", "nothing", "--out", "o")
    code, _, err = painters(*words)
    assert code == 2
    assert "no task of GLUE in nothing" in err
