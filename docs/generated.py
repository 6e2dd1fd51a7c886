"""Pages and pictures of the documentation that are made of other files of this repository.

The reference has a page for each room, with every name that the room offers, so that no list of
functions is kept by hand. Figures, the table of architectures and the papers of the project are
taken from where they lie.
"""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from painters_interp import experiments

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "painters_interp"
PAPERS = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md",
          "security.md": "SECURITY.md"}  # fmt: skip
FIGURES = ROOT / "figures"
STUDY = "2407.09298"  # the folder of the paper's study there
# What pages link to where it lies, and where that is in what is built.
BUILT = {
    "figures/README.md": "gallery/paper-study.md",
    "figures/": "gallery/",
    "tests/ZOO.md": "tried.md",
    "painters_interp/__init__.pyi": "reference.md",
}
INTERNAL = {"errors", "streams", "texts", "execution"}  # beneath what users call
LARGE = experiments.Shape(80, 8192, d_ff=28672, kv_width=1024, vocabulary=32_000)
MODELS = {
    "7B": (experiments.Shape(32, 4096, d_ff=11008, kv_width=4096, vocabulary=32_000), 2.0),
    "70B": (LARGE, 2.0),
    "70B, 4 bits": (LARGE, 0.5),
}
TRIED = """# What was tried

A model is examined, not looked up in a list: before anything runs, its layers are tried, and a
model whose layers cannot be exchanged exactly is refused with the reason. The table below is what
came of trying architectures, refused ones included. It is written by a program in the tests, and a
test compares it with the code.

How to read it: *cached* is the largest difference of logits between decoding token by token and one
pass over the same text, *runner* between shared work and a plan that is applied alone, *padding*
between padded rows and the same texts alone.

"""


def rooms() -> dict[str, list[str]]:
    """The public names of each room, in the order in which the room lists them."""
    return {
        name: offered(name)
        for name in imported(PACKAGE / "__init__.pyi", level=0)
        if name not in INTERNAL
    }


def offered(room: str) -> list[str]:
    """What a room offers: what it imports as itself, or what a room of one file defines."""
    folder = PACKAGE / room
    if not folder.is_dir():
        tree = ast.parse((PACKAGE / f"{room}.py").read_text("utf-8"))
        kinds = (ast.FunctionDef, ast.ClassDef)
        return [n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    stub = folder / "__init__.pyi"
    return imported(stub if stub.is_file() else folder / "__init__.py", level=1)


def imported(path: Path, level: int) -> list[str]:
    """Names that a file imports as themselves, from beside it (0) or from its modules (1)."""
    nodes = [n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.ImportFrom)]
    inside = [node for node in nodes if bool(node.module) == bool(level)]
    return [a.name for node in inside for a in node.names if a.name == a.asname]


def reference(room: str, names: list[str]) -> str:
    """The page of a room; constants and nested rooms, which have no docstring, are left out."""
    shown = [name for name in names if name.lower() == name or not name.isupper()]
    parts = [f"::: painters_interp.{room}.{name}" for name in shown]
    head = f"# {room}\n\n::: painters_interp.{room}\n    options:\n      members: false\n"
    hidden = "      show_root_heading: false\n      show_root_toc_entry: false\n"
    return head + hidden + "\n" + "\n\n".join(parts) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made here."""
    made = {f"reference/{room}.md": reference(room, names) for room, names in rooms().items()}
    made["reference.md"] = contents(made)
    table = (ROOT / "tests" / "ZOO.md").read_text("utf-8").partition("\n\n")[2]
    made["tried.md"] = TRIED + table
    made |= {page: (ROOT / name).read_text("utf-8") for page, name in PAPERS.items()}
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    for picture in sorted(FIGURES.rglob("*.png")):
        path = f"gallery/{picture.relative_to(FIGURES)}"
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put what is made in place of the lines that ask for it, and link to what is built.

    In the repository such a line says where to look, and links lead to what lies there.
    """
    made = {"costs": costs, "figures": study_figures, "claims": study_claims}
    asked = r"^.*<!-- (\w+) -->$"
    markdown = re.sub(asked, lambda line: made[line[1]](), markdown, flags=re.MULTILINE)
    top = "../" * page.file.src_uri.count("/")
    for lies, built in BUILT.items():
        markdown = markdown.replace(f"]({top}../../{lies}", f"]({top}{built}")
    return markdown


def study_figures() -> str:
    """What the page beside the figures says of those of the paper's study."""
    text = (FIGURES / "README.md").read_text("utf-8")
    told = text.partition("## The paper's study")[2].partition("\n\n")[2]
    return told.replace(f"({STUDY}/claims.md)", "(#claims)")


def study_claims() -> str:
    """The table of its claims."""
    return (FIGURES / STUDY / "claims.md").read_text("utf-8")


def costs() -> str:
    """What the paper's suite takes, by model and number of GPUs."""
    lines = ["| model | GPUs | plans | shared calls | scoring | writing | plan by plan |"]
    lines += ["|---" * 7 + "|"]
    for name, (shape, weight_bytes) in MODELS.items():
        for row in experiments.cost(shape, weight_bytes=weight_bytes).to_dict("records"):
            hours = [row[part] for part in ("reading", "writing", "one_by_one")]
            shown = (
                [f"{h:,.0f} h" if h > 9.5 else f"{h:.2g} h" for h in hours]
                if row["copies"]
                else ["does not fit", "", ""]
            )
            cells = [name, row["gpus"], row["plans"], f"{row['shared']:,}", *shown]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def contents(pages: dict[str, str]) -> str:
    """The page that leads to the rooms, each with the sentence that describes it."""
    lines = [f"- [{Path(page).stem}]({page}): {says(Path(page).stem)}" for page in sorted(pages)]
    return (
        "# Reference\n\nEverything that the package offers, by room, with an example each. What is "
        "used most stands\nin the package itself: `painters.evaluate` is "
        "`painters.evaluation.evaluate`.\n\n" + "\n".join(lines) + "\n"
    )


def says(room: str) -> str:
    """The first sentence of a room's docstring."""
    place = PACKAGE / room
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.splitlines()[0]
