"""The notebooks run, with less to do, and their stored outputs are those of the committed code.

Values may differ from machine to machine; what is compared is the form: which outputs a cell has,
the columns of its tables and the number of their rows, its images, and its text with every number
replaced. `python tests/test_notebooks.py [STEM ...]` executes them anew and stores what came out.
"""

import copy
import itertools
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import tiny
import torch
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

import painters_interp as painters

# Bars that move are no output to store; as under pytest, so when this file is run.
os.environ["TQDM_DISABLE"] = os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_WHOLE = 'painters.load_model("smollm2-135m")'
# What the tests put for what takes long, so that every output keeps its form; readers see it whole.
# NARROW is the folder of a model as deep as the default, where no output's form depends on weights,
# and ASKED a file of questions that this model answers rightly.
SMALLER = {
    "01_quickstart": {
        '"smollm2-135m"': "NARROW",
        "painters.generate(model,": f"painters.generate({_WHOLE},",
        "limit=16": "limit=4",
        "limit = 64": "limit = 4",
        " degrees, and it freezes when it is cooled to zero": "",
    },
    "02_shared_canvas": {
        '"smollm2-135m"': "NARROW",
        "found = painters.similarity(model,": f"found = painters.similarity({_WHOLE},",
        "limit = 16": "limit = 6",
        "few = texts[:4]": "few = [text[:20] for text in texts[:2]]",
    },
    "03_patching_and_swaps": {
        '"smollm2-135m"': "NARROW",
        "identity = ": f"whole, identity = {_WHOLE}, ",
        "patchscope(model,": "patchscope(whole,",
        "range(3, 8)": "range(6, 8)",
        "texts[:2]))": "[text[:40] for text in texts[:2]]))",
        "texts[:2], at=4": "[text[:40] for text in texts[:2]], at=4",
        "range(1, n, 3), texts[:2]": "range(1, n, 9), [text[:40] for text in texts[:2]]",
        "stitch(model, model, texts,": "stitch(model, model, [text[:100] for text in texts],",
        "for j in (12, 18, 24)]": "for j in (18,)], ridge=1e-3",
    },
    "04_which_differences_are_real": {"limit = 64": "limit = 19"},
    "05_encoders_and_readers": {'"smollm2-135m"': "NARROW", "limit = 300": "limit = 40"},
    "06_from_finding_to_use": {
        '"smollm2-135m"': "NARROW",
        "calls = 28": "calls = 29",
        "search(model, texts,": "search(model, [text[:20] for text in texts],",
        "length=64, new=4, repeats=4": "length=16, new=2, repeats=2",
    },
    "07_the_paper_figure_by_figure": {
        '"smollm2-135m"': "NARROW",
        "(model, tasks,": "(model, [painters.task(t, pd.read_json(ASKED)) for t in tasks],",
        "limit = 16": "limit = 6",
        "single_layers(n))": "single_layers(n).query('layer in (0, 15, 29) or layer.isna()'))",
        "for size in (9, 6, 3)": "for size in (6, 3)",
        "max_times=4": "max_times=2",
        "seeds=2": "seeds=1",
        "limit=20 * limit": "limit=10 * limit",
    },
    "08_your_own_model_and_tasks": {
        '"smollm2-135m"': "NARROW",
        '"models": model.cfg.model_name': '"models": NARROW',
        "limit = 16": "limit = 4",
    },
}
LINES = 10  # of a cell of code, at most
IMAGES = ("image/png", "image/svg+xml", "image/jpeg")
NUMBER = re.compile(r"[-+]?\b\d+(?:[.,]\d+)*(?:e[-+]?\d+)?\b|\bnan\b", re.IGNORECASE)


def executed(notebook: Any, folder: Path, kernel: KernelManager | None = None) -> Any:
    """The notebook as a kernel in `folder` leaves it; raises what a cell raises.

    A fresh kernel, or the one given, which forgets the names that it knew.
    """
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, km=kernel, timeout=600, kernel_name="python3", resources=place
    )
    if kernel is not None:
        fresh = f"%reset -f\nimport os\nos.chdir({str(folder)!r})\ndel os"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(fresh))  # type: ignore[no-untyped-call]
    found = client.execute()
    if kernel is not None:
        del found.cells[0]
    return found


