"""What a journal gets: its widths, its sizes of type, and text that is still text."""

import re
import zlib
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from drawn import drawings

from painters_interp import figures, storage
from painters_interp.errors import OutputError

INCHES = {  # of one and of two columns
    "nature": (89 / 25.4, 183 / 25.4), "neurips": (2.75, 5.5), "iclr": (2.75, 5.5),
    "icml": (3.25, 6.75), "aaai": (3.3, 6.975), "cvpr": (3.25, 6.875), "jmlr": (3.0, 6.0),
    "acl": (77 / 25.4, 160 / 25.4), "slide": (2.7559, 5.2362),
}  # fmt: skip
SMALLEST = {"nature": 5, "jmlr": 7.9, "icml": 6, "cvpr": 6, "acl": 7}  # points; 7 elsewhere


def in_svg(data: bytes) -> tuple[set[str], list[float], list[float]]:
    """Families of type, its sizes, and the widths of lines, in points."""
    text = data.decode()
    fonts = re.findall(r"(?:font-size|font): ([\d.]+)px;?(?: font-family:)? ([^;\"]+)", text)
    families = {name.strip(" '") for _, names in fonts for name in names.split(",")}
    widths = [float(width) for width in re.findall(r"stroke-width: ([\d.]+)", text)]
    return families, [float(size) for size, _ in fonts], widths


def in_pdf(data: bytes) -> tuple[set[str], list[float], list[float]]:
    starts = [found.end() for found in re.finditer(rb"stream\r?\n(?=x)", data)]
    pages = b"".join(zlib.decompressobj().decompress(data[start:]) for start in starts)
    families = {name.decode() for name in re.findall(rb"/FontName /(?:\w+\+)?([\w-]+)", data)}
    sizes = [float(size) for size in re.findall(rb"/F\w+ ([\d.]+) Tf", pages)]
    return families, sizes, [float(w) for w in re.findall(rb"(?<=\s)([\d.]+) w\b", pages)]


DRAWINGS = drawings()


@pytest.mark.parametrize("name", DRAWINGS)
def test_type_is_text_of_one_family_and_large_enough(name, tmp_path):
    """Every figure, and every venue: each figure at another one than its neighbours."""
    draw, first = DRAWINGS[name], [*DRAWINGS].index(name)
    venue = figures.VENUES[first % len(figures.VENUES)]
    with figures.publication(venue):
        figure = draw()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it is laid out; saves time
    width, box = figure.get_figwidth(), figure.get_tightbbox()
    assert min(box.x0, box.y0) >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= figure.get_figheight() + 0.01
    pdf, svg = figures.save(figure, tmp_path / "figure", ["pdf", "svg"])
    assert min(abs(width - inches) for inches in INCHES[venue]) < 0.001
    for families, sizes, lines in (in_svg(svg.read_bytes()), in_pdf(pdf.read_bytes())):
        assert {family.replace(" ", "").replace("-", "") for family in families} <= {
            "Arial", "Helvetica", "LiberationSans", "DejaVuSans", "ArialMT"
        }  # fmt: skip
        assert families
        assert min(sizes) >= SMALLEST.get(venue, 7)
        assert min(width for width in lines if width) >= 0.25
    assert b"/Subtype /Type3" not in pdf.read_bytes()
    assert b"<text" in svg.read_bytes()


@pytest.mark.parametrize("venue", figures.VENUES)
def test_a_venue_has_its_widths_for_one_and_for_two_columns(venue):
    draw = DRAWINGS["heatmap"]
    for columns, inches in zip((1, 2), INCHES[venue], strict=True):
        with figures.publication(venue, columns):
            figure = draw()
        assert figure.get_figwidth() == pytest.approx(inches, abs=1e-4)
        box = figure.get_tightbbox()
        assert min(box.x0, box.y0) >= -0.01
        assert box.x1 <= figure.get_figwidth() + 0.01


