"""From lm-eval's requests to the tokens of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from ..arguments import counting, several
from ..errors import TaskError, UnsupportedModelError
from ..execution import Layout, family_of, laid_out
from ..models import Model, as_model, device_of, of_planned
from ..notices import warn
from ..plans import Plan, shared_calls
from ..terminal import Brief
from .harness import Instance, Task
from .harness.builtin import PROBES
from .harness.included import Include
from .harness.own import OwnTask
from .harness.requests import documents, requests_digest
from .harness.tasks import load_tasks
from .harness.tokens import TokenPair, Tokens, tokenizer_of
from .responses import Continuation, Document, Lookup, Writing
from .writing import Prompts, prompts

# Tokens that go through a layer together. More of them make attention over a tree dearer, fewer
# the matrix products; a GPU wants more than a processor.
_ROOM = {"cpu": 256, "cuda": 1024}
# Texts that are written together: each token costs a pass, whatever the number of rows.
_WRITERS = {"cpu": 8, "cuda": 32}


@dataclass(frozen=True)
class Request:
    """A continuation to score: the last tokens that follow the inputs of `sequence`."""

    sequence: int
    continuation: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Questions(Brief):
    """Tasks in the tokens of one model: distinct model inputs, and what to read from each.

    `packs` are the inputs that go through the model together, laid out as `layout` says: a tree
    each where the model allows it, else padded rows. `prompts` are to be continued by the model.
    `readings` say how lm-eval's response to each request of each task, in order, is read from
    the answers. `cut` are, task by task, the items of which a request was longer than the context
    and lost tokens on the left.
    """

    tasks: tuple[Task, ...]
    sequences: tuple[tuple[int, ...], ...]
    requests: tuple[Request, ...]
    packs: tuple[tuple[int, ...], ...]
    layout: Layout
    cut: tuple[frozenset[int], ...]
    seed: int
    chat: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    readings: tuple[Lookup, ...] = ()

    @property
    def items(self) -> int:
        """Number of documents over all tasks."""
        return sum(len({i.doc_id for i in task.instances}) for task in self.tasks)

    @property
    def truncated(self) -> int:
        """Number of documents of which something was cut to the context."""
        return sum(map(len, self.cut))

    @property
    def digests(self) -> dict[str, str]:
        """Of each task, a digest of its requests and documents: of other data it is another."""
        return {task.config.task: requests_digest(task) for task in self.tasks}

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer call of a scoring pass."""
        return sum(self.layout.size(self.inputs(pack)) for pack in self.packs)

    def calls(self, plans: Sequence[Plan]) -> int:
        """Token-layer calls to answer under all plans: an upper bound where texts are written.

        Scoring shares the beginnings of plans; a text counts under every plan by itself.
        """
        alone = sum(len(plan.calls) for plan in plans)
        return self.tokens * shared_calls(plans) + self.prompts.tokens * alone

    def inputs(self, pack: Sequence[int]) -> list[tuple[int, ...]]:
        """The token sequences of a pack."""
        return [self.sequences[index] for index in pack]

    @property
    def texts(self) -> list[str]:
        """The first task's documents as running text: context and longest continuation."""
        return list(documents(self.tasks[0]).values())


@of_planned
@counting(limit=1, num_fewshot=0, seed=0)
def prepare(
    model: Model,
    tasks: str | OwnTask | Sequence[str | OwnTask],
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    *,
    include: Include = None,
    trust: bool = False,
    chat: bool = False,
) -> Questions:
    """Load tasks and tokenise their requests as lm-eval does for this model.

    Inputs that several requests share (choices of one token after the same context) are kept once.

    Args:
        model: As for all arguments, see `evaluate`.
        tasks: As there.
        data: As there.
        limit: As there.
        num_fewshot: As there.
        seed: As there.
        include: As there.
        trust: As there.
        chat: As there.

    Returns:
        The questions, which `evaluate` takes as its tasks.

    Raises:
        TaskError: a task, its data or an option that is none.
        UnsupportedModelError: a model without next-token probabilities.

    Example:
        >>> questions = prepare(model, "probe_facts", limit=2)
        >>> painters.evaluate(model, plan, questions)["n"].unique().tolist()
        [2]
    """
    model = as_model(model)
    if not family_of(model).causal:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is a masked language model, or bidirectional; lm-eval's tasks "
            "need next-token probabilities (`classify` and `readers` read its states)"
        )
    template = tokenizer_of(model).chat_template_of_model() if chat else None
    names = several(tasks, str, OwnTask, Mapping, Path, pd.DataFrame)
    loaded = load_tasks(names, data, limit, num_fewshot, seed, include, trust, template)
    _say_which_shots_count(loaded, num_fewshot)
    questions = questions_of(model, loaded, seed, chat)
    _say_what_is_cut(questions, str(model.cfg.model_name), tokenizer_of(model).max_length)
    return questions


