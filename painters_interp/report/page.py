"""A folder of results as one page that opens anywhere: nothing is fetched, all is inside.

Claims with their verdicts, figures, every table, and what produced them. All text is escaped: a
label may hold anything.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ..errors import OutputError, TableError
from ..figures import moving
from ..plans.words import count
from ..storage import FORMATS, read_provenance, read_table, writable_file, write_whole
from ..tables.showing import measured, short
from .drawing import DRAWINGS
from .findings import summary

PAGE = "report.html"
CLAIMS = "claims"
_MADE_BY = '<meta name="generator" content="painters_interp">'
_ITEMS = ".items"
_HALF = 400  # pixels of a figure of one column, at most; wider ones have a row for themselves
_MOST_ROWS = 1000
_NUMBER = ' class="number"'
_PICTURES = {".svg": "image/svg+xml", ".png": "image/png"}
_SIGNS = {"holds": "✓", "fails": "✗", "undecided": "?"}
# What a browser may do with the page: show what is in it, and ask nobody for anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
# In the heading of a report: what was measured.
_HEADING = ("model", "revision", "dtype", "limit", "items", "texts", "seed")


@dataclass(frozen=True, eq=False)
class _Folder:
    """What lies in one folder: tables with their facts, and pictures, each by name."""

    name: str
    path: Path
    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, dict[str, Any]]
    pictures: Mapping[str, Path]
    live: Mapping[str, str]

    @property
    def title(self) -> str:
        """The study that this is of, or the model."""
        facts = self.own
        study, model = facts.get("title"), _listed(facts.get("model", self.path.resolve().name))
        return model if study is None else f"{study}: {model}"

    @property
    def own(self) -> dict[str, Any]:
        """The facts of the claims, or of the first table there is."""
        return self.facts.get(CLAIMS) or next(iter(self.facts.values()), {})


def page(folder: str | Path) -> str:
    """The results in a folder, and in the folders of studies inside it, as an HTML page.

    Tables are read as they were written, figures as they lie there (SVG or PNG, whichever is
    smaller); with plotly installed they answer to a pointer, and stand still in print and where
    no script runs. A table of more than 1,000 rows shows the first of them, and says so.

    Args:
        folder: Where the tables lie.

    Returns:
        The page, which needs no other file.

    Raises:
        TableError: no tables, or one that is not what was written.

    Example:
        >>> path = painters.store.write_table(table, tmp_path / "paged" / "mine", {})
        >>> "mine" in page(tmp_path / "paged")
        True
    """
    folder = Path(folder)
    found = [part for part in _folders(folder) if part.tables]
    if not found:
        raise TableError(f"no tables in {folder}; `painters run` and `painters study` write some")
    title = found[0].title if len(found) == 1 else _listed(found[0].own.get("model", folder.name))
    links = (f'<a href="#{_anchor(part)}">{escape(part.title)}</a>' for part in found)
    room = files(__package__)
    style, script = ((room / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            _MADE_BY,
            f"<title>{escape(title)}</title>",
            f"<style>\n{style}{moving.STYLE}</style></head><body>",
            *([f"<h1>{escape(title)}</h1>", f"<nav>{''.join(links)}</nav>"] * (len(found) > 1)),
            *(line for part in found for line in _section(part, alone=len(found) == 1)),
            f"<script>\n{script}</script>{_moves(found)}</body></html>\n",
        ]
    )


def write_page(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write `page` of a folder.

    Args:
        folder: Where the tables lie.
        out: The file's name; report.html in the folder by default.

    Returns:
        The file.

    Raises:
        TableError: as `page` does.
        OutputError: a file there that is no such page.

    Example:
        >>> table = painters.kl_to_intact(model, {"skip": plan}, texts)
        >>> path = painters.store.write_table(table, tmp_path / "kl", {})
        >>> painters.report.write_page(tmp_path).name
        'report.html'
    """
    path = writable_page(Path(folder) / PAGE if out is None else Path(out))
    return write_whole(path, page(folder).encode("utf-8", "backslashreplace"))


