"""`painters logit-lens`, `damage` and `stitch`: tables and figures that are drawn again."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from painters_interp import cli, read_run

N = tiny.N_LAYERS
LINES = ["the first document", "and the second one", "and here a third", "then comes the last"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama"))


@pytest.fixture
def painters(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checkpoint: str,
    tmp_path: Path,
) -> Any:
    """Run a command on the tiny model, into `tmp_path / "out"`, figures as SVG."""
    (tmp_path / "texts.txt").write_text("\n".join(LINES))

    def run(*words: object) -> tuple[int, str, str]:
        own = ("--model", checkpoint, "--out", tmp_path / "out", "--formats", "svg")
        monkeypatch.setattr("sys.argv", ["painters", *map(str, (*words, *own))])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_a_logit_lens_reads_every_state_at_every_position(painters: Any, tmp_path: Path) -> None:
    code, out, _ = painters("logit-lens", "abcd", "--top", 2)
    assert code == 0
    assert out.split() == [str(tmp_path / "out" / f"logit_lens.{kind}") for kind in ("csv", "svg")]
    run = read_run(tmp_path / "out")
    assert len(run["logit_lens"].table) == 5 * (N + 1) * 2
    assert run["logit_lens"].provenance["prompt"] == "abcd"
    assert [*run.figures()] == ["logit_lens"]


def test_damage_says_rho_of_each_measure_and_its_interval(painters: Any, tmp_path: Path) -> None:
    words = ("--measures", "cosine", "--longest", 2, "--texts", tmp_path / "texts.txt")
    code, out, _ = painters("damage", *words)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if " rho " in line] == [
        [measure, variant]
        for measure in ("cosine", "depth")
        for variant in ("drop", "swap", "drop_window")
    ]
    assert len(read_run(tmp_path / "out").figures()["damage"].axes) == 2


@pytest.mark.parametrize(("pairs", "drawn"), [("depth", 1), ("all", 2)])
def test_stitching_at_one_depth_is_curves_and_of_all_pairs_a_map(
    painters: Any, tmp_path: Path, checkpoint: str, pairs: str, drawn: int
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(LINES * 4))
    words = ("stitch", checkpoint, "--pairs", pairs, "--texts", tmp_path / "texts.txt")
    code, _, _ = painters(*words, "--formats", "svg")
    assert code == 0
    run = read_run(tmp_path / "out")
    states = (N + 1) ** 2 if pairs == "all" else N + 1
    assert run["stitching"].table["map"].eq("ridge").sum() == states
    assert len(run.figures()["stitching"].axes) == drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("logit-lens", "abcd", "--positions", "9"), "position 9 is outside"),
        (("logit-lens", "abcd", "--top", "99999"), "is no number of tokens"),
        (("damage", "--measures", "luck"), "no measure 'luck'"),
        (("stitch", "nowhere-model", "--pairs", "some"), "--pairs 'some' is not one of depth, all"),
        (("stitch", "nowhere-model", "--method", "glue"), "--method 'glue' is not one of"),
        (("logit-lens", "abcd", "--venue", "arxiv"), "--venue 'arxiv' is not one of"),
    ],
)
def test_bad_input_is_a_line_and_leaves_nothing(
    painters: Any, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, out, error = painters(*words)
    assert (code, out) == (2, "")
    [line] = error.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
