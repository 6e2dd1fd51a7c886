"""A study: what a paper did, on any model; the setting it is given and what it finds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from transformer_lens.model_bridge import TransformerBridge

from .. import figures, report
from ..comparison import Similarity, similarity
from ..comparison import calls_needed as similarity_calls
from ..damage import calls_needed as kl_calls
from ..damage import document_divergences, resampled_kl
from ..errors import TableError, TextError
from ..evaluation import (
    PROBES,
    OwnTask,
    Questions,
    prepare,
    results,
    score_items,
    seconds_needed,
    task,
    time_per_call,
)
from ..experiments import plans as plans_of
from ..figures import naming
from ..measures import Curve, Matrix
from ..models import Model, as_model, identity
from ..notices import warn
from ..patching import (
    corpus_lens,
    effects,
    effects_calls,
    erasure,
    erasure_calls,
    lens_calls,
    loop_calls,
    loop_turns,
)
from ..plans import Plan
from ..progress import trial
from ..statistics import FEWEST, resamplings
from ..storage import provenance, write_table, write_whole
from ..strategies import full
from ..tables import above_chance, primary
from ..tables.items import runs
from ..tables.labels import labels_for
from ..tables.scores import resampled_medians
from ..texts import Texts, as_texts
from .claims import BITS, NATS, SCORE, Claim, Sampled, as_html, as_lines, as_markdown, as_table
from .work import Work

LIMIT = 32  # items of each task
_TRIED = 4  # texts on which a pace is measured
_TABLE = 0.008  # seconds that items, results and intervals of a plan take in a task
_BITS = "bits_per_byte"  # the metric that is a loss


@dataclass(frozen=True, eq=False)
class Setting:
    """A model, and what a study reads under its plans: tasks and texts.

    Texts come in two halves: what is chosen on `choosing` is judged on `judging`.
    """

    model: TransformerBridge
    questions: Questions
    texts: tuple[str, ...]
    seed: int = 0
    store: str | Path | None = None

    @property
    def n(self) -> int:
        """Number of layers."""
        return len(self.model.blocks)

    @property
    def told(self) -> str:
        """How much there is."""
        return f"{self.questions.items} items, {len(self.texts)} texts"

    @property
    def most(self) -> int:
        """Items of the largest task."""
        return max(len(texts) for texts in self.texts_by_task().values())

    @property
    def facts(self) -> dict[str, Any]:
        """What its findings depend on, beside the model."""
        tasks = {t.config.task: str(t.VERSION) for t in self.questions.tasks}
        counts = {"items": self.questions.items, "texts": len(self.texts)}
        return {"tasks": tasks, **counts, "seed": self.seed}

    def pace(self) -> float:
        """Seconds that one layer takes for one token here, measured on a few of the questions."""
        return time_per_call(self.model, self.questions)

    @property
    def choosing(self) -> tuple[str, ...]:
        """The texts on which something is chosen."""
        return self.texts[::2]

    @property
    def judging(self) -> tuple[str, ...]:
        """The others."""
        return self.texts[1::2]

    def kl(self, plans: pd.DataFrame, texts: Sequence[str] | None = None) -> Sampled:
        """KL to the intact model of every labelled plan, in nats per token of `texts`."""
        found, samples = resampled_kl(self.model, plans, texts or self.texts, self.seed)
        return Sampled(found, found["kl"].to_numpy(dtype=float), samples, NATS)

    def kl_calls(self, plans: pd.DataFrame, texts: Sequence[str] | None = None) -> Work:
        """What `kl` takes."""
        chosen = plans_of(plans)
        return self._work(
            partial(kl_calls, self.model, chosen), texts,
            partial(document_divergences, self.model, chosen), tried=1,
        )  # fmt: skip

    def loss(self, plans: pd.DataFrame, texts: Sequence[str] | None = None) -> Sampled:
        """Loss of every labelled plan, in bits per byte of `texts`."""
        asked = prepare(self.model, self._reading(texts or self.texts), seed=self.seed)
        items = score_items(self.model, plans, asked, store=self.store)
        found = results(self.model, plans, asked, items)
        found = found[found["metric"] == _BITS].reset_index(drop=True)
        [run] = runs(items[items["metric"] == _BITS])
        places = pd.Index(run.plans).get_indexer(pd.Index(found["plan"]))
        values = found["value"].to_numpy(dtype=float)
        return Sampled(found, values, run.resampled(self.seed)[:, places], BITS)

    def loss_calls(self, plans: pd.DataFrame, texts: Sequence[str] | None = None) -> Work:
        """What `loss` takes."""
        asked = prepare(self.model, self._reading(texts or self.texts))
        chosen = plans_of(plans)
        return Work(asked.calls(chosen), partial(self._scoring, asked, chosen))

    def _scoring(self, asked: Questions, plans: Sequence[Plan]) -> float:
        """Seconds of the answers, and of the tables that are made of them."""
        beside = _TABLE * len(asked.tasks) * len({*plans})
        return seconds_needed(self.model, asked, plans) + beside

    def _reading(self, texts: Sequence[str]) -> OwnTask:
        return task("texts", [{"text": text} for text in texts], "loglikelihood_rolling")

    def texts_by_task(self) -> dict[str, list[str]]:
        """The documents of every task as running text."""
        names = [str(task.config.task) for task in self.questions.tasks]
        alone = (replace(self.questions, tasks=(task,)) for task in self.questions.tasks)
        return {name: one.texts for name, one in zip(names, alone, strict=True)}

    def items(self, plans: pd.DataFrame) -> pd.DataFrame:
        """Every item of the tasks under every plan."""
        return score_items(self.model, plans, self.questions, store=self.store)

    def scores(self, plans: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
        """What the items say of the labelled plans, task by task."""
        own = items[items["plan"].isin(plans["plan"])]
        return results(self.model, plans, self.questions, own)

    def refuse_chance(self) -> None:
        """Raise TableError where the intact model is clearly above chance on no task."""
        clear_of_chance(self._intact)

    @cached_property
    def _intact(self) -> pd.DataFrame:
        """The scores of the intact model, which are asked for before all others."""
        alone = labels_for({"intact": full(self.n)}, self.n)
        return self.scores(alone, self.items(alone))

    def score_calls(self, plans: pd.DataFrame) -> Work:
        """What `items` takes."""
        chosen = plans_of(plans)
        return Work(self.questions.calls(chosen), partial(self._scoring, self.questions, chosen))

    def similarity(
        self, measures: Sequence[str], plan: Plan | None = None, texts: Sequence[str] | None = None
    ) -> Similarity:
        """Measures of the streams of `texts`."""
        return similarity(self.model, texts or self.texts, measures, plan=plan, seed=self.seed)

    def similarity_calls(
        self, plan: Plan | None = None, texts: Sequence[str] | None = None
    ) -> Work:
        """What `similarity` takes, of few measures."""
        read = partial(similarity, self.model, measures=["cosine", "update_ratio"], plan=plan)
        return self._work(partial(similarity_calls, self.model, plan=plan), texts, read)

    def lens(self) -> dict[str, Curve]:
        """The logit lens over all texts."""
        return corpus_lens(self.model, self.texts)

    def lens_calls(self) -> Work:
        """What `lens` takes."""
        read = partial(corpus_lens, self.model)
        return self._work(partial(lens_calls, self.model), None, read)

    def effects_calls(self) -> Work:
        """What the effects of every layer on all texts take."""
        read = partial(effects, self.model)
        return self._work(partial(effects_calls, self.model), None, read)

    def erasure_calls(self) -> Work:
        """What the erasure of a token at every state of all texts takes."""
        return self._work(partial(erasure_calls, self.model), None, partial(erasure, self.model))

    def loop_calls(self, first: int, last: int, times: int) -> Work:
        """What the steps of a loop over all texts take."""
        read = partial(loop_turns, self.model, first=first, last=last, times=times)
        calls = partial(loop_calls, self.model, first=first, last=last, times=times)
        return self._work(calls, None, read)

    def _work(
        self,
        calls: Callable[[Sequence[str]], int],
        texts: Sequence[str] | None,
        read: Callable[[Sequence[str]], object],
        tried: int = _TRIED,
    ) -> Work:
        """What reading texts takes: as one of middle length does, and what more of them add.

        Under many plans one text takes long enough to tell, and others as long.
        """
        chosen = texts or self.texts
        middle = sorted(chosen, key=len)[max(0, len(chosen) - tried) // 2 :][:tried]
        total = calls(chosen)
        return Work(total, partial(_seconds, calls, read, middle, total))


def _seconds(
    calls: Callable[[Sequence[str]], int],
    read: Callable[[Sequence[str]], object],
    few: Sequence[str],
    total: int,
) -> float:
    one = few[:1]
    alone = trial(partial(read, one))
    if len(few) == 1:
        return alone * total / calls(one)
    together = trial(partial(read, few))
    pace = (together - alone) / max(1, calls(few) - calls(one))
    if pace <= 0:  # what else runs here has drowned it
        return together * total / calls(few)
    return max(0.0, alone - pace * calls(one)) + pace * total


def between(found: Similarity, name: str) -> Matrix:
    """A measure that compares states."""
    result = found[name]
    assert isinstance(result, Matrix)
    return result


def along(found: Similarity, name: str) -> Curve:
    """A measure along depth."""
    result = found[name]
    assert isinstance(result, Curve)
    return result


def of_measure(found: Curve | Matrix, seed: int = 0) -> Sampled:
    """A measure of similarity over its documents: a row per place, or per row and column."""
    weights, unit = resamplings(len(found.documents), seed=seed), naming.unit(found.name)
    if isinstance(found, Curve):
        rows = pd.DataFrame({"place": range(len(found.curve))})
        return Sampled(rows, found.curve.to_numpy(dtype=float), found.resampled(weights), unit)
    places = np.indices(found.matrix.shape).reshape(2, -1)
    samples = found.resampled(weights).reshape(len(weights), -1)
    rows = pd.DataFrame({"row": places[0], "column": places[1]})
    return Sampled(rows, found.matrix.to_numpy(dtype=float).ravel(), samples, unit)


def clear_of_chance(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of tasks on which the intact model is clearly above chance; TableError for none."""
    clear = above_chance(primary(table))
    if clear.empty:
        raise TableError(
            "on no task is the intact model clearly above chance, so nothing can be said of plans; "
            "give other tasks, or more items"
        )
    return clear


