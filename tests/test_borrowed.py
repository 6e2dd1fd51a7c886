"""Private names of other libraries: each is where it was seen, and used in one place alone."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import painters_interp

PACKAGE = Path(painters_interp.__file__).parent
LIBRARIES = {
    "torch": "torch",
    "transformer_lens": "transformer-lens",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "lm_eval": "lm-eval",
    "gguf": "gguf",
    "ray": "ray",
    "matplotlib": "matplotlib",
}
# By these a name is reached that is one's own, or that a class of one's own overrides.
OWN = ("self", "cls", "super")
# Public, in spite of their looks: of a named tuple.
PUBLIC = ("_replace", "_asdict")


def borrowed(library: str) -> ModuleType:
    return importlib.import_module(f"painters_interp.borrowed.of_{library}")


NAMES = [
    (library, owner, name)
    for library in LIBRARIES
    for owner, names in borrowed(library).NAMES.items()
    for name in names
]


def found(path: str) -> Any:
    """The object at a dotted path: a module, or what is inside one."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            place: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            place = getattr(place, part)
        return place
    raise ModuleNotFoundError(path)


@pytest.mark.parametrize(("library", "owner", "name"), NAMES)
def test_is_still_there(library: str, owner: str, name: str) -> None:
    """As an attribute, or set somewhere in the source of the class."""
    module = borrowed(library)
    told = (
        f"{owner}.{name} is gone from {library} {version(LIBRARIES[library])}; it was seen in "
        f"{module.SEEN} and is needed here: {module.NAMES[owner][name]}. Change {module.__name__}"
    )
    try:
        place = found(owner)
    except (ModuleNotFoundError, AttributeError):
        pytest.fail(told)
    assert hasattr(place, name) or re.search(rf"\b{name}\b", source_of(place)), told


def source_of(place: Any) -> str:
    """The source of a module or a function; of a class, that of what it inherits from, too."""
    if not inspect.isclass(place):
        return inspect.getsource(place)
    return "".join(inspect.getsource(one) for one in place.__mro__ if one is not object)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name != "borrowed":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def own_names() -> set[str]:
    """Everything that is defined in the package under a name with an underscore."""
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    for _, tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name) | ast.ClassDef(name) | ast.arg(name):
                    names.add(name)
                case ast.Name(name, ast.Store()):
                    names.add(name)
                case ast.Attribute(ast.Name("self" | "cls"), name, ast.Store()):
                    names.add(name)
    return names


def uses(tree: ast.Module, foreign: set[str]) -> Iterator[tuple[int, str]]:
    """Private names that are taken from something else than a class's own self, by line.

    Those that are `foreign` also where they are written in quotes.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value, name) if re.fullmatch(r"_[a-zA-Z]\w*", name):
                by = value.func if isinstance(value, ast.Call) else value
                if not (isinstance(by, ast.Name) and by.id in OWN):
                    yield node.lineno, name
            case ast.ImportFrom(module, names) if node.level == 0:
                parts = [part for one in names for part in f"{module}.{one.name}".split(".")]
                yield from ((node.lineno, part) for part in parts if re.match("_[a-zA-Z]", part))
            case ast.Constant(str(text)) if text.strip(".") in foreign:
                yield node.lineno, text.strip(".")


def test_no_private_name_of_another_library_is_used_elsewhere() -> None:
    foreign = {name for _, _, name in NAMES if name.startswith("_")}
    own = own_names() | {*PUBLIC}
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} uses {name}"
        for path, tree in trees()
        for line, name in uses(tree, foreign)
        if name in foreign or name not in own
    ]
    assert wrong == [], "put it into painters_interp/borrowed, with the reason"
