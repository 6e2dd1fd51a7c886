"""Digests that tell what is kept from what else is: the same in every run, on every machine."""

import json
import site
import sys
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

# Where Python keeps its own modules and those that are installed; and this package, wherever it is.
_WHERE = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(site.getusersitepackages(), str(Path(__file__).parent)),
)


def digest(facts: Any) -> str:
    """Sixteen hexadecimal digits of facts that JSON can write, in whatever order they are named."""
    return text_digest(json.dumps(facts, sort_keys=True, default=str))


def text_digest(text: str) -> str:
    """Sixteen hexadecimal digits of a text."""
    return sha256(text.encode()).hexdigest()[:16]


def is_installed(value: FunctionType | type) -> bool:
    """Whether a function or class comes with Python or a package: the same as its version is."""
    # What `functools.wraps` has made says the module of what is inside of it.
    told = (
        value.__globals__.get("__name__") if isinstance(value, FunctionType) else value.__module__
    )
    module = sys.modules.get(str(told))
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None) or ""
    return not file or file.startswith(_WHERE)


def compiled(code: CodeType) -> list[Any]:
    """What code does, in terms that JSON knows, with the functions inside of it."""
    return [code.co_code.hex(), [*code.co_names], [_constant(c) for c in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return compiled(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def enclosed(function: FunctionType) -> dict[str, Any]:
    """The variables of functions around it that a function uses, as they are now."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: value for name, cell in cells for value in _contents(cell)}


def _contents(cell: Any) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # nothing is in it yet
        return


def named_by(function: FunctionType) -> dict[str, Any]:
    """The variables of its module that a function, or one inside of it, names, as they are now."""
    around = function.__globals__
    return {name: around[name] for name in sorted(_names(function.__code__)) if name in around}


def _names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names}.union(*map(_names, inner))


def members(kind: type) -> dict[str, Any]:
    """What a class itself holds: values and functions, also those behind properties."""
    held = {
        name: getattr(value, "__func__", getattr(value, "fget", value))
        for name, value in vars(kind).items()
    }
    return {
        name: value
        for name, value in held.items()
        if isinstance(value, FunctionType) or not name.startswith("__")
    }
