"""What drivers found out of each model, kept so that their parts can be joined without one.

A manifest is a table of labelled plans, and beside it where the answers to each shard are kept.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..digests import text_digest
from ..storage import provenance, read_provenance, read_table, write_table
from .shards import Group, Slice
from .spec import Spec
from .work import Place, Survey


def write_manifest(folder: Path, spec: Spec, part: Slice, survey: Survey) -> Path:
    """Keep what a driver found out of a model."""
    places = {shard: asdict(place) for shard, place in survey.places.items()}
    facts = provenance(
        spec=spec.digest,
        group=asdict(survey.group),
        slice=str(part),
        model=dict(survey.model),
        places=places,
    )
    return write_table(survey.labels, _path(folder, spec, survey.group, part), facts)


def read_manifest(folder: Path, spec: Spec, group: Group) -> Survey | None:
    """What all drivers found out of a model, together; None where nobody has looked at it.

    Where its weights, or the code that scores, have changed, what was found out last counts.
    """
    paths = sorted(
        (folder / "manifests").glob(f"{_name(spec, group)}-*.csv"),
        key=lambda path: path.stat().st_mtime, reverse=True,
    )  # fmt: skip
    if not paths:
        return None
    facts = [read_provenance(path) for path in paths]
    places: dict[str, Place] = {}
    for fact in facts:
        found = {shard: Place(**place) for shard, place in fact["places"].items()}
        places = {**found, **places} if _one_model([*found.values(), *places.values()]) else places
    return Survey(group, read_table(paths[0]), facts[0]["model"], places)


def _one_model(places: Sequence[Place]) -> bool:
    names = ("weights", "tokenizer", "packages", "code", "format")
    return len({str([place.facts[name] for name in names]) for place in places}) == 1


def _path(folder: Path, spec: Spec, group: Group, part: Slice) -> Path:
    return folder / "manifests" / f"{_name(spec, group)}-{part.index}of{part.of}.csv"


def _name(spec: Spec, group: Group) -> str:
    return text_digest(f"{spec.digest} {group}")


def labels_in(survey: Survey) -> list[tuple[str, pd.DataFrame]]:
    """The labelled plans of each experiment."""
    return [(str(name), own) for name, own in survey.labels.groupby("experiment", sort=False)]
