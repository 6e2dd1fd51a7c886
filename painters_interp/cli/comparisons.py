"""`painters compare`: two plans of an item table, or two runs of lm-eval, on the same items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PaintersError, TableError
from .options import ALL_FORMATS, Formats, Plans, Seed, TableOut, Venue, look_of, path_of
from .outputs import print_table, try_drawn, write_drawn

if TYPE_CHECKING:
    import pandas as pd

_TABLES = (".parquet", ".csv")


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            parser=path_of,
            metavar="RESULTS",
            help="An item table (<table>.items.parquet), or two runs that lm-eval has logged: "
            "folders, or samples_*.jsonl.",
        ),
    ],
    plan: Plans = None,
    out: TableOut = None,
    seed: Seed = 0,
    venue: Venue = None,
    formats: Formats = ALL_FORMATS,
) -> None:
    """Set two plans, or two runs of lm-eval, side by side on the items that both have answered.

    delta is the first less the second, with its paired 95 % interval; p is
    the chance of a difference as large by luck. Of an item table name two
    plans with --plan.

    Example: painters compare runs/a runs/b
    """
    from .. import items
    from ..storage import provenance

    look = look_of(venue, formats)
    try_drawn(out)
    table, first, second = _both(results, plan or [])
    found = items.compare(table, first, second, seed)
    print_table(found)
    if out is not None:
        asked = {"results": [str(path) for path in results], "first": first, "second": second}
        for path in write_drawn(found, out, provenance(**asked, seed=seed), look):
            print(path)


def items_in(path: Path) -> "pd.DataFrame":
    """The item table of a file. Raises TableError, naming the file, for another table."""
    from ..storage import read_table

    if "item" not in (table := read_table(path)):
        raise TableError(
            f"{path} holds no single items; give OUT.items.parquet, which `painters evaluate "
            "--items` writes"
        )
    return table


def _both(results: list[Path], plans: list[str]) -> "tuple[pd.DataFrame, str, str]":
    """The items, and what the two sides are called in them. Raises PaintersError."""
    from .. import items

    for path in results:
        if not path.exists():
            raise PaintersError(f"there is no {path}; give an item table, or two runs of lm-eval")
    match results:
        case [path] if path.suffix in _TABLES:
            if len(set(plans)) != 2:
                raise PaintersError(
                    f"{path} holds several plans; name the two to compare: --plan A --plan B"
                )
            return items_in(path), plans[0], plans[1]
        case [first, second] if not {first.suffix, second.suffix} & {*_TABLES}:
            if plans:
                raise PaintersError("runs of lm-eval have no plans; leave --plan out")
            if first == second:
                raise PaintersError(f"{first} twice; give two runs")
            one, other = str(first), str(second)
            return items.from_lm_eval({one: first, other: second}), one, other
    raise PaintersError(
        "give one item table and two plans of it (--plan A --plan B), or two runs of lm-eval"
    )
