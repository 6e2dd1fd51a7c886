"""What is installed from the repository: the package whole, nothing else, and it runs.

`pip install .` goes into an environment that holds what the package says it needs, and no more: it
would ask an index for anything else, and is not allowed to.
"""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import painters_interp as painters

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "painters_interp", folder / "painters_interp", ignore=unwanted)
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """The distributions that one needs with these extras, and those that they need."""
    for extra in extras | {""}:
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        yield name
        for line in metadata.requires(name) or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                asked = frozenset(wanted.extras)
                yield from needed(canonicalize_name(wanted.name), asked, seen)


def tops(name: str) -> Iterator[Path]:
    """The files and folders of a distribution that lie in the folder of packages itself."""
    distribution = metadata.distribution(name)
    for first in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        yield Path(str(distribution.locate_file(first)))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """A fresh environment with the package installed; what it needs is linked, not copied."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = canonicalize_name("painters_interp")
    for top in {top for name in {*needed(own, frozenset(), set())} - {own} for top in tops(name)}:
        (packages / "site-packages" / top.name).symlink_to(top)
    install = [*PIP, "install", "--no-index", "--no-build-isolation", str(source)]
    subprocess.run([str(folder / "bin" / "python"), *install], env=alone(), check=True)
    return folder


def alone() -> dict[str, str]:
    """This process's variables without those by which other packages would be seen."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_a_wheel_holds_the_package_whole_and_nothing_else(source: Path, tmp_path: Path) -> None:
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, *PIP, *build, str(source)], check=True)
    [wheel] = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "painters_interp").rglob("*") if path.is_file())
    there = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert held == there
    assert painters.__version__ in wheel.name


def test_what_it_installs_runs_its_main_job(environment: Path, tmp_path: Path) -> None:
    """With nothing but what it says it needs: no test tool, no extra, none of the repository."""
    little = ["--experiments", "single_layers", "--tasks", "probe_facts", "--limit", "1"]
    run = [str(environment / "bin" / "painters"), "run", *little, "--out", "results"]
    done = subprocess.run(
        run, cwd=tmp_path, env=alone(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results"
    assert (results / "report.html").is_file()
    assert len(pd.read_csv(results / "single_layers.csv"))
    assert {path.suffix for path in results.glob("single_layers.*")} >= {".pdf", ".png", ".svg"}
    asked = "import painters_interp; print(painters_interp.__file__)"
    where = subprocess.run(
        [str(environment / "bin" / "python"), "-c", asked],
        cwd=tmp_path,
        env=alone(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(environment)
