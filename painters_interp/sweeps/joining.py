"""The parts of a sweep as one table of items, and the results that follow from it."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..report import items_beside
from ..storage import Shelf, provenance, write_table
from ..strategies import full
from ..tables.columns import MODEL, one_table
from ..tables.items import item_table, joined, summarise
from ..tables.labels import labelled
from ..terminal import Brief
from .manifests import labels_in
from .shards import Group, Shard
from .spec import Spec
from .work import Place, Survey

RESULTS = "results"
PARTS = "parts"


@dataclass(frozen=True, eq=False, repr=False)
class Swept(Brief):
    """What a sweep has found.

    `results` has a row per model, labelled plan, task and metric, as `evaluate` makes them, with
    the `limit` and the `shots` of the task (empty where they are the task's own); `items` are the
    items that they rest on. Both are empty unless the whole sweep was joined. `failed` has a row
    for everything that could not be done: model, dtype, task, items, why. `left` counts the shards
    that are still to be done.
    """

    results: pd.DataFrame
    items: pd.DataFrame
    failed: pd.DataFrame
    left: int = 0


@dataclass
class Losses:
    """What could not be done, as it is found."""

    rows: list[dict[str, str]] = field(default_factory=list)

    def add(
        self, group: Group, why: str, shard: Shard | None = None, items: str = "", task: str = ""
    ) -> str:
        """Note something, and return it as a sentence."""
        task = task if shard is None else shard.question.task
        self.rows.append(
            {"model": group.called, "dtype": group.dtype, "task": task, "items": items, "why": why}
        )
        where = f"{group.name} {task}".strip() if shard is None else shard.name
        return f"failed: {where}{f', item {items}' if items else ''}: {why}"

    @property
    def table(self) -> pd.DataFrame:
        """Those that there are, each once."""
        columns = ["model", "dtype", "task", "items", "why"]
        return pd.DataFrame(self.rows, columns=columns, dtype=object).drop_duplicates()


def shelf_of(folder: Path, shard: Shard, place: Place) -> Shelf:
    """Where the answers to a shard are kept."""
    return Shelf(folder / PARTS, shard.question.task, place.facts)


def kept(folder: Path, shard: Shard, place: Place) -> tuple[pd.DataFrame | None, list[str]]:
    """The items of a shard that are on disk, and what is wrong with files that are damaged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        items = shelf_of(folder, shard, place).read()
    return items, [str(warning.message) for warning in caught]


def whole_plans(items: pd.DataFrame | None, shard: Shard) -> set[str]:
    """The plans under which every item of a shard is there."""
    if items is None:
        return set()
    own = items[items["item"].isin(shard.items)].groupby("plan", observed=True)["item"].nunique()
    return {str(plan) for plan, count in own.items() if count == len(shard.items)}


def repeated(surveys: Mapping[Group, Survey]) -> dict[Group, str]:
    """Those that no table could tell from one before them, and what is wrong with each."""
    first: dict[str, Group] = {}
    found = {}
    for group, survey in surveys.items():
        other = first.setdefault(str([survey.model[name] for name in MODEL]), group)
        if other != group:
            found[group] = f"it is the same model as {other.name}; name it once"
    return found


def join(
    folder: Path,
    spec: Spec,
    shards: Sequence[Shard],
    surveys: Mapping[Group, Survey],
    missing: Callable[[Shard, str], None],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write results and items of all shards that there are parts of, and return them.

    `missing` is told of each shard of which not all is there, and why.
    """
    tables: list[pd.DataFrame] = []
    items: list[pd.DataFrame] = []
    whole: list[Shard] = []
    for group, survey in surveys.items():
        asked = [shard for shard in shards if shard.group == group]
        for question in dict.fromkeys(shard.question for shard in asked):
            own = [shard for shard in asked if shard.question == question]
            found, there = _items(folder, own, survey, missing)
            whole += there
            if found is None:
                continue
            named = {"limit": question.limit, "shots": question.shots}
            items.append(_with(found, named))
            tables += [_with(table, named) for table in _results(found, survey)]
    if not tables:
        return pd.DataFrame(), pd.DataFrame()
    results, every = one_table(tables), one_table(items)
    shards_there = {"shards": len(shards), "missing": len(shards) - len(whole)}
    facts = provenance(spec=spec.model_dump(mode="json"), digest=spec.digest, **shards_there)
    write_table(every, items_beside(folder / RESULTS), facts)
    write_table(results, folder / RESULTS, facts)
    return results, every


def _items(
    folder: Path, shards: Sequence[Shard], survey: Survey, missing: Callable[[Shard, str], None]
) -> tuple[pd.DataFrame | None, list[Shard]]:
    """The items of a question, of the plans that are asked for, in their order; whole shards."""
    parts, there = [], []
    for shard in shards:
        place = survey.places.get(shard.id)
        found, wrong = (None, []) if place is None else kept(folder, shard, place)
        if {*survey.labels["plan"].astype(str)} - whole_plans(found, shard):
            missing(shard, "; ".join(wrong) or "not all that was answered is there any more")
        else:
            there.append(shard)
        if found is not None and place is not None:
            parts.append(found.assign(requests=place.requests))
    if not parts:
        return None, there
    whole = joined(parts)
    order = {str(plan): at for at, plan in enumerate(survey.labels["plan"].unique())}
    whole = whole[whole["plan"].isin(list(order))]
    # An item that was lost under some plans is compared under none.
    for _, own in whole.groupby("metric", observed=True):
        counts = own["item"].value_counts()
        lost = counts.index[counts < own["plan"].nunique()]
        whole = whole.drop(own.index[own["item"].isin(lost)])
    if whole.empty:
        return None, there
    at = whole["plan"].astype(str).map(order)
    whole = whole.assign(at=at.astype(int)).sort_values(["at", "metric", "item"], kind="stable")
    return item_table(whole), there


def _results(items: pd.DataFrame, survey: Survey) -> Iterator[pd.DataFrame]:
    """A table for each experiment, which corrects for its own plans alone."""
    intact = str(full(int(survey.labels["n_layers"].iloc[0])))
    for _, labels in labels_in(survey):
        own = items[items["plan"].isin(labels["plan"])]
        there = labels[labels["plan"].isin(own["plan"])]
        yield labelled(there, summarise(own, intact=intact))


def _with(table: pd.DataFrame, named: Mapping[str, float | int | None]) -> pd.DataFrame:
    limit = named["limit"]
    columns = {
        "limit": pd.Series(limit, table.index, "Float64" if isinstance(limit, float) else "Int64"),
        "shots": pd.Series(named["shots"], table.index, "Int64"),
    }
    return table.assign(**columns)
