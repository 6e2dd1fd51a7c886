"""The documentation builds without a warning, and what it shows is run.

Blocks of Python run page by page, in order, with tiny random models in place of those that have
names, one of thirty layers and an encoder; command lines are read by the command line's own parser.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import tiny
import torch
import yaml
from typer.main import get_command

import painters_interp as painters
from painters_interp.cli.application import app

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pages"
PAGES = sorted(FOLDER.rglob("*.md"))
TEXTS = {page: page.read_text("utf-8") for page in PAGES}


def blocks(language: str) -> dict[Path, list[str]]:
    """The fenced blocks of a language, by page."""
    found = {
        page: re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for page, text in TEXTS.items()
    }
    return {page: parts for page, parts in found.items() if parts}


def place(page: Path) -> str:
    return str(page.relative_to(FOLDER))


@pytest.fixture(scope="module")
def named_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """From checkpoints, since what is exported must be known to come from somewhere."""
    small = {"hidden_size": 24, "intermediate_size": 24, "head_dim": 6, "num_hidden_layers": 30}
    decoder = tiny.save("llama", tmp_path_factory.mktemp("tiny"), **small)
    encoder = tiny.save("bert", tmp_path_factory.mktemp("encoder"))
    return {
        "smollm2-135m": painters.load_model(decoder),
        "minilm-l6": painters.load_model(encoder),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:task .* left out")
@pytest.mark.parametrize("page", blocks("python"), ids=place)
def test_its_code_runs(
    page: Path, named_models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(painters, "load_model", named_models.__getitem__)
    names: dict[str, object] = {}
    torch.manual_seed(0)
    for code in blocks("python")[page]:
        exec(compile(code, str(page), "exec"), names)
    plt.close("all")


LINES = [
    (page, line) for page, parts in blocks("sh").items() for line in "".join(parts).splitlines()
]


@pytest.mark.parametrize(("page", "line"), [(p, line) for p, line in LINES if "painters " in line])
def test_its_command_lines_are_understood(page: Path, line: str, tmp_path: Path) -> None:
    command, words = get_command(app), shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("painters", [str(tmp_path) if w == "FOLDER" else w for w in words])


WRITINGS = [*TEXTS, *ROOT.glob("*.md"), *ROOT.glob("notebooks/*.ipynb")]
MENTIONED = sorted(
    {
        (str(path.relative_to(ROOT)), line)
        for path in WRITINGS
        for line in re.findall(r"`painters ([a-z][^`]*)`", path.read_text("utf-8"))
    }
)


@pytest.mark.parametrize(("page", "line"), MENTIONED)
def test_commands_that_texts_mention_have_these_options(page: str, line: str) -> None:
    command, words = get_command(app), shlex.split(line.replace("\\", ""))
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    context = command.context_class(command)
    command.make_parser(context).parse_args(words)


def test_links_of_the_repository_lead_to_what_is_in_it() -> None:
    links = [
        (page, page.parent / link)
        for page in [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("figures/**/*.md")]
        for link in re.findall(r"\]\((?!http|#)([^)\s#]+)[^)]*\)", page.read_text("utf-8"))
    ]
    assert len(links) > 50
    assert not [(page, link) for page, link in links if not link.is_file()]


def test_every_verb_is_shown() -> None:
    shown = {shlex.split(line)[1] for _, line in LINES if line.startswith("painters ")}
    assert shown == {*get_command(app).commands}


def test_every_page_of_the_gallery_shows_its_figure() -> None:
    pages = {path.stem: TEXTS[path] for path in (FOLDER / "gallery").glob("*.md")}
    listed = re.findall(r"\(([\w-]+)\.md\)", pages.pop("index"))
    assert {*listed} == {*pages}
    del pages["paper-study"]  # which is made of the page beside the figures
    for name, text in pages.items():
        [shown] = re.findall(r"\]\(\.\./\.\./\.\./(figures/.*?)\)", text)
        assert (ROOT / shown).is_file()
        assert Path(shown).stem == name


def test_the_version_is_said_in_one_place_and_repeated_rightly() -> None:
    version = painters.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "version" in project["dynamic"]


@pytest.mark.slow
def test_it_builds_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", str(tmp_path)],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for page in tmp_path.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?://""", text), (
            page
        )
    shown = (tmp_path / "reference" / "strategies.html").read_text("utf-8")
    assert "damped_block" in shown
    assert "0-9 [10-13]@0.5*2 14-29" in shown
