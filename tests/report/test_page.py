"""A folder as one page: all that lies in it, escaped, nothing fetched, at any width."""

import re
import sys
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import browser
from plotly.offline import get_plotlyjs

from painters_interp import report, storage, tables
from painters_interp.cli.application import answer
from painters_interp.errors import OutputError, TableError

EVIL = '<img src=x onerror="alert(1)"></script> & "quotes"'
FACTS = {"model": "tiny<b>", "title": "What </style> does", "study": "0000.00000", "seed": 0}


class Cells(HTMLParser):
    """Texts of a page by the tag that they stand in, and all attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.given: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.given += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's findings, as they are saved."""
    folder = tmp_path_factory.mktemp("study")
    claims = pd.DataFrame(
        {
            "claim": [EVIL, "the middle shares a space", "order matters"],
            "published": ["0.9", "", "yes"],
            "value": [0.91234, -2.0, np.nan],
            "low": [0.8, -3.0, np.nan],
            "high": [1.0, -1.0, np.nan],
            "unit": ["nats", "of the score", "<b>"],
            "rule": ["above 0.5", "above 0", "below 1"],
            "verdict": ["holds", "fails", "undecided"],
            "tried": [1, 5, 1],
        }
    )
    storage.write_table(claims, folder / "claims", FACTS)
    matrix = pd.DataFrame(np.linspace(-1, 1, 49).reshape(7, 7))
    two = tables.from_matrices({"cosine": matrix, "cosine_flat": matrix})
    storage.write_table(two, folder / "similarity", FACTS)
    rows = pd.DataFrame({"label": [EVIL, "b", "c"], "value": [10.0, np.nan, 9.0], "model": "same"})
    storage.write_table(rows, folder / "rows", FACTS | {"note": EVIL})
    report.draw(folder, formats=("png",))
    return folder


def test_it_holds_claims_figures_tables_and_provenance(folder: Path) -> None:
    cells = Cells(report.page(folder))
    assert not [tag for tag in cells.open if tag != "meta"]
    assert cells.of("h1") == ["What </style> does: tiny<b>"]
    assert cells.of("h3") == ["Claims", "Figures", "Tables", "Provenance"]
    assert [text.strip() for text in cells.of("span")] == ["✓ holds", "✗ fails", "? undecided"]
    [picture] = [v for tag, name, v in cells.given if (tag, name) == ("img", "src")]
    kind, content = picture.split(",")
    assert kind == "data:image/png;base64"
    assert b64decode(content) == (folder / "similarity.png").read_bytes()
    assert {
        "0.912 [0.8, 1] nats",
        "-2 [-3, -1] of the score",
        "no number",
        EVIL,
        "0.9",
        "above 0.5",
        "10",
    } <= {*cells.of("td")}
    assert "model: same" in cells.of("p")  # what is alike in all rows is said once
    [noted] = [text for text in cells.of("pre") if "note" in text]
    assert "onerror" in noted


def test_nothing_in_it_is_fetched_or_run_but_its_own(folder: Path) -> None:
    page = report.page(folder)
    assert page == report.page(folder)  # no time of day, no chance
    page = page.replace(get_plotlyjs(), "")  # which the page's own policy keeps from asking anybody
    assert "connect-src" not in page
    assert "default-src 'none'" in page
    names = {(tag, name) for tag, name, _ in Cells(page).given}
    assert not [name for _, name in names if name.startswith("on")]
    assert {tag for tag, name in names if name in ("src", "href")} == {"img"}
    assert not re.search(r"https?://|@import|url\(", page)


def test_a_run_says_its_findings_and_holds_the_studies_inside(folder: Path, tmp_path: Path) -> None:
    matrix = pd.DataFrame(np.eye(7))
    facts = {"model": "tiny"}
    storage.write_table(tables.from_matrices({"cosine": matrix}), tmp_path / "similarity", facts)
    (tmp_path / "2407.09298").symlink_to(folder)
    cells = Cells(report.page(tmp_path))
    assert cells.of("h1") == ["tiny"]
    assert cells.of("h2") == ["tiny", "What </style> does: tiny<b>"]
    assert [text for text in cells.of("li") if text.startswith("Shared canvas")]
    links = [value for tag, name, value in cells.given if (tag, name) == ("a", "href")]
    marks = {f"#{value}" for tag, name, value in cells.given if (tag, name) == ("section", "id")}
    assert {*links} == marks


def test_a_long_table_says_that_it_is_cut(tmp_path: Path) -> None:
    storage.write_table(pd.DataFrame({"n": range(1500)}), tmp_path / "long", {})
    cells = Cells(report.page(tmp_path))
    assert "long (1,500 rows, the first 1,000 here)" in cells.of("summary")
    assert cells.of("td")[-1] == "999"


def test_it_is_written_whole_and_over_nothing_of_others(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert answer(["report", str(folder), "-o", str(out)]) == 0
    assert answer(["report", str(folder), "-o", str(out)]) == 0
    assert out.read_text("utf-8") == report.page(folder)
    out.write_text("<html>mine</html>")
    with pytest.raises(OutputError, match="is no page of this package"):
        report.write_page(folder, out)
    with pytest.raises(TableError, match="no tables in"):
        report.page(tmp_path)


@pytest.mark.parametrize("width", [1400, 400])
def test_a_browser_shows_it(folder: Path, tmp_path: Path, width: int) -> None:
    out = report.write_page(folder, tmp_path / "page.html")
    with browser(tmp_path / "home") as tab:
        tab.open(out, width)
        tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.run("document.documentElement.scrollWidth <= window.innerWidth")
        claims = "document.querySelector('.whole')"
        assert tab.run(f"{claims}.scrollWidth <= {claims}.clientWidth")
        assert tab.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        moving = "[...document.querySelectorAll('.interactive')]"
        assert tab.run(f"{moving}.map(e => e.querySelectorAll('.live .hm').length)") == [2]
        whole = tab.run(f"{moving}.every(e => e.scrollWidth <= e.clientWidth)")
        assert whole == (width == 1400)  # on a narrow screen it keeps its width, and scrolls
        by = (
            "[...document.querySelectorAll('th button')].filter(b => b.textContent === '{}').at(-1)"
        )
        column = f"{by.format('label')}.closest('table').tBodies[0].rows"
        orders = []
        for name in ("value", "value", "label"):
            tab.run(f"{by.format(name)}.click()")
            orders.append(tab.run(f"[...{column}].map(r => r.cells[1].textContent)"))
        assert orders == [["9", "10", ""], ["10", "9", ""], ["10", "", "9"]]
        tab.open(out, 718, media="print")  # a page of paper, where nothing scrolls
        tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert tab.said == []
    assert not [address for address in tab.asked if not address.startswith(("file:", "data:"))]


def test_without_plotly_its_figures_stand_still(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["painters_interp.report.page"], "find_spec", lambda name: None)
    page = report.page(folder)
    assert "Plotly" not in page
    assert "data:image/png;base64" in page
