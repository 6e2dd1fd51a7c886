"""`status`: how far a sweep has come, read from the journals of all who work on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..errors import PaintersError
from ..tables import typed
from .journal import Note, notes

_COUNTS = ("done", "running", "failed", "left")


@dataclass
class _Standing:
    """What became of each shard, and how long it takes."""

    state: dict[str, str] = field(default_factory=dict)
    estimate: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def hear(self, note: Note, planned: Sequence[Sequence[str]]) -> None:
        """Take in what a driver noted."""
        facts = note.facts
        match note.event:
            case "surveyed":
                self.estimate |= facts["seconds"]
            case "kept":
                self.state |= dict.fromkeys(facts["shards"], "done")
            case "begun":
                self.state[facts["shard"]] = "running" if note.alive else "left"
            case "done":
                self.state[facts["shard"]] = "done"
                self.took[facts["shard"]] = facts["seconds"]
            case "partial" | "failed":
                self.state[facts["shard"]] = "failed"
            case "refused":
                own = [row[0] for row in planned if row[1:3] == [facts["model"], facts["dtype"]]]
                self.state |= dict.fromkeys(own, "failed")

    def seconds(self, shards: Sequence[str], workers: int) -> float:
        """To go for these shards: what was estimated, as far off as it was for those done."""
        known = [shard for shard in self.took if self.estimate.get(shard)]
        off = (
            sum(self.took[s] for s in known) / sum(self.estimate[s] for s in known) if known else 1
        )
        open_ = [s for s in shards if self.state.get(s, "left") in ("left", "running")]
        if any(shard not in self.estimate for shard in open_):
            return float("nan")
        return off * sum(self.estimate[shard] for shard in open_) / max(1, workers)


def status(out: str | Path) -> pd.DataFrame:
    """How far the sweep in a folder has come: the one that was begun last, of all who work on it.

    Args:
        out: The folder of the sweep.

    Returns:
        A row per model, dtype, task and what is measured of it: the numbers of its shards, how many
        are done, running, failed (for good or in part) and left, and the seconds to go with as many
        workers as there are now; NaN as long as nobody has looked at the model.

    Raises:
        PaintersError: if there is no sweep in the folder.

    Example:
        >>> spec = {"models": str(checkpoint), "tasks": "probe_facts", "plans": "5-0", "limits": 2}
        >>> _ = painters.sweep(spec, tmp_path / "sweep")
        >>> status(tmp_path / "sweep")[["task", "shards", "done", "left"]].values.tolist()
        [['probe_facts', 1, 1, 0]]
    """
    heard, drivers = _heard(out)
    planned = [*drivers.values()][-1].facts["shards"]
    standing = _Standing()
    for note in heard:
        if note.driver in drivers:
            standing.hear(note, planned)
    workers = _at_work(drivers)
    table = pd.DataFrame(planned, columns=["id", "model", "dtype", "task", "measured", "items"])
    rows = []
    for named, own in table.groupby(["model", "dtype", "task", "measured"], sort=False):
        states = [standing.state.get(shard, "left") for shard in own["id"]]
        counts = {state: states.count(state) for state in _COUNTS}
        to_go = standing.seconds([*own["id"]], workers)
        names = dict(zip(("model", "dtype", "task", "measured"), named, strict=True))
        rows.append({**names, "shards": len(own), **counts, "seconds": to_go})
    return typed(pd.DataFrame(rows))


def at_work(out: str | Path) -> int:
    """How many workers the drivers have that work on the sweep in a folder now. PaintersError."""
    return _at_work(_heard(out)[1])


def _heard(out: str | Path) -> tuple[list[Note], dict[str, Note]]:
    """All notes, and what each driver planned of the sweep that was begun last, in this order."""
    heard = notes(Path(out))
    plans = [note for note in heard if note.event == "planned"]
    if not plans:
        raise PaintersError(f"there is no sweep in {out}; give the folder that was its --out")
    spec = plans[-1].facts["spec"]
    return heard, {note.driver: note for note in plans if note.facts["spec"] == spec}


def _at_work(drivers: Mapping[str, Note]) -> int:
    return sum(note.facts["workers"] for note in drivers.values() if note.alive)
