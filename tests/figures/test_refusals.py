"""Whatever a drawing function is given, it draws or refuses in one line, and leaves nothing."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from painters_interp import figures, storage
from painters_interp.errors import PaintersError, TableError
from painters_interp.figures import layout

FOLDER = Path(__file__).parents[2] / "figures"
STEMS = {
    figures.decoding_curves: "2407.09298/decoding",
    figures.single_layer_curves: "single_layers",
    figures.variant_curves: "variants",
    figures.size_curves: "variants",
    figures.loop_heatmap: "variants",
    figures.forest: "single_layers",
    figures.similarity_panel: "similarity",
}
# It is drawn without one column after another, so with few rows.
TWO = "task in ('probe_facts', 'probe_order')"
FEW = {
    "2407.09298/decoding": "item < 4",
    "single_layers": f"{TWO} and (layer < 3 or variant == 'intact')",
    "variants": f"{TWO} and (first in (0, 6, 12) or variant == 'intact')",
    "similarity": "row < 6 and column < 6",
}
OTHER = {"scores": pd.DataFrame({"plan": ["0-5"], "kl": [0.1]}), "variant": "skip",
         "correlations": pd.DataFrame({"rho": [0.1]})}  # fmt: skip
NOT_OF_TABLES = ("save", "publication", "panel_letters", "interactive", "plan_strip", "heatmap")
DRAWN = {name: function for name, function in inspect.getmembers(figures, inspect.isfunction)
         if name not in NOT_OF_TABLES}  # fmt: skip


def outcome(draw: Callable[..., Any], table: Any) -> str:
    """Whether `draw` draws or refuses; what else it does goes on from here."""
    params = inspect.signature(draw).parameters.items()
    before = plt.get_fignums()
    needed = [name for name, param in params if param.default is param.empty][1:]
    try:
        draw(table, **{name: OTHER[name] for name in needed if name in OTHER})
    except PaintersError as error:
        said = str(error)
    else:
        for number in {*plt.get_fignums()} - {*before}:
            plt.close(number)
        return "drawn"
    assert "\n" not in said
    assert plt.get_fignums() == before
    return "refused"


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("stem", ["similarity", "2407.09298/decoding", "single_layers"])
def test_a_table_of_another_experiment_or_none(draw: Callable[..., Any], stem: str) -> None:
    if stem != STEMS.get(draw):
        outcome(draw, storage.read_table(FOLDER / stem))
    assert outcome(draw, pd.DataFrame()) == "refused"
    assert outcome(draw, [1, 2]) == "refused"


@pytest.mark.parametrize(("draw", "stem"), STEMS.items(), ids=lambda x: getattr(x, "__name__", x))
def test_a_table_without_rows_numbers_or_a_column(
    draw: Callable[..., Any], stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "fit", lambda figure: None)  # dear, and of no column is it asked
    table = storage.read_table(FOLDER / stem).query(FEW[stem])
    assert outcome(draw, table.iloc[:0]) == "refused"
    numbers = table.select_dtypes("float").columns
    assert outcome(draw, table.assign(**dict.fromkeys(numbers, np.nan))) == "refused"
    refused = {c for c in table.columns if outcome(draw, table.drop(columns=c)) == "refused"}
    assert refused


def test_a_table_of_several_measures_is_no_matrix() -> None:
    table = storage.read_table(FOLDER / "similarity")
    names = ", ".join(dict.fromkeys(table["measure"]))
    with pytest.raises(TableError, match=rf"of measures \({names}\), no matrix; draw one, result"):
        figures.similarity_heatmap(table)
    with pytest.raises(TableError, match="holds numbers alone; this is a table of plan, kl"):
        figures.heatmap(OTHER["scores"])


def test_a_refusal_that_quotes_a_label_of_two_lines_is_one() -> None:
    assert str(TableError("no task 'a\nb'\u2028")) == "no task 'a\\nb'\\u2028"
