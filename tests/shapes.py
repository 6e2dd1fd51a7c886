"""Types are checked while tests run where they say shapes, which no static checker sees.

A function is checked if its annotations name a shape, and no other one: mypy has checked those, and
a call of a small function would cost several times as much.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import beartype
import jaxtyping

PACKAGE = Path(__file__).parents[1] / "painters_interp"
_DECORATOR = ast.parse("__import__('shapes').checked", mode="eval").body
_NAMED = re.compile(r"^(\w+) = (.+)$", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w*")


def checked(made: Any) -> Any:
    """A function or dataclass whose shapes are checked at every call."""
    return jaxtyping.jaxtyped(made, typechecker=beartype.beartype)


def shaped_names(sources: Iterable[str]) -> frozenset[str]:
    """What stands for a shape: jaxtyping's own types, and names given to what is made of them."""
    found = {name for name in dir(jaxtyping) if isinstance(getattr(jaxtyping, name), type)}
    given = [pair for source in sources for pair in _NAMED.findall(source)]
    more = found
    while more:
        more = {name for name, value in given if {*_WORD.findall(value)} & found} - found
        found |= more
    return frozenset(found)


class _Mark(ast.NodeTransformer):
    """Puts the decorator where shapes are said: innermost of functions, outermost of classes."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        if self._say_shapes([*(a.annotation for a in arguments if a), node.returns]):
            node.decorator_list.append(_DECORATOR)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        fields = [part.annotation for part in node.body if isinstance(part, ast.AnnAssign)]
        if self._say_shapes(fields):
            node.decorator_list.insert(0, _DECORATOR)
        return node

    def _say_shapes(self, annotations: Iterable[ast.expr | None]) -> bool:
        said = " ".join(ast.unparse(one) for one in annotations if one is not None)
        return bool({*_WORD.findall(said)} & self._names)


class _Loader(SourceFileLoader):
    """Compiles a module with the marks; keeps what it compiled beside what others compile."""

    def __init__(self, fullname: str, path: str, names: frozenset[str]) -> None:
        super().__init__(fullname, path)
        self._names = names
        known = Path(__file__).read_bytes() + " ".join(sorted(names)).encode()
        self._tag = hashlib.sha256(known).hexdigest()[:8]

    def source_to_code(  # type: ignore[override]
        self, data: Any, path: Any, *, _optimize: int = -1
    ) -> Any:
        tree = _Mark(self._names).visit(ast.parse(data, str(path)))
        made = ast.fix_missing_locations(tree)
        return compile(made, path, "exec", dont_inherit=True, optimize=_optimize)

    def get_data(self, path: str) -> bytes:
        return super().get_data(self._own(path))

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        super().set_data(self._own(path), data, _mode=_mode)

    def _own(self, path: str) -> str:
        return f"{path.removesuffix('.pyc')}.{self._tag}.pyc" if path.endswith(".pyc") else path


class _Finder(MetaPathFinder):
    def __init__(self, names: frozenset[str], modules: frozenset[str]) -> None:
        self._names, self._modules = names, modules

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in self._modules else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin, self._names)
        return spec


def check_shapes() -> None:
    """From now on, modules of the package that say shapes are imported so that they are checked."""
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    names = shaped_names(sources.values())
    modules = [
        path.relative_to(PACKAGE.parent).with_suffix("")
        for path, source in sources.items()
        if "from jaxtyping import" in source
    ]
    named = frozenset(".".join(m.parts).removesuffix(".__init__") for m in modules)
    sys.meta_path.insert(0, _Finder(names, named))
