"""What importing costs: values, tables and figures come without a model library."""

import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest

import painters_interp as painters

HEAVY = ("torch", "transformers", "transformer_lens", "lm_eval", "datasets")


LIGHT = (
    "import painters_interp as painters; painters.Plan.parse('0-3', n_layers=4)",
    "from painters_interp import strategies, experiments, tables, figures, store, report",
    "import painters_interp as p; p.plans, p.tables, p.statistics, p.storage, p.figures",
    "import painters_interp as p; p.items.summarise, p.scores, p.store.read_table",
    "from painters_interp import cli, models, errors, storage, progress",
)


def test_light_rooms_load_no_model_library_and_loading_a_model_does() -> None:
    """In a fresh interpreter, one after the other: which heavy libraries are there after each."""
    there = f"print(*[m for m in {HEAVY} if m in sys.modules])"
    codes = [*LIGHT, "from painters_interp import load_model"]
    asked = "\n".join(["import sys", *(f"{code}\n{there}" for code in codes)])
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    *light, loading = (line.split() for line in done.stdout.splitlines())
    assert dict(zip(LIGHT, light, strict=True)) == {code: [] for code in LIGHT}
    assert "torch" in loading


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "evaluate --nonsense",
        "evaluate '0-12 (17'",
        "check --dtype float99",
        "similarity --formats gif",
        "similarity --venue post",
        "similarity --center none",
        "classify --train half",
        "readers --pool most",
        "generate a --cache none",
        "stitch a --pairs none",
        "sweep a --out b --executor none",
        "grid nonsense",
    ],
)
def test_what_a_command_line_says_is_read_before_models_and_tables_are_loaded(words: str) -> None:
    """What makes it answer at once."""
    code = (
        f"from painters_interp import cli\nsys.argv = {['painters', *shlex.split(words)]}\n"
        "try: cli.main()\nexcept SystemExit as stop: ended = stop.code\n"
        "assert ended == (0 if sys.argv[1] == '--help' else 2)\n"
        "heavy = ('torch', 'transformers', 'pandas', 'matplotlib')\n"
        "print('loaded:', *[m for m in heavy if m in sys.modules], file=sys.__stdout__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_every_public_name_is_there() -> None:
    for name in painters.__all__:
        assert getattr(painters, name) is not None
    assert set(painters.__all__) <= set(dir(painters))
    assert painters.__version__ == version("painters_interp")
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = painters.nonsense


ROOMS = """comparison damage errors evaluation execution experiments figures generation measures
models patching plans report statistics stitching storage strategies streams tables texts"""


@pytest.mark.parametrize("room", ROOMS.split())
def test_every_room_is_reachable_without_a_deep_import(room: str) -> None:
    assert getattr(painters, room).__name__ == f"painters_interp.{room}"


def test_functions_are_not_hidden_by_modules() -> None:
    for room in ROOMS.split():
        getattr(painters, room)
    for name in ("similarity", "capture", "applied", "check", "evaluate", "load_model"):
        assert callable(getattr(painters, name))
