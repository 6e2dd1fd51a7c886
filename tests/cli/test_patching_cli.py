"""`painters patch`: tables and figures from a prompt, and one line for what does not fit."""

import json
import sys

import pytest
import tiny

from painters_interp import cli, storage

N = tiny.N_LAYERS
KINDS = ("csv", "pdf", "png", "svg")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama"))


@pytest.fixture
def patch(monkeypatch, capsys, checkpoint, tmp_path):
    """Run `painters patch` in this process; gives (exit code, stdout, stderr)."""

    def run(*words: object):
        given = ["painters", "patch", *map(str, words), "--model", checkpoint, "--out", tmp_path]
        monkeypatch.setattr(sys, "argv", list(map(str, given)))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def test_residual(patch, tmp_path):
    code, out, _ = patch("residual", "abcd", "abed", "--right", "x", "--wrong", "y")
    assert code == 0
    assert out.split() == [str(tmp_path / f"patch_residual.{kind}") for kind in KINDS]
    table = storage.read_table(tmp_path / "patch_residual")
    assert len(table) == N * 5
    assert table["token"].unique().tolist() == ["<s>", "a", "b", "c / e", "d"]
    facts = json.loads((tmp_path / "patch_residual.json").read_text())
    assert (facts["clean"], facts["right"], facts["model"]) == ("abcd", "x", "tiny-llama")


def test_across(patch, tmp_path):
    code, out, _ = patch(
        "across", "abcd", "--target", "efgh", "--positions", "-2,-1", "--plan", "0 2-5"
    )
    assert code == 0
    assert out.split() == [str(tmp_path / f"patch_across.{kind}") for kind in KINDS]
    assert len(storage.read_table(tmp_path / "patch_across")) == N**2


def test_effects(patch, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("the first document\nand the second one\nand a third\n")
    code, out, _ = patch("effects", "--texts", texts, "--limit", 2, "--at", 3)
    assert code == 0
    assert out.split() == [str(tmp_path / f"patch_effects.{kind}") for kind in KINDS]
    table = storage.read_table(tmp_path / "patch_effects")
    assert set(table["documents"]) == {2}
    assert set(table["changed_at"]) == {3}
    assert table["dropped"].max() == N - 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("residual", "abcd", "abe", "--metric", "kl"), "different numbers of tokens"),
        (("residual", "abcd", "abed"), "give --right and --wrong"),
        (("across", "abcd", "--metric", "logprob"), "reads answers; give --right"),
        (("residual", "abcd", "abed", "--wrong", "y"), "give --right too"),
        (("residual", "abcd", "abed", "--metric", "acc"), "no metric 'acc'"),
        (("across", "abcd", "--positions", "one"), "'one' are no whole numbers"),
        (("across", "abcd", "--positions", "9"), "position 9 is outside"),
        (("effects", "--at", "999"), "leaves no later token"),
        (("effects", "--plan", "0-9"), "asks for layer 9"),
        (("nonsense",), "No such command"),
    ],
)
def test_bad_input_is_one_line_and_code_2(patch, words, message):
    code, _, err = patch(*words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
