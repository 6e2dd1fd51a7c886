"""`painters cost`: the sums of `experiments.cost`, read and written."""

import re
from pathlib import Path

from typer.testing import CliRunner

from painters_interp import cost, experiments
from painters_interp.cli.application import app
from painters_interp.storage import read_provenance, read_table

WORDS = ["cost", "--n-layers", "4", "--d-model", "64", "--vocabulary", "96", "--d-ff", "128"]


def test_says_hours_and_writes_the_table(tmp_path: Path) -> None:
    out = tmp_path / "costs"
    found = CliRunner().invoke(app, [*WORDS, "--gpus", "1,8", "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert "42 plans: 1,297 layer calls, 111 shared" in found.output
    assert re.search(r"^ +8 GPUs: .* \(scoring .*, writing .*\); plan by plan ", found.output, re.M)
    shape = experiments.Shape(4, 64, 128, 64, 96)
    expected = cost(shape, gpus=[1, 8])
    assert read_table(out.with_suffix(".csv"))["hours"].tolist() == expected["hours"].tolist()
    assert read_provenance(out.with_suffix(".csv"))["d_model"] == 64


def test_says_where_a_model_does_not_fit() -> None:
    found = CliRunner().invoke(app, [*WORDS, "--memory", "0.000001", "--gpus", "1"])
    assert "1 GPUs: the model does not fit" in found.output


def test_takes_what_is_given_or_what_is_measured() -> None:
    found = CliRunner().invoke(app, [*WORDS, "--peak", "1", "--measure", "smollm2-135m"])
    assert "--measure says what a GPU reaches" in str(found.exception)