def writable_page(path: Path) -> Path:
    """Whether a page may be written somewhere.

    Args:
        path: The file's name.

    Returns:
        The path.

    Raises:
        OutputError: for a file of another kind that is there, or that cannot be written.

    Example:
        >>> writable_page(tmp_path / "report.html").name
        'report.html'
    """
    if writable_file(path).exists() and _MADE_BY.encode() not in path.read_bytes()[:4096]:
        raise OutputError(f"{path} is no page of this package; give another name, or move it away")
    return path


def _folders(folder: Path) -> Iterator[_Folder]:
    """The folder itself, then those in it, by name."""
    if not folder.is_dir():
        raise TableError(f"there is no folder {folder}")
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    for name, path in [("", folder), *((path.name, path) for path in inner)]:
        tables = {
            file.stem: file
            for file in sorted(path.glob("*.*"))
            if file.suffix in FORMATS and not file.stem.endswith(_ITEMS)
        }
        facts = {  # a table without facts beside it is none of ours, and nobody's business
            stem: read_provenance(file)
            for stem, file in tables.items()
            if file.with_suffix(".json").is_file()
        }
        order = sorted(facts, key=lambda stem: (stem != CLAIMS, _place(stem), stem))
        pictures = {stem: best for stem in _stems(path) if (best := _smaller(path, stem))}
        read = {stem: read_table(tables[stem]) for stem in order}
        live = {stem: file.read_text("utf-8").replace("<", "\\u003c") for stem in pictures
                if (file := path / f"{stem}{moving.KEPT}").is_file()}  # fmt: skip
        yield _Folder(name, path, read, {stem: facts[stem] for stem in order}, pictures, live)


def _place(stem: str) -> int:
    names = [*DRAWINGS]
    return names.index(stem) if stem in names else len(names)


def _stems(path: Path) -> list[str]:
    stems = {file.stem for file in path.iterdir() if file.suffix in _PICTURES}
    return sorted(stems, key=lambda stem: (_place(stem), stem))


def _smaller(path: Path, stem: str) -> Path | None:
    there = [file for kind in _PICTURES if (file := path / f"{stem}{kind}").is_file()]
    return min(there, key=lambda file: file.stat().st_size, default=None)


def _section(part: _Folder, alone: bool) -> Iterator[str]:
    own, level = part.own, "h1" if alone else "h2"
    told = (f"{name} {_listed(own[name])}" for name in _HEADING if own.get(name) is not None)
    yield f'<section id="{_anchor(part)}"><{level}>{escape(part.title)}</{level}>'
    yield f'<p class="facts">{escape(", ".join(told))}</p>'
    if CLAIMS in part.tables:
        yield "<h3>Claims</h3>"
        yield from _claims(part.tables[CLAIMS])
    if part.pictures:
        yield '<h3>Figures</h3><div class="figures">'
        yield from (
            _figure(name, file, part.live.get(name)) for name, file in part.pictures.items()
        )
        yield "</div>"
    if CLAIMS not in part.tables and (sentences := summary(part.path)):
        yield "<h3>Findings</h3><ul>"
        yield from (f"<li>{escape(sentence)}</li>" for sentence in sentences)
        yield "</ul>"
    yield "<h3>Tables</h3>"
    yield from (_details(part, name, table) for name, table in part.tables.items())
    yield "<h3>Provenance</h3>"
    yield from _provenance(part.facts)
    yield "</section>"


