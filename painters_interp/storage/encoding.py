"""Tables as bytes and back, every value and type as it was.

Parquet knows types. CSV has none, so they are noted beside it: `types` names the dtype of every
column, and whatever else its cells do not say themselves.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from ..errors import TableError
from ..tables import BOOLEAN, INTEGER, TEXT, typed

Types = dict[str, Any]
# File names may hold bytes that are no text, and models are named after files.
_ODD = "surrogatepass"
_QUOTED = {",", '"', "\r", "\n"}
_TRUTHS: dict[str, Any] = {"True": True, "False": False, "": None}


def encoded(table: pd.DataFrame, suffix: str) -> tuple[bytes, Types]:
    """The table as bytes of a file with this ending, and the types to note beside it.

    Raises TableError for a table that would not come back, naming the column.
    """
    table = typed(table)
    names = list(table.columns)
    odd = [n for n in names if not isinstance(n, str)] or [n for n in names if names.count(n) > 1]
    if odd or not names:
        named = f"; {odd[0]!r} is not" if odd else "; there is none"
        raise TableError(f"a table's columns need names, each a text of its own{named}")
    return (_parquet(table), {}) if suffix == ".parquet" else _csv(table)


def decoded(content: bytes, suffix: str, types: Types | None) -> pd.DataFrame:
    """The inverse of `encoded`; types are guessed where none were noted. Raises any error."""
    if suffix == ".parquet":
        return pd.read_parquet(BytesIO(content))
    instead = _instead_of_nul(content) if b"\0" in content else ""
    # As objects, which may be any text of Python; pandas' own texts are UTF-8.
    cells = pd.read_csv(
        BytesIO(content.replace(b"\0", instead.encode())), header=None, dtype=object,
        na_filter=False, index_col=False, skip_blank_lines=False, encoding_errors=_ODD,
    )  # fmt: skip
    names, *rows = cells.to_numpy().tolist()
    if instead:
        names, *rows = ([cell.replace(instead, "\0") for cell in row] for row in (names, *rows))
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if types is None:
        return typed(pd.DataFrame({name: _guessed(name, own) for name, own in columns.items()}))
    if {*types} != {*names}:
        raise ValueError(f"its columns are {', '.join(names)}, and not {', '.join(types)}")
    return pd.DataFrame({name: _column(own, types[name]) for name, own in columns.items()})


def _instead_of_nul(content: bytes) -> str:
    """A character that a file does not hold, for one at which older pandas ends a cell."""
    return next(c for c in map(chr, range(0xE000, 0xF8FF)) if c.encode() not in content)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer, plain = BytesIO(), table.copy(deep=False)
    plain.attrs = {}
    try:
        plain.to_parquet(buffer, index=False, compression="zstd")
    except (ValueError, TypeError) as error:  # Arrow's errors are these
        raise TableError(f"this table cannot be written as Parquet: {error}") from error
    return buffer.getvalue()


def _csv(table: pd.DataFrame) -> tuple[bytes, Types]:
    columns = {str(name): _cells(table[name]) for name in table}
    rows = zip(*(cells for cells, _ in columns.values()), strict=True)
    lines = [",".join(map(_quoted, row)) for row in (columns, *rows)]
    content = "".join(f"{line}\n" for line in lines).encode(errors=_ODD)
    return content, {name: kind for name, (_, kind) in columns.items()}


def _quoted(cell: str) -> str:
    # The csv module leaves a carriage return bare, which ends a line for everybody who reads it.
    if not _QUOTED.intersection(cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _cells(column: "pd.Series[Any]") -> tuple[list[str], Any]:
    """A column's cells as text, and its type."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        cells, of = _cells(column.astype(column.cat.categories.dtype))
        categories = _cells(pd.Series(column.cat.categories))
        return cells, {"category": categories, "of": of, "ordered": bool(column.cat.ordered)}
    known = column.notna().tolist()
    values = column.astype(object).tolist()
    if kinds.is_float_dtype(column.dtype) and isinstance(column.dtype, np.dtype):
        text: Callable[[Any], str] = str if column.dtype.itemsize < 8 else repr
        values = list(column) if text is str else values
    elif kinds.is_object_dtype(column.dtype) or kinds.is_string_dtype(column.dtype):
        return _texts(values, known, str(column.dtype))
    else:
        text = str
    return [text(v) if there else "" for v, there in zip(values, known, strict=True)], str(
        column.dtype
    )