def medians(table: pd.DataFrame, items: pd.DataFrame, seed: int = 0) -> Sampled:
    """Median score over the tasks that tell anything, on the scale from chance to the intact model.

    Raises TableError where the intact model is clearly above chance on none.
    """
    clear = clear_of_chance(table)
    found, samples = resampled_medians(clear, items, seed)
    return Sampled(found, found["score"].to_numpy(dtype=float), samples, SCORE)


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """What a study found: tables, the items that some rest on, figures of them, and claims."""

    tables: Mapping[str, pd.DataFrame]
    judged: Sequence[Claim]
    drawings: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)
    items: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    of_models: Mapping[str, "Found"] = field(default_factory=dict)  # where several are compared

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row per claim: claim, published, value, low, high, unit, rule, verdict, tried."""
        return as_table(self.judged)

    def __repr__(self) -> str:
        """Its claims, a line each."""
        return as_lines(self.claims)

    def _repr_html_(self) -> str:
        """Its claims as a table."""
        return as_html(self.claims)

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures, drawn when they are first asked for."""
        return {name: draw() for name, draw in self.drawings.items()}

    def save(
        self,
        folder: str | Path,
        venue: str | None = None,
        formats: str | Sequence[str] | None = None,
    ) -> list[Path]:
        """Write tables with their items and provenance, figures and claims (as Markdown, too).

        Beside each figure lies what `painters report` needs to let it move. What was found for each
        of several models goes to a folder of its own in this one.

        Args:
            folder: where to; it is made.
            venue: whose widths and sizes of type the figures get (see `figures.publication`).
            formats: of figures, out of pdf, png, svg; all three if not given.

        Returns:
            The paths.

        Raises:
            OutputError: where a file of the same name was not written by this package, and for an
                unknown venue or format.
        """
        folder = Path(folder)
        with figures.publication(venue):  # drawn before anything is written
            drawn = self.figures if venue is None else {n: d() for n, d in self.drawings.items()}
        # Claims come first: they say of which model and setting all that follows is.
        tables = {"claims": self.claims, **self.tables}
        written = [write_table(t, folder / name, self.provenance) for name, t in tables.items()]
        written.append(write_whole(folder / "claims.md", as_markdown(self.claims).encode()))
        for name, items in self.items.items():
            written.append(write_table(items, report.items_beside(folder / name), self.provenance))
        with figures.publication(venue):
            for name, figure in drawn.items():
                with figures.layout.held(figure):
                    written += figures.save(figure, folder / name, formats)
                    figures.moving.keep(figure, folder / name)
        for name, one in self.of_models.items():
            written += one.save(folder / name, venue, formats)
        return written


