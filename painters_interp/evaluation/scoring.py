"""From lm-eval's requests to tokens, and from tokens to log-likelihoods under every plan."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from transformer_lens.model_bridge import TransformerBridge

from ..errors import TaskError, UnsupportedModelError
from ..execution import ROWS, Layout, family_of, layout_for, score_targets, walk
from ..plans import Plan
from ..strategies import full
from .tasks import load_tasks, quiet_lm_eval

# Tokens that go through a layer together. More of them make attention over a tree dearer, fewer
# the matrix products; a GPU wants more than a processor.
_ROOM = {"cpu": 256, "cuda": 1024}


@dataclass(frozen=True)
class Request:
    """A continuation to score: the last tokens that follow the inputs of `sequence`."""

    sequence: int
    continuation: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Questions:
    """Tasks in the tokens of one model: distinct model inputs, and what to read from each.

    `packs` are the inputs that go through the model together, laid out as `layout` says: a tree
    each where the model allows it, else padded rows. `truncated` counts requests that were longer
    than the context and lost tokens on the left.
    """

    tasks: tuple[Task, ...]
    sequences: tuple[tuple[int, ...], ...]
    requests: tuple[Request, ...]
    packs: tuple[tuple[int, ...], ...]
    layout: Layout
    truncated: int
    seed: int

    @property
    def items(self) -> int:
        """Number of documents over all tasks."""
        return sum(len({i.doc_id for i in task.instances}) for task in self.tasks)

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer call."""
        return sum(self.layout.size(self.inputs(pack)) for pack in self.packs)

    def inputs(self, pack: Sequence[int]) -> list[tuple[int, ...]]:
        """The token sequences of a pack."""
        return [self.sequences[index] for index in pack]

    @property
    def texts(self) -> list[str]:
        """The first task's documents as running text: context and longest continuation."""
        longest: dict[int, str] = {}
        for instance in self.tasks[0].instances:
            text = "".join(instance.args)
            if len(text) > len(longest.get(instance.doc_id, "")):
                longest[instance.doc_id] = text
        return list(longest.values())


def prepare(
    model: TransformerBridge,
    tasks: Sequence[str],
    data: str | Path | None = None,
    limit: int | float | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
) -> Questions:
    """Load tasks and tokenise their requests as lm-eval does for this model.

    Inputs that several requests share (choices of one token after the same context) are kept
    once. Raises TaskError, and UnsupportedModelError for masked language models.
    """
    if not family_of(model).causal:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is a masked language model; lm-eval's log-likelihood tasks "
            "need next-token probabilities"
        )
    loaded = load_tasks(tasks, data, limit, num_fewshot, seed)
    tokenizer = _tokenizer(model)
    pairs = tokenizer.loglikelihood(
        [instance for task in loaded for instance in task.instances], disable_tqdm=True
    )
    room = tokenizer.max_length
    sequences: dict[tuple[int, ...], int] = {}
    requests = []
    for context, continuation in pairs:
        # As HFLM: cut on the left to fit, and drop the last token, which predicts nothing.
        inputs = tuple((context + continuation)[-(room + 1) :][:-1])
        requests.append(Request(sequences.setdefault(inputs, len(sequences)), tuple(continuation)))
    truncated = sum(len(a) + len(b) > room + 1 for a, b in pairs)
    inputs = tuple(sequences)
    layout = layout_for(model, inputs)
    if layout is ROWS:
        warnings.warn(
            f"{model.cfg.model_name} cannot score packed sequences; taking one row each, which is "
            "slower and no less exact",
            stacklevel=2,
        )
    packs = layout.packs(inputs, _ROOM.get(_device(model).type, _ROOM["cuda"]))
    return Questions(tuple(loaded), inputs, tuple(requests), tuple(packs), layout, truncated, seed)


class _Tokens(HFLM):  # type: ignore[misc]
    """lm-eval's own tokenisation of requests, and nothing run."""

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> Any:
        for (text, continuation), context, tokens in requests:
            if not context:
                raise TaskError(f"context {text!r} has no tokens, so nothing predicts what follows")
            if not 0 < len(tokens) <= self.max_length:
                raise TaskError(
                    f"continuation {continuation[:40]!r} has {len(tokens)} tokens; "
                    f"1 to {self.max_length} can be scored"
                )
        return [(context, tokens) for _, context, tokens in requests]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> Any:
        """(context tokens, continuation tokens) of every request."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)


def _tokenizer(model: TransformerBridge) -> _Tokens:
    with quiet_lm_eval():  # it warns that a ready model ignores loading options
        return _Tokens(pretrained=model.original_model, tokenizer=model.tokenizer)


@torch.no_grad()
def time_per_call(model: TransformerBridge, questions: Questions) -> float:
    """Seconds that one layer takes for one token here, measured on a few of the questions."""
    inputs = questions.inputs(questions.packs[len(questions.packs) // 2])
    seconds = 0.0
    for _ in range(2):  # the first pass warms up
        start = time.perf_counter()
        recording = questions.layout.record(model, inputs).recording
        for _, stream in walk(model, [full(len(model.blocks))], recording):
            float(stream.sum())  # waits for the device
        seconds = time.perf_counter() - start
    rows, columns, _ = recording.stream.shape
    return seconds / (rows * columns * len(model.blocks))


@dataclass(frozen=True, eq=False)
class Answers:
    """Per plan and request: log-likelihood of the continuation (nats), and whether it is greedy."""

    loglikelihood: Float[np.ndarray, "plan request"]
    greedy: Bool[np.ndarray, "plan request"]


def score(
    model: TransformerBridge,
    plans: Sequence[Plan],
    questions: Questions,
    advance: Callable[[int], object] = lambda calls: None,
) -> Answers:
    """Score every request under every plan, plans sharing their beginnings."""
    asked: list[list[int]] = [[] for _ in questions.sequences]
    for index, request in enumerate(questions.requests):
        asked[request.sequence].append(index)
    shape = (len(plans), len(questions.requests))
    loglikelihood, greedy = np.empty(shape), np.empty(shape, dtype=bool)
    device = _device(model)
    for members in questions.packs:
        placed = questions.layout.record(model, questions.inputs(members))
        order: list[int] = []
        starts: list[int] = []
        sources: list[tuple[int, int]] = []
        targets: list[int] = []
        for sequence, places in zip(members, placed.places, strict=True):
            for index in asked[sequence]:
                continuation = questions.requests[index].continuation
                order.append(index)
                starts.append(len(targets))
                sources += places[len(places) - len(continuation) :]
                targets += continuation
        scores = score_targets(
            model,
            plans,
            placed.recording,
            torch.tensor(sources, device=device),
            torch.tensor(targets, device=device),
            advance,
        )
        summed = np.add.reduceat(scores.logprobs.double().cpu().numpy(), starts, axis=1)
        loglikelihood[:, order] = summed
        greedy[:, order] = np.logical_and.reduceat(scores.greedy.cpu().numpy(), starts, axis=1)
    return Answers(loglikelihood, greedy)


def _device(model: TransformerBridge) -> torch.device:
    device: torch.device = next(model.original_model.parameters()).device
    return device