def passages() -> list[str]:
    """The built-in texts: what a probe of this package asks, for any model to read.

    Returns:
        Short documents, always the same.

    Example:
        >>> len(passages())
        135
    """
    [task] = load_tasks(PROBES[:1])
    return [*documents(task).values()]


def questions_of(
    model: TransformerBridge, tasks: Sequence[Task], seed: int = 0, chat: bool = False
) -> Questions:
    """Tasks whose requests are built, in the tokens of a model and laid out for it."""
    tokenizer, device = tokenizer_of(model), device_of(model).type
    pairs, writing, readings = _read(tokenizer, tasks)
    sequences, requests = _distinct(pairs, tokenizer.max_length)
    asked = prompts(tokenizer, writing, _WRITERS.get(device, _WRITERS["cuda"]))
    layout, packs = laid_out(model, sequences, _ROOM.get(device, _ROOM["cuda"]))
    too_long = [len(a) + len(b) > tokenizer.max_length + 1 for a, b in pairs]
    return Questions(
        tasks=tuple(tasks),
        sequences=sequences,
        requests=requests,
        packs=tuple(packs),
        layout=layout,
        cut=_cut(tasks, readings, too_long, asked),
        seed=seed,
        chat=chat,
        prompts=asked,
        readings=tuple(readings),
    )


def _say_what_is_cut(questions: Questions, name: str, room: int) -> None:
    """Warn of items that do not fit in the model's context."""
    if questions.truncated:
        warn(
            f"{questions.truncated} of {questions.items} items are longer than the context of "
            f"{name} ({room} tokens) and lose tokens on the left, as in lm-eval"
        )


def _cut(
    tasks: Sequence[Task], readings: Sequence[Lookup], too_long: Sequence[bool], asked: Prompts
) -> tuple[frozenset[int], ...]:
    """The items of each task of which a request does not fit in the context."""

    def is_cut(reading: Lookup) -> bool:
        match reading:
            case Continuation(index):
                return too_long[index]
            case Document(windows):
                return any(too_long[index] for index in windows)
            case Writing(index):
                return index in asked.cut

    left = iter(readings)
    return tuple(
        frozenset(i.doc_id for i, own in zip(task.instances, left, strict=False) if is_cut(own))
        for task in tasks
    )


def _distinct(
    pairs: Sequence[TokenPair], room: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[Request, ...]]:
    """The distinct inputs of all continuations, at most `room` tokens each, and who reads them."""
    places: dict[tuple[int, ...], int] = {}
    requests = []
    for context, continuation in pairs:
        # As HFLM: cut on the left to fit, and drop the last token, which predicts nothing.
        inputs = tuple((context + continuation)[-(room + 1) :][:-1])
        requests.append(Request(places.setdefault(inputs, len(places)), tuple(continuation)))
    return tuple(places), tuple(requests)


def _say_which_shots_count(tasks: Sequence[Task], num_fewshot: int | None) -> None:
    """A task that declares zero shots keeps them, as in lm-eval: said, where others are wanted."""
    for task in tasks:
        if num_fewshot and not task.config.num_fewshot:
            warn(
                f"task {task.config.task!r} is of zero shots by its own definition, and stays so; "
                f"--num-fewshot {num_fewshot} (num_fewshot=) changes nothing for it"
            )


def _read(
    lm: Tokens, tasks: Sequence[Task]
) -> tuple[list[TokenPair], list[Instance], list[Lookup]]:
    """Continuations to score, prompts to continue, and how each response is read from them."""
    pairs: list[TokenPair] = []
    writing: list[Instance] = []
    readings: list[Lookup] = []
    for instance in (instance for task in tasks for instance in task.instances):
        start = len(pairs)
        match instance.request_type:
            case "loglikelihood":
                pairs += lm.loglikelihood([instance], disable_tqdm=True)
                readings.append(Continuation(start))
            case "loglikelihood_rolling":
                pairs += lm.windows(*instance.args)
                readings.append(Document(range(start, len(pairs))))
            case "generate_until":
                writing.append(instance)
                readings.append(Writing(len(writing) - 1))
            case other:
                raise TaskError(f"task {instance.task_name!r} makes requests of type {other!r}")
    return pairs, writing, readings