def asked(
    model: Model,
    tasks: Any = None,
    data: str | Path | None = None,
    limit: int | float | None = LIMIT,
    texts: Texts | None = None,
    seed: int = 0,
    store: str | Path | None = None,
) -> Setting:
    """What studies are given; `run` says what the arguments mean."""
    model = as_model(model)
    questions = tasks if isinstance(tasks, Questions) else None
    if questions is None:
        questions = prepare(model, PROBES if tasks is None else tasks, data, limit, seed=seed)
    read = tuple(questions.texts if texts is None else as_texts(texts))
    if len(read) < 4:
        raise TextError(
            f"a study chooses on half of the texts and judges on the others: {len(read)} are too "
            "few; give 4 or more"
        )
    if len(read) < 2 * FEWEST:
        warn(
            f"{len(read)} texts: of half of them no interval can be told, so claims that are "
            f"judged on that half stay undecided; give {2 * FEWEST} or more"
        )
    return Setting(model, questions, read, seed, store)


@dataclass(frozen=True)
class Study:
    """A paper as something to carry out: `calls` is the work that it takes.

    `ask` makes the setting that both are given, of `limit` items unless told otherwise. `compare`
    makes findings about several models, by name, of those for each. `scored` are studies of which
    nothing is left where no task is above chance; but among several models `unscored` finds what
    needs no scores. `figures` is how many it draws. What a `modelled` one takes cannot be counted
    without a model.
    """

    id: str
    title: str
    calls: Callable[[Any], Work]
    carry_out: Callable[[Any], Found]
    fewest_layers: int = 4
    ask: Callable[..., Any] = asked
    limit: int = LIMIT
    compare: Callable[[Mapping[str, Found]], Found] | None = None
    scored: bool = False
    unscored: Callable[[Any], Found] | None = None
    figures: int = 1
    modelled: bool = False


def facts_of(on: Any, study: Study, **asked: Any) -> dict[str, Any]:
    """What produced the findings of a study."""
    facts = {"study": study.id, "title": study.title, **on.facts}
    return provenance(**identity(on.model), **facts, **asked)


def facts_of_all(settings: Sequence[Any], study: Study, **asked: Any) -> dict[str, Any]:
    """What produced findings about several models: a list of what differs between them."""
    each = [facts_of(on, study, **asked) for on in settings]
    facts = {name: [one[name] for one in each] for name in each[0]}
    return {n: f[0] if all(one == f[0] for one in f) else f for n, f in facts.items()}