@pytest.fixture(scope="session")
def kernel() -> Iterator[KernelManager]:
    """One for all notebooks of a worker: what they import takes longer than some of them."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="session")
def narrow(default_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the name, the tokenizer and the depth of the default."""
    folder = tmp_path_factory.mktemp("narrow") / "smollm2-135m"
    tiny.stock(
        "llama",
        torch.float32,
        vocab_size=len(default_model.tokenizer),
        num_hidden_layers=len(default_model.blocks),
        tie_word_embeddings=True,
    ).save_pretrained(folder)
    default_model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def asked(narrow: Path) -> Path:
    """Questions whose right answers are those of the narrow model, as random as they are."""
    asked = pd.DataFrame(
        {"question": [f"The colour of {letter} is" for letter in "abcdef"], "gold": 0}
    )
    asked["choices"] = [["red", "blue", "green"]] * len(asked)
    answered = painters.evaluation.score_items(
        str(narrow), "0-29", painters.task("asked", asked, metric=lambda item, answer: answer)
    )
    path = narrow.with_name("asked.json")
    asked.assign(gold=answered["value"].astype(int)).to_json(path)
    return path


def smaller(notebook: Any, changes: dict[str, str]) -> Any:
    """The notebook with less to do; each text that is to change must stand in it."""
    made = copy.deepcopy(notebook)
    for old, new in changes.items():
        places = [cell for cell in code_cells(made) if old in cell.source]
        assert places, f"no cell holds {old!r}"
        for cell in places:
            cell.source = cell.source.replace(old, new)
    return made


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def masked(text: str) -> str:
    """Text with every number as #, blanks and rules between columns as one blank."""
    return re.sub(r"(?:\s|\\|\.\.+|─|-{2,})+", " ", NUMBER.sub("#", text)).strip()


def form(cell: Any) -> list[tuple[Any, ...]]:
    """What kind of outputs a cell has, without their values."""
    found: list[tuple[Any, ...]] = []
    for out in cell.outputs:
        if out.output_type == "stream":
            text = out.text
            if found and found[-1][:2] == ("stream", out.name):  # kernels cut streams anywhere
                text = found.pop()[2] + text
            found.append(("stream", out.name, text))
        elif out.output_type == "error":
            found.append(("error", out.ename))
        else:
            found.append((out.output_type, sorted(out.data), *_shown(out.data)))
    return [(*o[:2], masked(o[2])) if o[0] == "stream" else o for o in found]


def _shown(data: Any) -> list[Any]:
    """Of a table its columns and number of rows, of an image how many panels, else the text."""
    if "text/html" in data:
        html = data["text/html"]
        return [re.findall(r"<th>(.*?)</th>", html.partition("</thead>")[0]), html.count("<tr")]
    if any(kind in data for kind in IMAGES):
        return re.findall(r"\d+ Axes", data.get("text/plain", ""))
    return [masked(data.get("text/plain", ""))]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored(
    path: Path, tmp_path: Path, kernel: KernelManager, narrow: Path, asked: Path
) -> None:
    stored = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    places = {"NARROW": repr(str(narrow)), "ASKED": repr(str(asked))}
    changes = {
        old: re.sub("|".join(places), lambda name: places[name[0]], new)
        for old, new in SMALLER[path.stem].items()
    }
    fresh = executed(smaller(stored, changes), tmp_path, kernel)
    for before, now in zip(code_cells(stored), code_cells(fresh), strict=True):
        assert form(now) == form(before), f"{path.name} is to be executed anew:\n{now.source}"


