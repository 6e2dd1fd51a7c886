"""What an editor or type checker sees of the package: every public name with its types, no Any."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

import pytest

import painters_interp as painters

LAZY = ("", "models")
# Stand-ins for libraries that take a type checker minutes to read; all else is read as it is.
STANDINS = {
    "torch/__init__.pyi": (
        "from typing import TypeVar\nF = TypeVar('F')\n"
        "class Tensor: ...\nclass device: ...\nclass dtype: ...\n"
        "class no_grad:\n    def __call__(self, function: F) -> F: ...\n"
    ),
    "transformers/__init__.pyi": "class PreTrainedModel: ...\n",
    "transformer_lens/__init__.pyi": "",
    "transformer_lens/model_bridge/__init__.pyi": "class TransformerBridge: ...\n",
}
INCOMPLETE = "from typing import Any\ndef __getattr__(name: str) -> Any: ...\n"
# Beside what stands in, their sources are left unread: six seconds in place of fifty.
UNREAD = (
    "accelerate", "datasets", "huggingface_hub", "IPython", "lm_eval", "scipy", "seaborn",
    "sklearn", "tokenizers", "torch", "tqdm", "transformer_lens", "transformers", "wandb",
)  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The type of every public name, as mypy reveals it to a user's file."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in STANDINS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + INCOMPLETE)
    lines = [f"reveal_type(painters.{name})" for name in painters.__all__]
    lines += [f"reveal_type(painters.strategies.{name})" for name in ("skip", "middle")]
    lines += ["reveal_type(painters.models.as_model)", "reveal_type(painters.__version__)"]
    user = folder / "user.py"
    user.write_text("\n".join(["import painters_interp as painters", *lines]))
    unread = [f"[mypy-{name}.*]\nfollow_imports = skip" for name in UNREAD]
    config = folder / "mypy.ini"
    config.write_text("\n".join(["[mypy]", "ignore_missing_imports = true", *unread]))
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache"), "user.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = re.findall(r'user\.py:(\d+): note: Revealed type is "(.*)"', done.stdout)
    assert "error" not in done.stdout, done.stdout
    return {lines[int(line) - 2][21:-1]: kind for line, kind in found}


def test_every_public_name_has_a_type(seen: dict[str, str]) -> None:
    assert {*painters.__all__} <= {*seen}
    assert [name for name, kind in seen.items() if kind == "Any"] == []


def test_every_public_function_says_what_it_returns(seen: dict[str, str]) -> None:
    functions = [n for n in painters.__all__ if isinstance(getattr(painters, n), FunctionType)]
    assert len(functions) > 5
    for name in functions:
        returned = seen[name].rpartition(" -> ")[2]
        assert returned, name
        assert "Any" not in returned, f"{name}: {seen[name]}"


def test_every_room_is_a_module(seen: dict[str, str]) -> None:
    rooms = [path.name.removesuffix(".py") for path in Path(painters.__path__[0]).iterdir()]
    for name in {*rooms} & {*painters.__all__}:
        assert "Module" in seen[name], seen[name]


def test_models_are_taken_in_any_form(seen: dict[str, str]) -> None:
    for name in ("load_model", "applied", "check", "similarity", "evaluate", "token_logprobs"):
        for form in ("TransformerBridge", "PreTrainedModel", "str", "Path"):
            assert form in re.split(r", \w+:", seen[name])[0], seen[name]


@pytest.mark.parametrize("room", LAZY)
def test_a_stub_says_what_is_imported_lazily(room: str) -> None:
    spec = find_spec(f"painters_interp.{room}".rstrip("."))
    assert spec is not None
    assert spec.origin is not None
    stub = ast.parse(Path(spec.origin).with_suffix(".pyi").read_text())
    listed = [n for node in stub.body if isinstance(node, ast.ImportFrom) for n in node.names]
    room_itself = getattr(painters, room) if room else painters
    assert sorted(name.name for name in listed) == sorted(room_itself.__all__)
    assert all(name.asname == name.name for name in listed)
