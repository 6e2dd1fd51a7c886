"""What importing costs: values, tables and figures come without a model library."""

import subprocess
import sys
import time

import pytest

import painters_interp as painters

HEAVY = ("torch", "transformers", "transformer_lens", "lm_eval", "datasets")


def imported(code: str) -> set[str]:
    """Which heavy libraries are loaded after running `code` in a fresh interpreter."""
    ask = f"import sys\n{code}\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import painters_interp as painters; painters.Plan.parse('0-3', n_layers=4)",
        "from painters_interp import strategies, experiments, tables, figures, store, report",
        "from painters_interp import cli, models, errors, files, progress",
    ],
)
def test_light_rooms_load_no_model_library(code: str) -> None:
    assert imported(code) == set()


def test_loading_a_model_is_what_loads_torch() -> None:
    assert "torch" in imported("from painters_interp import load_model")


def test_help_answers_within_a_second() -> None:
    command = [sys.executable, "-m", "painters_interp", "--help"]
    seconds = []
    for _ in range(3):  # the quickest of three: other tests share the machine
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def test_every_public_name_is_there() -> None:
    for name in painters.__all__:
        assert getattr(painters, name) is not None
    assert set(painters.__all__) <= set(dir(painters))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = painters.nonsense