def _texts(values: Sequence[Any], known: Sequence[bool], dtype: str) -> tuple[list[str], Any]:
    there = [value for value, some in zip(values, known, strict=True) if some]
    if not all(isinstance(value, str) for value in there):
        try:
            return [_as_json(value) for value in values], {"dtype": "json"}
        except (TypeError, ValueError):  # objects of some class, which are their text
            values, dtype = [str(v) if k else v for v, k in zip(values, known, strict=True)], "str"
    cells = [value if some else "" for value, some in zip(values, known, strict=True)]
    # An empty cell is a missing one, unless it is said to be an empty text.
    empty: Any = [row for row, cell in enumerate(cells) if cell == "" and known[row]]
    if not empty:
        return cells, dtype
    return cells, {"dtype": dtype, "empty": "all" if all(known) else empty}


def _as_json(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    plain = None if plain is pd.NA else plain
    text = json.dumps(plain, ensure_ascii=False)
    same = json.loads(text)
    if type(same) is not type(plain) or (same != plain and plain == plain):
        raise ValueError("this is no JSON")
    return text


def _column(cells: Sequence[str], kind: Any) -> Any:
    """A column from its cells and its type."""
    if isinstance(kind, str):
        return _typed_cells(cells, kind)
    if "category" in kind:
        categories = pd.Index(_column(*kind["category"]))
        dtype = pd.CategoricalDtype(categories, ordered=kind["ordered"])
        return pd.Series(_column(cells, kind["of"])).astype(dtype)
    if kind["dtype"] == "json":
        return pd.Series([json.loads(cell) for cell in cells], dtype=object)
    empty = range(len(cells)) if kind.get("empty") == "all" else {*kind.get("empty", ())}
    values = [c if c or row in empty else None for row, c in enumerate(cells)]
    return pd.Series(values, dtype=kind["dtype"])


def _typed_cells(cells: Sequence[str], dtype: str) -> Any:
    kind = pd.api.types.pandas_dtype(dtype)
    if kinds.is_object_dtype(kind) or kinds.is_string_dtype(kind):
        return pd.Series([cell or None for cell in cells], dtype=kind)
    if kinds.is_bool_dtype(kind):
        return pd.Series([_TRUTHS[cell] for cell in cells], dtype=kind)
    if kinds.is_integer_dtype(kind):
        return pd.Series([int(cell) if cell else None for cell in cells], dtype=kind)
    if kinds.is_float_dtype(kind):
        missing = float("nan") if isinstance(kind, np.dtype) else None
        return pd.Series([float(cell) if cell else missing for cell in cells], dtype=kind)
    return pd.Series([cell or None for cell in cells], dtype=object).astype(kind)


def _guessed(name: str, cells: Sequence[str]) -> Any:
    """A column that nobody noted the type of: what all its cells can be read as."""
    if name in TEXT or not any(cells):
        return _typed_cells(cells, "str" if name in TEXT else "float64")
    if name in INTEGER or name in BOOLEAN:
        choices = ["Int64" if name in INTEGER else "boolean"]
    else:
        choices = ["boolean"] if "" in cells else ["bool", "int64"]
    for dtype in (*choices, "float64"):
        try:
            return _typed_cells(cells, dtype)
        except (KeyError, ValueError):
            continue
    return _typed_cells(cells, "str")


def facts_as_json(facts: Mapping[str, Any]) -> bytes:
    """Facts for people and programs to read, the same bytes for the same facts."""
    text = json.dumps(facts, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    return f"{text}\n".encode(errors=_ODD)


def facts_from_json(content: bytes) -> dict[str, Any]:
    """The inverse of `facts_as_json`; ValueError for what is none."""
    facts = json.loads(content.decode(errors=_ODD))
    if not isinstance(facts, dict):
        raise ValueError("it holds no facts by name")
    return facts
