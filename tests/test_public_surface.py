"""The public surface says what it takes, gives and raises, each with an example that is run.

The surface is what a user calls: the functions of the package itself, those that its rooms list,
and the methods of plans. Values that functions return are shown in the examples of these functions.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import painters_interp as painters

# The rooms that users write with; what they need of the others has a name in the package itself.
BENEATH = {"errors", "execution", "streams", "texts"}
ROOMS = [
    name
    for name in painters.__all__
    if inspect.ismodule(getattr(painters, name)) and name not in BENEATH
]


def listed(room: str) -> list[str]:
    """What a room offers: its `__all__`, or what it says `x as x` of, or the names it defines."""
    module = getattr(painters, room)
    if hasattr(module, "__all__"):
        return list(module.__all__)
    tree = ast.parse(inspect.getsource(module))
    aliases = [a for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names]
    again = [alias.name for alias in aliases if alias.asname == alias.name]
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    return again + [name for name in own if not name.startswith("_")]


def surface() -> Iterator[tuple[str, Any]]:
    """Each public function once, under the shortest name that reaches it."""
    names = [*painters.__all__, *(f"{room}.{name}" for room in ROOMS for name in listed(room))]
    seen: set[int] = set()
    for name in names:
        found: Any = painters
        for part in name.split("."):
            found = getattr(found, part)
        if inspect.isfunction(found) and id(found) not in seen:
            seen.add(id(found))
            yield name, found
    for method, value in vars(painters.Plan).items():
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function) and not method.startswith("_"):
            yield f"Plan.{method}", function


def raises_itself(function: Callable[..., Any]) -> bool:
    """Whether a `raise` stands in the function's own body, nested functions aside."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


def gives_something(function: Callable[..., Any]) -> bool:
    """Whether the function returns a value, by its annotation."""
    return inspect.signature(function).return_annotation not in (None, "None", type(None))


def gaps(function: Callable[..., Any]) -> list[str]:
    """The sections that the docstring of a function lacks."""
    text = inspect.getdoc(function) or ""
    missing = [] if ">>> " in text else ["an example"]
    taken = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    described = set(re.findall(r"^ {4}\*{0,2}(\w+)(?: \(.*?\))?:", text, re.M))
    described |= {
        name
        for line in re.findall(r"^ {4}([\w*, ]+):", text, re.M)
        for name in re.findall(r"\w+", line)
    }
    if taken and "Args:" not in text:
        missing.append("Args")
    else:
        missing += [f"Args of {name}" for name in taken if name not in described]
    if gives_something(function) and not re.search(r"^(Returns|Yields):", text, re.M):
        missing.append("Returns")
    if raises_itself(function) and "Raises:" not in text:
        missing.append("Raises")
    return missing


SURFACE = dict(surface())


@pytest.mark.parametrize("name", SURFACE)
def test_it_says_what_it_takes_gives_and_raises_with_an_example(name: str) -> None:
    missing = gaps(SURFACE[name])
    assert not missing, f"the docstring of painters.{name} lacks {', '.join(missing)}"
