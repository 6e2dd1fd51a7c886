"""What is installed from the repository: the package whole, nothing else, and it runs.

Built of a copy, without asking an index: what it depends on is what the tests run with.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import painters_interp as painters

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "painters_interp",
        folder / "painters_interp",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    made = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), str(folder)]
    subprocess.run([*PIP, *build], check=True)
    [path] = made.iterdir()
    return path


def test_it_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "painters_interp").rglob("*") if path.is_file())
    there = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert held == there
    assert painters.__version__ in wheel.name


def test_what_it_installs_runs(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "installed"
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(place), str(wheel)], check=True)
    command = [sys.executable, str(place / "bin" / "painters"), "plan", "0-8 (9-20)*3 21-29"]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "every layer called" in done.stdout
    asked = [sys.executable, "-c", "import painters_interp; print(painters_interp.__file__)"]
    where = subprocess.run(
        asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(where.stdout.strip()).is_relative_to(place)