def _claims(table: pd.DataFrame) -> Iterator[str]:
    """Verdict, sentence, what was found, what was published, the rule."""
    head = dict.fromkeys(("verdict", "claim", "found", "published", "holds if", "tried"), False)
    yield f'<div class="scroll whole"><table><thead>{_headings(head)}</thead><tbody>'
    for row in table.to_dict("records"):
        verdict = str(row["verdict"])
        sign, kind = _SIGNS.get(verdict, ""), verdict if verdict in _SIGNS else "undecided"
        found = escape(measured(row["value"], row["low"], row["high"], str(row["unit"])))
        yield (
            f'<tr><td data-value="{escape(verdict)}"><span class="verdict {kind}">{sign} '
            f'{escape(verdict)}</span></td><td class="claim">{escape(str(row["claim"]))}</td>'
            f'<td class="number" data-value="{_exact(row["value"])}">{found}</td>'
            f"<td>{escape(str(row['published']))}</td><td>{escape(str(row['rule']))}</td>"
            f'<td class="number">{escape(str(row["tried"]))}</td></tr>'
        )
    yield "</tbody></table></div>"


def _figure(name: str, file: Path, live: str | None) -> str:
    kind, content = _PICTURES[file.suffix], b64encode(file.read_bytes()).decode()
    words = escape(name.replace("_", " "))
    picture = f'<img alt="Figure: {words}" src="data:{kind};base64,{content}">'
    shown = picture if live is None else moving.element(picture, live)
    wide = live is not None and json.loads(live)["layout"]["meta"]["width"] > _HALF
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}>{shown}<figcaption>{words}</figcaption></figure>"


def _moves(found: Sequence[_Folder]) -> str:
    """The scripts that let figures move; none where none can, or where plotly is not installed."""
    there = any(part.live for part in found) and find_spec("plotly") is not None
    return moving.script() if there else ""


def _details(part: _Folder, name: str, table: pd.DataFrame) -> str:
    """A table to be opened: columns that are the same in all rows are said once, above."""
    shown = table.head(_MOST_ROWS)
    same = [c for c in table if len(table) > 1 and table[c].astype(str).nunique() == 1]
    told = ", ".join(f"{c}: {text}" for c in same if (text := _text(table[c].iloc[0])))
    rest = [column for column in table if column not in same]
    head = {str(column): is_numeric_dtype(table[column]) for column in rest}
    rows = count(len(table), "row")
    cut = f", the first {_MOST_ROWS:,} here" if len(table) > _MOST_ROWS else ""
    body = "".join(
        f"<tr>{''.join(map(_cell, row))}</tr>"
        for row in shown[rest].astype(object).itertuples(index=False, name=None)
    )
    return (
        f"<details><summary>{escape(name)} ({rows}{cut})</summary>"
        + f'<p class="facts">{escape(told)}</p>' * bool(told)
        + f'<div class="scroll"><table><thead>{_headings(head)}</thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _headings(names: Mapping[str, bool]) -> str:
    """A row of names that sort; those of numbers stand over them."""
    cells = (
        f'<th scope="col"{_NUMBER * number}><button>{escape(name)}</button></th>'
        for name, number in names.items()
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: Any) -> str:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f'<td class="number" data-value="{_exact(value)}">{_short(value)}</td>'
    return f"<td>{escape(_text(value))}</td>"


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _listed(fact: Any) -> str:
    """A fact in words: of several models, one behind the other."""
    return ", ".join(map(str, fact)) if isinstance(fact, list) else str(fact)


def _text(value: Any) -> str:
    return "" if _missing(value) else str(value)


def _short(value: Any) -> str:
    if _missing(value):
        return ""
    return short(value) if isinstance(value, float | np.floating) else f"{value}"


def _exact(value: Any) -> str:
    """A number as scripts read it; empty where it is missing."""
    number = "" if _missing(value) else repr(float(value))
    return number.replace("inf", "Infinity")


def _provenance(facts: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Facts of all tables, once where several share them."""
    told: dict[str, list[str]] = {}
    for name, own in facts.items():
        text = json.dumps(own, indent=2, sort_keys=True, default=str, ensure_ascii=False)
        told.setdefault(text, []).append(name)
    for text, names in told.items():
        summed = f"<summary>{escape(', '.join(names))}</summary>"
        yield f"<details>{summed}<pre>{escape(text)}</pre></details>"


def _anchor(part: _Folder) -> str:
    return f"part-{escape(part.name.replace(' ', '-'), quote=True)}"
