"""The parts of `painters run`: what each costs, and how it writes its tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..terminal import say
from .scores import facts_of

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from ..evaluation import Questions

_MEASURING = 1.4  # measures of similarity, in times of the forward passes that they read
_TABLE = 2.0  # seconds that statistics and figure of a table take
# With fewer layers there is nothing to vary.
FEWEST_LAYERS = {
    "single_layers": 2, "variants": 2, "loops": 4, "internal_loops": 2, "decoding": 4
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A part of a run: what it takes, in token-layer calls and in seconds, and how it is done.

    `write` does the work, writes the tables and returns their names.
    """

    calls: int
    seconds: float
    write: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Asked:
    """A model, the questions put to it, and where the answers go; `options` are the user's own."""

    bridge: "TransformerBridge"
    questions: "Questions"
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def pace(self) -> float:
        """Seconds of a token-layer call."""
        from ..evaluation import time_per_call

        return time_per_call(self.bridge, self.questions)


def similarities(asked: Asked) -> Stage:
    """How alike all states are, on the texts of the first task."""
    from ..comparison import calls_needed, similarity
    from ..models import identity
    from ..storage import provenance, write_table

    bridge, [first, *_] = asked.bridge, asked.questions.tasks
    texts = asked.questions.texts
    calls = calls_needed(bridge, texts)

    def write() -> list[str]:
        facts = provenance(
            **identity(bridge),
            **asked.options,
            tasks={first.config.task: str(first.VERSION)},
            requests={first.config.task: asked.questions.digests[first.config.task]},
            texts=len(texts),
        )
        write_table(similarity(bridge, texts).table(), asked.folder / "similarity", facts)
        return ["similarity"]

    return Stage(calls, _MEASURING * calls * asked.pace, write)


def scores(asked: Asked, names: Sequence[str], every_window: bool, store: Path | None) -> Stage:
    """The experiments `names`, all plans on the same items in one pass."""
    import pandas as pd

    from ..evaluation import results, score_items, seconds_needed
    from ..experiments import plans as plans_of
    from ..plans import shared_calls
    from ..report import items_beside
    from ..storage import write_table

    bridge, questions = asked.bridge, asked.questions
    table = pd.concat(_experiments(names, len(bridge.blocks), every_window), ignore_index=True)
    plans = plans_of(table)
    told = (
        f"{len(plans)} plans, {shared_calls(plans):,} shared layer calls "
        f"({sum(len(p.calls) for p in plans):,} one by one), "
        f"{questions.items} items, {questions.tokens:,} tokens"
    )
    say(told, hang=4)

    def write() -> list[str]:
        facts = facts_of(bridge, questions, **asked.options)
        items = score_items(bridge, table, questions, store=store)
        for name, labels in table.groupby("experiment"):  # each corrects for its own plans alone
            own = items[items["plan"].isin(labels["plan"])]
            write_table(own, items_beside(asked.folder / str(name)), facts)
            found = results(bridge, labels, questions, own)
            write_table(found, asked.folder / str(name), facts)
        return list(names)

    seconds = seconds_needed(bridge, questions, plans)
    return Stage(questions.calls(plans), seconds, write)


def _experiments(
    names: Sequence[str], n_layers: int, every_window: bool
) -> "Iterator[pd.DataFrame]":
    from .. import experiments

    every = experiments.every_window(n_layers)
    for name in names:
        match name:
            case "single_layers":
                yield experiments.single_layers(n_layers)
            case "variants":
                yield experiments.variants(n_layers, every if every_window else None)
            case "internal_loops":
                yield experiments.internal_loops(n_layers, None if every_window else every[::2])
            case "loops" if every_window:
                yield experiments.loops(n_layers)
            case "loops":  # a window of one layer has no loop of its own
                yield experiments.loops(n_layers, every[:-1:2], max_times=10)


def decodings(asked: Asked, every_window: bool) -> Stage:
    """Texts under parallel and looped windows, decoded exactly and as published."""
    from .. import experiments
    from ..evaluation import decoding
    from ..storage import write_table

    bridge, questions = asked.bridge, asked.questions
    n_layers = len(bridge.blocks)
    firsts = experiments.every_window(n_layers)[:-1] if every_window else None
    table = experiments.decoding(n_layers, firsts)
    calls = decoding.calls_needed(bridge, experiments.plans(table), questions)
    print(f"{table['plan'].nunique()} plans, both caches, {questions.items} texts to decode")

    def write() -> list[str]:
        found = decoding.decode(bridge, table, questions)
        write_table(found, asked.folder / "decoding", facts_of(bridge, questions, **asked.options))
        return ["decoding"]

    return Stage(calls, calls * asked.pace, write)


def drawing(names: Sequence[str]) -> float:
    """Seconds that these tables take once their numbers are there."""
    return _TABLE * len(names)