def badge(stem: str) -> str:
    """What opens a notebook in Colab, from the address that the package gives."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project["urls"]["Repository"]
    colab = address.replace("https://github.com", "https://colab.research.google.com/github")
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"({colab}/blob/main/notebooks/{stem}.ipynb) There, first: `%pip install git+{address}`"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestForm:
    @pytest.fixture
    def cells(self, path: Path) -> list[Any]:
        cells: list[Any] = nbformat.read(path, as_version=4).cells  # type: ignore[no-untyped-call]
        return cells

    def test_it_opens_with_what_is_learnt_and_ends_with_what_to_try(
        self, path: Path, cells: list[Any]
    ) -> None:
        assert cells[0].source.startswith(badge(path.stem) + "\n\n# ")
        assert "**What you will learn**" in cells[0].source
        assert "## What to try next" in cells[-1].source

    def test_its_parameters_stand_in_a_cell_of_their_own(self, cells: list[Any]) -> None:
        [tagged] = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
        assert cells.index(tagged) == 1
        names = re.findall(r"^(\w+) = ", tagged.source, re.M)
        assert names[:3] in (["model", "tasks", "limit"], ["models", "tasks", "limit"])

    def test_its_cells_are_short(self, cells: list[Any]) -> None:
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        assert not [source for source in code if len(source.splitlines()) > LINES]

    def test_its_sections_end_with_a_sentence(self, cells: list[Any]) -> None:
        for cell, after in itertools.pairwise(cells):
            if after.cell_type == "markdown" and after.source.lstrip().startswith("#"):
                assert cell.cell_type == "markdown", f"no sentence before {after.source[:40]!r}"

    def test_it_imports_what_is_public(self, cells: list[Any]) -> None:
        rooms = {name for name in painters.__all__ if not name.startswith("_")}
        for cell in cells:
            for path in re.findall(r"(?:from|import) painters_interp\.([\w.]+)", cell.source):
                assert path.split(".")[0] in rooms
                assert path in {*rooms, "measures.zones"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_executed_and_names_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    code = code_cells(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(out.output_type == "error" for cell in code for out in cell.outputs)
    assert not any(out.get("name") == "stderr" for cell in code for out in cell.outputs)
    texts = [str(out.get("text", "")) + str(out.get("data", "")) for c in code for out in c.outputs]
    paths = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|var|mnt|Users)/|[A-Z]:\\\\")
    assert not any(paths.search(text) for text in texts)


def table(*columns: str, rows: int = 1) -> dict[str, str]:
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "<tr><td>1</td></tr>" * rows
    return {"text/html": f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"text/plain": "gap 4.0e-05"}, {"text/plain": "gap 0.0"}, True),
        ({"text/plain": "gap 4.0e-05"}, {"text/plain": "worst 4.0e-05"}, False),
        ({"text/plain": "(30, 576)"}, {"text/plain": "(6, 48, 2)"}, False),
        (table("plan", "p"), table("plan", "p"), True),
        (table("plan", "p"), table("plan", "p_adjusted"), False),
        (table("plan", rows=2), table("plan", rows=3), False),
        (
            {"image/png": "aa", "text/plain": "<Figure size 70x24 with 1 Axes>"},
            {"image/png": "bb", "text/plain": "<Figure size 80x24 with 1 Axes>"},
            True,
        ),
        (
            {"image/png": "aa", "text/plain": "<Figure size 70x24 with 1 Axes>"},
            {"image/png": "aa", "text/plain": "<Figure size 70x24 with 3 Axes>"},
            False,
        ),
    ],
)
def test_the_form_of_an_output(one: dict[str, str], other: dict[str, str], alike: bool) -> None:
    before, now = (
        nbformat.from_dict({"outputs": [{"output_type": "execute_result", "data": data}]})  # type: ignore[no-untyped-call]
        for data in (one, other)
    )
    assert (form(before) == form(now)) is alike


def store(path: Path) -> None:
    """Execute a notebook and write it back with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        found = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        notebook = executed(found, Path(folder))
    notebook.metadata = {
        "kernelspec": notebook.metadata["kernelspec"],
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
    first = notebook.cells[0]
    first.source = "\n\n".join([badge(path.stem), first.source[first.source.index("# ") :]])
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    for chosen in NOTEBOOKS:
        if not sys.argv[1:] or chosen.stem in sys.argv[1:]:
            store(chosen)