def test_save_draws_anew_for_a_venue(tmp_path):
    draw = DRAWINGS["variant_curves"]
    (one,) = figures.save(draw(), tmp_path / "one.pdf", venue="icml")
    with figures.publication("icml"):
        (two,) = figures.save(draw(), tmp_path / "two", "pdf")
    assert one.read_bytes() == two.read_bytes()
    changed = draw()
    changed.axes[0].set_title("of mine")
    with pytest.raises(OutputError, match="changed since it was drawn"):
        figures.save(changed, tmp_path / "x", venue="icml")
    with pytest.raises(OutputError, match="made elsewhere"):
        figures.save(plt.figure(), tmp_path / "x", venue="icml")


def test_what_a_user_saves_is_what_save_saves(tmp_path):
    # Of two figures: matplotlib 3.9 moves axes by 2e-4 points when it draws one again.
    drawn, again = (DRAWINGS["heatmap"]() for _ in range(2))
    for kind in figures.FORMATS:
        drawn.savefig(tmp_path / f"own.{kind}", dpi=60)
    for path in figures.save(again, tmp_path / "ours", dpi=60):
        assert path.read_bytes() == (tmp_path / f"own{path.suffix}").read_bytes()


def test_names_of_files_say_the_format(tmp_path):
    draw = DRAWINGS["heatmap"]
    for stem, formats, found in (
        ("fig.pdf", None, ["fig.pdf"]),
        ("fig.PNG", ["svg"], ["fig.svg"]),
        ("fig", "svg", ["fig.svg"]),
        ("v1.7b", None, ["v1.7b.pdf", "v1.7b.png", "v1.7b.svg"]),
    ):
        assert [p.name for p in figures.save(draw(), tmp_path / stem, formats, dpi=30)] == found
    small, large = (
        figures.save(draw(), tmp_path / str(dpi), "png", dpi=dpi)[0].stat().st_size
        for dpi in (20, 90)
    )
    assert small < large
    with pytest.raises(OutputError, match="dots per inch cannot be drawn"):
        figures.save(draw(), tmp_path / "x", dpi=0)


def test_what_there_is_not_is_refused_in_a_line():
    with pytest.raises(OutputError, match="no venue 'nips'; there are nature, neurips"):
        figures.publication("nips").__enter__()
    with pytest.raises(OutputError, match="1 column or 2, not 3"):
        figures.publication("icml", columns=3).__enter__()


def test_a_figure_is_pyplots_until_a_notebook_has_shown_it(monkeypatch):
    figure = DRAWINGS["heatmap"]()
    assert plt.get_fignums() == [figure.number]  # so plt.show() shows it
    monkeypatch.setattr(mpl, "get_backend", lambda: "inline")
    assert figure._repr_mimebundle_() == {}  # as a cell's last expression; not at its end again
    assert plt.get_fignums() == []


@pytest.mark.parametrize("venue", ["neurips", "nature"])
def test_panels_of_decoding_stand_below_each_other_in_a_column(venue: str) -> None:
    table = storage.read_table(Path(__file__).parents[2] / "figures" / "2407.09298" / "decoding")
    table = table.assign(metric="exact_match", value=(table["nats"] < 20).astype(float))
    with figures.publication(venue, columns=1):
        figure = figures.decoding_curves(table)
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert len(boxes) == 3
    assert not any(b.overlaps(a) for k, a in enumerate(boxes) for b in boxes[k + 1 :])
    assert all(ax.get_window_extent().width > 0.4 * figure.bbox.width for ax in figure.axes)


def test_long_plans_leave_a_forest_half_of_its_width() -> None:
    table = storage.read_table(Path(__file__).parents[2] / "figures" / "2407.09298" / "controls")
    with figures.publication("neurips", columns=1):
        figure = figures.forest(table)
    figure.draw_without_rendering()
    [ax] = figure.axes
    assert ax.get_window_extent().width > 0.35 * figure.bbox.width
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len({*labels}) == len(labels)
